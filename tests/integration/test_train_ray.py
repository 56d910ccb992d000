"""The real Ray Train job: two workers, one killed, one resumed; and nothing left behind."""

import asyncio
import json
import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch

from actlabel.core.errors import UserError
from actlabel.dataset.export import Exported
from actlabel.trainer.job import TrainingProgress, train
from actlabel.trainer.loop import run
from actlabel.trainer.plan import TrainingPlan
from actlabel.trainer.prepare import prepare
from actlabel.trainer.ranks import SoloRanks
from actlabel.trainer.staging import own_folder
from tests.unit.trainer import digit_campaign

pytestmark = pytest.mark.ray


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """A small finished campaign."""
    data = digit_campaign.digits(items=240, budget=80)
    return asyncio.run(digit_campaign.snapshot_of(digit_campaign.records(data), tmp_path_factory.mktemp("snapshot")))


@pytest.fixture
def plan(snapshot: Exported, tmp_path: Path) -> TrainingPlan:
    """Two losses on two workers."""
    images = digit_campaign.write_test_folder(tmp_path / "images", items=60)
    return TrainingPlan(
        snapshot=snapshot.path, out=tmp_path / "out", losses=("act", "merged-ce"), epochs=2, batch_items=40, test=images, workers=(2, 2)
    )


def _registered(plan: TrainingPlan) -> bool:
    """Say whether the controller has registered a checkpoint."""
    ray = plan.out / "run" / "ray" if plan.staging is None else Path(plan.staging.removeprefix("file://")) / "ray"
    return (ray / "actlabel" / "checkpoint_manager_snapshot.json").exists()


def _ray_processes() -> list[psutil.Process]:
    """Everything of Ray's below this process."""
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            words = " ".join(process.cmdline())
        except psutil.Error:
            continue
        if "ray" in words:
            found.append(process)
    return found


def _training_workers() -> list[psutil.Process]:
    return [process for process in _ray_processes() if any("RayTrainWorker" in word for word in process.cmdline())]


async def _until(condition: Callable[[], bool]) -> None:
    """Wait until something is so; the test's own limit ends a wait in vain."""
    while not condition():  # noqa: ASYNC110 - another process makes it true
        await asyncio.sleep(0.05)


def _undisturbed(plan: TrainingPlan) -> list[dict[str, Any]]:
    """Carry out the plan in this process, without Ray."""
    torch.set_num_threads(1)
    return run(prepare(replace(plan, out=plan.out.with_name("undisturbed"))), SoloRanks())


def _risks(plan: TrainingPlan, name: str) -> list[float]:
    lines = [json.loads(line) for line in (plan.out / "models" / name / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(len(lines))), "every step is there once"
    return [line["risk"] for line in lines]


async def test_two_workers_make_what_one_process_makes(plan: TrainingPlan) -> None:
    told: list[TrainingProgress] = []
    results = await train(plan, told.append)
    expected = _undisturbed(plan)
    for name in plan.losses:
        np.testing.assert_allclose(_risks(plan, name), _risks(replace(plan, out=plan.out.with_name("undisturbed")), name), atol=1e-3)
    assert [model["name"] for model in results.models] == [model["name"] for model in expected] == ["act", "merged-ce"]
    written = json.loads((plan.out / "results.json").read_text())
    assert (written["models"], written["snapshot"]) == (list(results.models), results.snapshot)
    assert not (plan.out / "run").exists()
    assert {progress.phase for progress in told} >= {"preparing", "starting ray"}


async def test_a_lost_machine_is_replaced_by_one_that_finds_everything_in_storage(plan: TrainingPlan) -> None:
    staging = f"file://{plan.out.with_name('storage')}/training/a-run"
    long = replace(plan, losses=("act",), epochs=60, checkpoint_interval_s=0.3, staging=staging, workers=(1, 2))
    told: list[TrainingProgress] = []
    job = asyncio.create_task(train(long, told.append))
    await _until(lambda: job.done() or _registered(long))
    assert not job.done(), "the run ended before it could be disturbed"
    shutil.rmtree(own_folder(staging))  # inputs and metrics of that machine are gone
    victim = _training_workers()[-1]
    victim.send_signal(signal.SIGKILL)
    results = await job
    assert not own_folder(staging, made=False).exists(), "nothing is left on the machine"
    assert any(progress.phase == "training" and progress.done for progress in told)
    assert results.models[0]["steps"] == len(_risks(long, "act")) == 360
    _undisturbed(long)
    calm = _risks(replace(long, out=long.out.with_name("undisturbed")), "act")
    # the same course, up to the rounding of sums over two ranks, which 360 steps amplify
    np.testing.assert_allclose(_risks(long, "act"), calm, atol=0.05)


async def test_a_run_that_was_ended_is_resumed_and_leaves_no_process(plan: TrainingPlan) -> None:
    long = replace(plan, epochs=30, checkpoint_interval_s=0.3)
    job = asyncio.create_task(train(long))
    await _until(lambda: job.done() or _registered(long))
    started = _ray_processes()
    assert started
    job.cancel()
    with pytest.raises(asyncio.CancelledError):
        await job
    await _until(lambda: not any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in started))
    with pytest.raises(UserError, match="had other options"):
        await train(replace(long, resume=True, seed=9))
    results = await train(replace(long, resume=True, workers=(1, 1)))
    assert [model["steps"] for model in results.models] == [180, 180]
    assert len(_risks(long, "act")) == len(_risks(long, "merged-ce")) == 180


async def test_a_gpu_that_is_not_there_is_one_line(plan: TrainingPlan) -> None:
    if torch.cuda.is_available():
        plan = replace(plan, workers=(99, 99))
    with pytest.raises(UserError, match=r"--gpu: .* workers need a GPU each, the Ray cluster has"):
        await train(replace(plan, gpu=True))
    assert not (plan.out / "models").exists()
