"""The results of training, as the trainer writes them: a JSON document with ``models``, or the list alone."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from actlabel.core.errors import UserError


@dataclass(frozen=True, kw_only=True)
class TrainedModel:
    """One trained model; a number that was not measured is None."""

    name: str  # of the objective, as `actlabel train --loss` takes it
    loss: str  # in words
    test_accuracy: float | None
    low: float | None
    high: float | None
    test_items: int
    evaluation: str  # on what, in words
    persistently_negative: bool  # the batch risk stayed below zero, which no true risk can
    min_batch_risk: float | None  # these four may be infinite or NaN where training diverged
    mean_batch_risk: float | None
    max_weight: float | None
    effective_sample_size: float | None


def read_models(path: Path) -> list[TrainedModel]:
    """Read a results file. Raises ``UserError`` with the entry and field that are wrong."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read as JSON ({error}); `actlabel train` writes such a file") from error
    entries = document.get("models") if isinstance(document, dict) else document
    if not isinstance(entries, list):
        raise UserError(f"{path}: holds no list of models; `actlabel train` writes such a file")
    return [_model(entry, f"{path}: model {number}") for number, entry in enumerate(entries, start=1)]


def _model(entry: Any, where: str) -> TrainedModel:
    if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
        raise UserError(f"{where}: has no name")
    accuracy, low, high = (_number(entry, name, where) for name in ("test_accuracy", "low", "high"))
    if accuracy is not None and not 0 <= (low or 0.0) <= accuracy <= (1.0 if high is None else high) <= 1:
        raise UserError(f"{where}: test_accuracy {accuracy} with interval {low} to {high} is no share of right answers")
    return TrainedModel(
        name=entry["name"],
        loss=str(entry.get("loss", "")),
        test_accuracy=accuracy,
        low=low,
        high=high,
        test_items=int(_number(entry, "test_items", where) or 0),
        evaluation=str(entry.get("evaluation", "")),
        persistently_negative=entry.get("persistently_negative") is True,
        **{name: _number(entry, name, where, finite=False) for name in _GUARDS},
    )


_GUARDS = ("min_batch_risk", "mean_batch_risk", "max_weight", "effective_sample_size")


def _number(entry: dict[str, Any], name: str, where: str, *, finite: bool = True) -> float | None:
    value = entry.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or (finite and not math.isfinite(value)):
        raise UserError(f"{where}: {name}: {value!r} is not a number")
    return float(value)
