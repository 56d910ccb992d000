"""One training run whose inputs, checkpoints and model go through an S3 server; run by hand, it takes a minute.

    pip install s3fs 'moto[server]' && python tests/bench/train_on_s3.py

A worker is killed at the first registered checkpoint and the folder of its machine removed, so that the rest comes from the bucket.
"""

import asyncio
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import fsspec
import psutil
from moto.server import ThreadedMotoServer

from actlabel.model_registry.files import put_model
from actlabel.runtime.storage import Storage
from actlabel.trainer.job import train
from actlabel.trainer.plan import TrainingPlan
from actlabel.trainer.staging import Staging, own_folder
from tests.unit.trainer import digit_campaign

_BUCKET = "actlabel-test"
_REGISTERED = "ray/actlabel/checkpoint_manager_snapshot.json"


@contextmanager
def bucket() -> Iterator[str]:
    """Serve S3 on a free port, for this process and its children by environment, and make a bucket."""
    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    os.environ.update(
        AWS_ENDPOINT_URL=f"http://{host}:{port}", AWS_ACCESS_KEY_ID="x", AWS_SECRET_ACCESS_KEY="x", AWS_DEFAULT_REGION="us-east-1"
    )
    fsspec.filesystem("s3").mkdir(_BUCKET)
    try:
        yield f"s3://{_BUCKET}/actlabel"
    finally:
        server.stop()


async def main(folder: Path) -> None:
    """Train, disturb, and say what lies in the bucket."""
    data = digit_campaign.digits(items=240, budget=80)
    snapshot = await digit_campaign.snapshot_of(digit_campaign.records(data), folder)
    with bucket() as address:
        staging = f"{address}/training/run"
        storage = Storage(staging)
        plan = TrainingPlan(
            snapshot=snapshot.path,
            out=folder / "out",
            epochs=120,
            batch_items=40,
            workers=(1, 2),
            checkpoint_interval_s=1.0,
            staging=staging,
        )
        job = asyncio.create_task(train(plan, lambda progress: print(progress, flush=True)))
        while not job.done() and not await asyncio.to_thread(storage.read, _REGISTERED):  # noqa: ASYNC110 - another process writes it
            await asyncio.sleep(0.3)
        shutil.rmtree(own_folder(staging), ignore_errors=True)
        _worker().send_signal(signal.SIGKILL)
        results = await job
        print("in the bucket:", *storage.names("")[:60], sep="\n  ")
        print(results.models[0]["steps"], "steps,", results.models[0]["test_accuracy"], "held-out accuracy")
        lines = (plan.out / "models" / "act" / "metrics.jsonl").read_text().splitlines()
        assert len(lines) == results.models[0]["steps"], len(lines)
        fresh = replace(plan, out=folder / "elsewhere", snapshot=folder / "elsewhere" / "snapshot")
        fresh.out.mkdir()
        Staging(staging).fetch_snapshot(fresh)
        Staging(staging).remove()
        assert storage.names("") == []
        print("registered files:", [file.name for file in put_model(Storage(address), plan.out / "models" / "act")])


def _worker() -> psutil.Process:
    children = psutil.Process().children(recursive=True)
    return [child for child in children if any("RayTrainWorker" in word for word in child.cmdline())][-1]


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made:
        asyncio.run(main(Path(made)))
