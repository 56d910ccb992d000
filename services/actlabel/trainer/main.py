"""The process that carries out one plan: ``python -m actlabel.trainer.main PLAN``. It talks to its parent in lines of JSON on stdout.

Ray takes over signal handlers, standard output and the environment of the process that starts it; so that is a process of its own. It ends
when its standard input closes, so that a parent that dies takes it along.
"""

import json
import os
import shutil
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from actlabel.core.errors import ActlabelError, Fatal, RetryLater, UserError
from actlabel.trainer.plan import TrainingPlan, plan_from_json
from actlabel.trainer.provenance import made_with
from actlabel.trainer.staging import Staging

_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_TRAIN_V2_ENABLED": "1",
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "180",
    "TOKENIZERS_PARALLELISM": "false",
}
_OBJECT_STORE_BYTES = 100 * 2**20
_POLL_S = 0.25
_STAGED_POLL_S = 3.0
_SHUTDOWN_S = 8.0


def main(plan_file: str) -> int:
    """Carry out the plan in a file; the last line on stdout is the outcome. Returns the exit code."""
    _Parent().start()
    with _own_stdout() as lines:
        try:
            results = execute(plan_from_json(Path(plan_file).read_text(encoding="utf-8")), lines)
            _say(lines, {"results": results})
        except UserError as error:
            _say(lines, {"user_error": str(error)})
        except ActlabelError as error:
            _say(lines, {"error": str(error)})
    return 0


def execute(plan: TrainingPlan, lines: TextIO) -> dict[str, Any]:
    """Prepare, train and write ``results.json``. Raises ``UserError``, or ``Fatal`` when the workers fail too often."""
    from actlabel.trainer.prepare import prepare  # noqa: PLC0415 - torch takes seconds; a plan that cannot be read should not wait

    begun = time.monotonic()
    _say(lines, {"phase": "preparing"})
    prepared = prepare(plan)
    staging = Staging(plan.staging) if plan.staging is not None else None
    if staging is not None:
        _say(lines, {"phase": "copying inputs to storage"})
        staging.put_inputs(plan)
    _say(lines, {"phase": "starting ray"})
    with _Relay(prepared.folder, staging, lines):
        models = _fit(plan, staging)
    if staging is not None:
        staging.fetch_models(plan.out)
    manifest = prepared.snapshot.manifest
    snapshot = {
        "sha256": prepared.snapshot.sha256,
        "items": prepared.snapshot.items,
        "human": manifest["tally"]["human"],
        "draws": manifest["tally"]["draws"],
        "campaign": manifest["campaign"],
        "manifest": manifest["offsets"],
        "undecidable_items_left_out": int((~prepared.records.usable).sum()),
        "mixed_draws": prepared.records.mixed_draws,
    }
    results = {
        "snapshot": snapshot,
        "models": models,
        "selected": selected(plan, models),
        "made_with": made_with(),
        "seconds": round(time.monotonic() - begun, 3),
    }
    draft = plan.out / ".results.json"
    draft.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    draft.replace(plan.out / "results.json")
    shutil.rmtree(prepared.folder)
    return results


def selected(plan: TrainingPlan, models: list[dict[str, Any]]) -> str | None:
    """Name the best model by held-out human labels; a test set selects nothing, it would no longer be one."""
    judged = [model for model in models if model["test_accuracy"] is not None and (model["bounded"] or not model["persistently_negative"])]
    return None if plan.test is not None or not judged else str(max(judged, key=lambda model: model["test_accuracy"])["name"])


