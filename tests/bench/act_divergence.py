"""What ACT does with cross-entropy and with a bounded loss under each sampling rule, beside its baselines (method.md, section 5.3).

    .venv/bin/python tests/bench/act_divergence.py [seeds] [epochs]

Digits of scikit-learn, 1,200 items, a quarter of the machine labels wrong in a fixed pattern, 190 reviews, a small perceptron on 64 pixels.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from actlabel.classifiers.port import Defaults
from actlabel.core.designs import design_exact, quantise, select
from actlabel.core.rules import Rule
from actlabel.trainer.losses import ABSENT, Ints
from actlabel.trainer.objectives import OBJECTIVES, Objective, Request
from actlabel.trainer.ranks import SoloRanks
from actlabel.trainer.records import Records
from actlabel.trainer.training import Policy, Training

ITEMS, BUDGET, BATCH_ITEMS = 1200, 190, 64
RULES = (("threshold", 0.0), ("threshold", 0.1), ("exponential", 0.0), ("normalization", 0.0), ("uniform", 0.0))
SAME_EVERYWHERE = ("machine-only",)
BY_RULE = ("act-ce", "act", "merged-ce", "merged-gce", "human-only", "ipw", "forward")


class Perceptron(nn.Sequential):
    """64 pixels, 256 hidden units, 10 classes: enough to memorise 1,200 items."""

    def __init__(self) -> None:
        super().__init__(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 10))

    def forward(self, pixels: Tensor) -> Tensor:
        """Map float32 [B, 64] to logits [B, 10]."""
        logits: Tensor = super().forward(pixels)
        return logits


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelRows:
    """The pixels of all items. See ``Features``."""

    pixels: Tensor

    def __len__(self) -> int:
        return len(self.pixels)

    def batch(self, rows: Ints, /) -> dict[str, Tensor]:
        """See ``Features``."""
        return {"pixels": self.pixels[torch.from_numpy(rows)]}


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One seed's data."""

    train: PixelRows
    truth: Ints
    machine: Ints
    epsilon: np.ndarray
    test: PixelRows
    test_truth: Ints


def make_task(seed: int) -> Task:
    """Split the digits; each class is confused with its successor; the critic is informative, and speaks in steps of 0.05."""
    rng = np.random.default_rng(seed)
    data = load_digits()
    rows = rng.permutation(len(data.target))
    pixels = torch.from_numpy(data.data[rows] / 16).float()
    truth = data.target[rows].astype(np.int64)
    wrong = rng.random(ITEMS) < 0.25
    doubt = np.clip(np.where(wrong, 0.55, 0.3) + 0.2 * rng.standard_normal(ITEMS), 0.02, 0.98)
    return Task(
        train=PixelRows(pixels=pixels[:ITEMS]),
        truth=truth[:ITEMS],
        machine=np.where(wrong, (truth[:ITEMS] + 1) % 10, truth[:ITEMS]),
        epsilon=np.round(doubt * 20) / 20,
        test=PixelRows(pixels=pixels[ITEMS:]),
        test_truth=truth[ITEMS:],
    )


def records_of(task: Task, rule: str, audit_share: float, seed: int) -> Records:
    """Draw as the sampler draws, and record π."""
    ids = [f"{row:04}" for row in range(ITEMS)]
    design = design_exact(quantise(task.epsilon), budget=BUDGET, audit_share=audit_share, rule=Rule(name=rule))
    numbers = np.random.default_rng([seed, 1]).integers(0, 2**64, ITEMS, dtype=np.uint64)
    selected = select(design, numbers, ids)
    return Records(
        ids=np.array(ids),
        labels=tuple("0123456789"),
        human=np.where(selected, task.truth, ABSENT),
        machine=task.machine,
        selected=selected,
        pi=(design.selected / design.size)[design.cell],
        usable=np.ones(ITEMS, dtype=bool),
        mixed_draws=False,
    )


def accuracy_and_risk(task: Task, objective: Objective, epochs: int, seed: int, folder: Path) -> tuple[float, float]:
    """Train one model; return its test accuracy and its lowest batch risk."""
    defaults = Defaults(epochs=epochs, batch_items=BATCH_ITEMS, learning_rate=2e-3)
    steps = epochs * -(-ITEMS // BATCH_ITEMS)
    policy = Policy(steps=steps, training=defaults, seed=seed, stop_on_negative_risk=False, metrics_file=folder / "metrics.jsonl")
    torch.manual_seed(seed)
    training = Training(Perceptron(), objective, task.train, policy, SoloRanks())
    training.restore(None)
    while not training.finished:
        training.step()
    training.close()
    with torch.no_grad():
        answers = training.model(**task.test.batch(np.arange(len(task.test)))).argmax(dim=1).numpy()
    return float(np.mean(answers == task.test_truth)), training.watch.min_risk


def rows(seeds: int, epochs: int) -> Iterator[tuple[str, str, list[tuple[float, float]]]]:
    """Yield (loss, rule, [(accuracy, lowest risk) of each seed])."""
    with TemporaryDirectory() as folder:
        for rule, audit_share in RULES:
            label = rule if not audit_share else f"{rule}, audit {audit_share:.0%}"
            for loss in (*(SAME_EVERYWHERE if (rule, audit_share) == RULES[0] else ()), *BY_RULE):
                found = []
                for seed in range(seeds):
                    task = make_task(seed)
                    request = Request(records=records_of(task, rule, audit_share, seed), train=np.arange(ITEMS))
                    objective = OBJECTIVES[loss](replace(request, allow_unbounded=True))
                    found.append(accuracy_and_risk(task, objective, epochs, seed, Path(folder)))
                yield loss, "any" if loss in SAME_EVERYWHERE else label, found


def main(seeds: int = 3, epochs: int = 60) -> None:
    """Print the table as Markdown."""
    torch.set_num_threads(1)
    print(f"| loss | rule | test accuracy, mean of {seeds} seeds | worst seed | lowest batch risk |\n|---|---|---|---|---|")
    for loss, rule, found in rows(seeds, epochs):
        accuracies = [accuracy for accuracy, _ in found]
        print(f"| {loss} | {rule} | {np.mean(accuracies):.3f} | {min(accuracies):.3f} | {min(risk for _, risk in found):.3g} |", flush=True)


if __name__ == "__main__":
    main(*(int(word) for word in sys.argv[1:]))
