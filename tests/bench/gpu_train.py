"""The same run on one CPU worker and on one GPU worker; started by ``gpu_train.sh``."""

import asyncio
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from actlabel.trainer.job import TrainingResults, train
from actlabel.trainer.plan import TrainingPlan
from tests.unit.trainer import digit_campaign

TOLERANCE = 0.03  # of accuracy: other kernels add up in another order


async def main() -> int:
    """Train twice, print both, return 0 when they agree."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = digit_campaign.digits(items=1200, budget=190)
        written = await digit_campaign.snapshot_of(digit_campaign.records(data), folder)
        images = digit_campaign.write_test_folder(folder / "images", items=400)
        plan = TrainingPlan(snapshot=written.path, out=folder / "cpu", losses=("act", "merged-ce"), test=images)
        results = {"cpu": await train(plan), "gpu": await train(replace(plan, out=folder / "gpu", gpu=True))}
    return _compare(results)


def _compare(results: dict[str, TrainingResults]) -> int:
    worst = 0.0
    for cpu, gpu in zip(results["cpu"].models, results["gpu"].models, strict=True):
        worst = max(worst, abs(cpu["test_accuracy"] - gpu["test_accuracy"]))
        print(f"{cpu['name']}: CPU {cpu['test_accuracy']:.3f} in {cpu['seconds']} s, GPU {gpu['test_accuracy']:.3f} in {gpu['seconds']} s")
    print(f"whole runs: CPU {results['cpu'].seconds} s, GPU {results['gpu'].seconds} s")
    return int(worst > TOLERANCE)


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
