"""What shows that a weighted loss goes wrong: the risk of every batch, and how few items carry it."""

from collections import deque
from dataclasses import asdict, dataclass, field
from typing import Any, Final

import numpy as np

from actlabel.trainer.losses import Floats

WINDOW_STEPS: Final = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightFacts:
    """How the weights of one global batch are spread."""

    max_weight: float
    effective_sample_size: float  # (Σw)² / Σw², in items
    top_share: float  # of Σw, on the heaviest hundredth of the items (at least one)


def weight_facts(weight: Floats) -> WeightFacts:
    """Compute the facts for the absolute weights of a global batch, float64 [b]."""
    top = max(1, round(len(weight) / 100))
    heavy = np.sort(weight)[-top:]
    total, squares = float(weight.sum()), float(np.square(weight).sum())
    return WeightFacts(
        max_weight=float(weight.max()),
        effective_sample_size=total**2 / squares if squares else 0.0,
        top_share=float(heavy.sum()) / total if total else 0.0,
    )


@dataclass(slots=True, kw_only=True)
class RiskWatch:
    """Follows the batch risk of one training run. Its ``state`` is plain numbers and survives a restart."""

    steps: int = 0
    negative: int = 0
    sum_risk: float = 0.0
    min_risk: float = float("inf")
    max_weight: float = 0.0
    sum_effective: float = 0.0
    max_top_share: float = 0.0
    recent: deque[float] = field(default_factory=lambda: deque(maxlen=WINDOW_STEPS))

    def add(self, risk: float, facts: WeightFacts) -> None:
        """Take the risk of one batch and how its weights are spread."""
        self.steps += 1
        self.negative += risk < 0
        self.sum_risk += risk
        self.min_risk = min(self.min_risk, risk)
        self.max_weight = max(self.max_weight, facts.max_weight)
        self.sum_effective += facts.effective_sample_size
        self.max_top_share = max(self.max_top_share, facts.top_share)
        self.recent.append(risk)

    @property
    def persistently_negative(self) -> bool:
        """Say whether the mean risk of the last ``WINDOW_STEPS`` batches is below zero, which no true risk can be."""
        return len(self.recent) == WINDOW_STEPS and sum(self.recent) < 0

    def summary(self) -> dict[str, float | int | None]:
        """Return the numbers for the results file."""
        steps = max(self.steps, 1)
        return {
            "steps": self.steps,
            "mean_batch_risk": self.sum_risk / steps,
            "min_batch_risk": self.min_risk if self.steps else None,
            "negative_batches": self.negative / steps,
            "max_weight": self.max_weight,
            "effective_sample_size": self.sum_effective / steps,
            "top_share": self.max_top_share,
        }

    def recent_facts(self, batch_items: int) -> dict[str, float]:
        """Return the numbers to watch while it runs; ``batch_items``: of a whole global batch."""
        return {
            "risk": sum(self.recent) / max(len(self.recent), 1),
            "max_weight": self.max_weight,
            "ess_ratio": self.sum_effective / max(self.steps, 1) / batch_items,
        }

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint keeps."""
        return {**asdict(self), "recent": list(self.recent)}

    @classmethod
    def restored(cls, state: dict[str, Any]) -> "RiskWatch":
        """Go on from a checkpoint."""
        return cls(**{**state, "recent": deque(state["recent"], maxlen=WINDOW_STEPS)})