def _fit(plan: TrainingPlan, staging: Staging | None) -> list[dict[str, Any]]:
    """Run the Ray Train job. Name and storage are its identity: a second run there goes on from the last registered checkpoint."""
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    import ray  # noqa: PLC0415 - reads the environment when it is imported
    from ray.train import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig  # noqa: PLC0415
    from ray.train.torch import TorchTrainer  # noqa: PLC0415
    from ray.train.v2.api.exceptions import TrainingFailedError  # noqa: PLC0415

    from actlabel.trainer.worker import train_loop_per_worker  # noqa: PLC0415

    _start_ray(ray, plan)
    fewest, most = plan.workers
    workers: Any = most if fewest == most else (fewest, most)
    make: Any = TorchTrainer  # its annotations know neither what V2 returns nor elastic ranges
    trainer = make(
        train_loop_per_worker,
        train_loop_config={"plan": plan.to_json()},
        scaling_config=ScalingConfig(num_workers=workers, use_gpu=plan.gpu),
        run_config=RunConfig(
            name="actlabel",
            storage_path=str((plan.out / "run" / "ray").resolve()) if staging is None else staging.ray_path,
            storage_filesystem=None if staging is None else staging.ray_filesystem,
            failure_config=FailureConfig(max_failures=plan.max_failures),
            checkpoint_config=CheckpointConfig(num_to_keep=2),
        ),
    )
    try:
        answer: dict[str, Any] = trainer.fit().return_value
    except TrainingFailedError as error:
        raise Fatal(f"the training job failed more than {plan.max_failures} times: {_cause(error)}; --resume goes on from there") from error
    finally:
        ray.shutdown()
    if "error" in answer:
        raise Fatal(answer["error"])
    models: list[dict[str, Any]] = answer["results"]
    return models


def _start_ray(ray: Any, plan: TrainingPlan) -> None:
    """Join the cluster that is named, else start a small one without dashboard. Raises ``UserError`` when it lacks GPUs."""
    address = plan.ray_address or os.environ.get("RAY_ADDRESS")
    quiet = {"include_dashboard": False, "log_to_driver": False, "logging_level": "error"}
    if address:
        ray.init(address=address, log_to_driver=False, logging_level="error")
    else:
        os.environ.setdefault("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")  # nobody reclaims this machine
        ray.init(num_cpus=max(plan.workers[1], os.cpu_count() or 1), object_store_memory=_OBJECT_STORE_BYTES, **quiet)
    gpus = int(ray.cluster_resources().get("GPU", 0))
    if plan.gpu and gpus < plan.workers[0]:
        ray.shutdown()
        raise UserError(f"--gpu: {plan.workers[0]} workers need a GPU each, the Ray cluster has {gpus}; leave --gpu out, or add GPUs")


def _cause(error: Exception) -> str:
    failures = getattr(error, "worker_failures", None) or {}
    first = next(iter(failures.values()), error)
    return str(first).strip().splitlines()[-1]


class _Relay:
    """Passes the workers' progress file on to the parent while the job runs."""

    def __init__(self, folder: Path, staging: Staging | None, lines: TextIO) -> None:
        self._file = folder / "progress.json"
        self._staging = staging
        self._lines = lines
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_error: object) -> None:
        self._done.set()
        self._thread.join()

    def _run(self) -> None:
        last = ""
        while not self._done.wait(_POLL_S if self._staging is None else _STAGED_POLL_S):
            text = self._text()
            if text and text != last:
                last = text
                _say(self._lines, json.loads(text))

    def _text(self) -> str:
        if self._staging is None:
            return self._file.read_text(encoding="utf-8") if self._file.exists() else ""
        try:
            return self._staging.read_progress()
        except RetryLater:
            return ""  # it is only progress


class _Parent(threading.Thread):
    """Ends this process, and first its Ray cluster, when the parent closes our input or is gone.

    A cluster that is not shut down leaves agents behind for a minute.
    """

    def __init__(self) -> None:
        super().__init__(daemon=True)

    def run(self) -> None:
        while sys.stdin.readline():
            pass
        limit = threading.Timer(_SHUTDOWN_S, os._exit, (1,))
        limit.daemon = True
        limit.start()
        if (ray := sys.modules.get("ray")) is not None:
            ray.shutdown()
        os._exit(1)


@contextmanager
def _own_stdout() -> Iterator[TextIO]:
    """Keep stdout for our lines; whatever else is printed goes to stderr."""
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as lines:
        os.dup2(2, 1)
        yield lines


def _say(lines: TextIO, document: dict[str, Any]) -> None:
    lines.write(json.dumps(document) + "\n")
    lines.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
