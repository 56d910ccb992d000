"""How good a trained model is: on a test set, or on held-out human labels weighted by 1/π."""

from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
import torch
from torch import nn

from actlabel.classifiers.port import Features
from actlabel.core.intervals import Interval, proportion
from actlabel.trainer.losses import Bools, Floats, Ints
from actlabel.trainer.prepare import Prepared
from actlabel.trainer.ranks import Ranks

_BATCH_ITEMS: Final = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracy:
    """A share of right answers with its 95 % interval (Wilson)."""

    test_accuracy: float | None  # None: there is nothing to test on
    low: float | None
    high: float | None
    test_items: int
    evaluation: str  # on what, in words

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for the results file."""
        return asdict(self)


def evaluate(model: nn.Module, prepared: Prepared, ranks: Ranks) -> Accuracy:
    """Test a model; collective: every rank predicts its part."""
    if prepared.test_labels is not None:
        rows = np.arange(len(prepared.test_labels))
        right = predicted(model, prepared.test_features(), rows, ranks) == prepared.test_labels
        return plain_accuracy(right)
    records = prepared.records
    rows = prepared.held_out[records.selected[prepared.held_out] & (records.pi[prepared.held_out] > 0)]
    if not len(rows):
        return Accuracy(test_accuracy=None, low=None, high=None, test_items=0, evaluation="no test set and no held-out human label")
    right = predicted(model, prepared.features(), rows, ranks) == records.human[rows]
    return weighted_accuracy(right, records.pi[rows], certain_gap=bool(np.any(records.pi[prepared.held_out] <= 0)))


def predicted(model: nn.Module, features: Features, rows: Ints, ranks: Ranks) -> Ints:
    """Return the most probable class of every row, int64, on every rank."""
    answers = torch.zeros(len(rows), dtype=torch.int64, device=ranks.device)
    model.eval()
    with torch.no_grad():
        for start in range(ranks.rank * _BATCH_ITEMS, len(rows), ranks.size * _BATCH_ITEMS):
            part = rows[start : start + _BATCH_ITEMS]
            batch = {name: value.to(ranks.device) for name, value in features.batch(part).items()}
            answers[start : start + len(part)] = model(**batch).argmax(dim=1)
    ranks.add_up(answers)
    result: Ints = answers.cpu().numpy()
    return result


def plain_accuracy(right: Bools) -> Accuracy:
    """Count right answers on independent test items."""
    return _accuracy(float(right.sum()), float(len(right)), len(right), "test set")


def weighted_accuracy(right: Bools, pi: Floats, *, certain_gap: bool) -> Accuracy:
    """Estimate the share of right answers among all items from reviewed ones, weights 1/π; the interval uses (Σw)²/Σw² items.

    ``certain_gap``: some items could never be selected, so nothing is said about them.
    """
    weight = 1 / pi
    effective = float(weight.sum() ** 2 / np.square(weight).sum())
    share = float((weight * right).sum() / weight.sum())
    words = "held-out human labels, weighted by 1/pi"
    gap = "; items that could never be selected are not covered" if certain_gap else ""
    return _accuracy(share * effective, effective, len(right), words + gap)


def _accuracy(successes: float, trials: float, items: int, words: str) -> Accuracy:
    answer = proportion(successes, trials)
    assert isinstance(answer, Interval), "there is at least one item"
    return Accuracy(test_accuracy=answer.estimate, low=answer.low, high=answer.high, test_items=items, evaluation=words)
