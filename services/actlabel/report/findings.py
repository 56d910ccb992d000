"""What the evidence says: every number of the report, with its interval or the reason why there is none."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from actlabel.core.errors import UserError
from actlabel.core.estimate import Tally, accuracy_interval, tally
from actlabel.core.intervals import Interval, NoInterval
from actlabel.core.quality import error_recall, recall_difference
from actlabel.report.critic import Critic, judge
from actlabel.report.evidence import Bools, DecidedItems, Evidence
from actlabel.report.models_file import TrainedModel

_MOST_CELLS: Final = 24


@dataclass(frozen=True, kw_only=True)
class LabelAccuracy:
    """How good labels are: from the reviews alone, and against the truth where the user knows it."""

    from_reviews: Interval | NoInterval
    by_gold: float | None  # share of right labels; None unless every decided item is merged and its truth is known

    @property
    def value(self) -> float | None:
        """The best single number: by gold where known, else the estimate."""
        if self.by_gold is not None:
            return self.by_gold
        return self.from_reviews.estimate if isinstance(self.from_reviews, Interval) else None


@dataclass(frozen=True, kw_only=True)
class ReviewGain:
    """What the reviews found."""

    budget: int  # reviews allowed
    selected: int  # items chosen for review
    answered: int  # with a reviewer's label
    undecidable: int
    outstanding: int  # chosen, not answered yet
    corrected: int  # answers that differ from the model's
    recall: Interval | NoInterval  # share of all wrong labels that review found; by gold it is a point: low = high
    random_recall: float  # of random review of as many items, on average
    difference: Interval | NoInterval  # recall less that of random review


@dataclass(frozen=True, kw_only=True)
class CellFacts:
    """One cell of the design."""

    lowest: float  # error probability
    highest: float
    size: int
    selected: int
    answered: int
    corrected: int


@dataclass(frozen=True, kw_only=True)
class Findings:
    """All that the page and the summary say."""

    evidence: Evidence
    machine: LabelAccuracy
    merged: LabelAccuracy
    review: ReviewGain
    critic: Critic | NoInterval
    cells: Sequence[CellFacts]
    models: Sequence[TrainedModel]

    @property
    def cost_usd(self) -> float:
        """Money spent on model calls."""
        return sum(cost.cost_usd for cost in self.evidence.costs)

    @property
    def audit_reviews(self) -> float:
        """Reviews that were spread over every level of doubt."""
        return sum(draw.audit_reviews for draw in self.evidence.draws)


def find(evidence: Evidence, models: Sequence[TrainedModel] = ()) -> Findings:
    """Compute every number. Raises ``UserError`` when no item is decided."""
    items = evidence.items
    if not len(items):
        raise UserError(f"campaign {evidence.campaign!r} has no decided items, so there is nothing to report")
    counts = _tally(items)
    audits = sum(draw.audit_reviews for draw in evidence.draws)
    machine = _accuracy(items, items.model_wrong, accuracy_interval(counts, audit_reviews=audits))
    merged = _accuracy(items, items.final_wrong, accuracy_interval(counts, audit_reviews=audits, merged=True))
    return Findings(
        evidence=evidence,
        machine=machine,
        merged=merged,
        review=_review(evidence, machine.from_reviews),
        critic=judge(items),
        cells=_cells(items),
        models=models,
    )


def _tally(items: DecidedItems) -> Tally:
    return tally(
        items.cell,
        size=items.cell_size,
        selected=items.cell_selected,
        wrong=items.corrected & items.selected,
        unknown=items.selected & ~items.reviewed,
    )


def _accuracy(items: DecidedItems, wrong: Bools, interval: Interval | NoInterval) -> LabelAccuracy:
    return LabelAccuracy(from_reviews=interval, by_gold=1 - float(wrong.mean()) if items.has_gold.all() else None)


def _review(evidence: Evidence, machine: Interval | NoInterval) -> ReviewGain:
    items = evidence.items
    return ReviewGain(
        budget=sum(draw.budget for draw in evidence.draws),
        selected=int(items.selected.sum()),
        answered=int((items.selected & items.reviewed).sum()),
        undecidable=int((items.selected & items.undecidable).sum()),
        outstanding=int((items.selected & ~items.reviewed & ~items.undecidable).sum()),
        corrected=int((items.selected & items.corrected).sum()),
        recall=_recall(items, machine),
        random_recall=float(items.selected.mean()),
        difference=_difference(items),
    )


def _recall(items: DecidedItems, machine: Interval | NoInterval) -> Interval | NoInterval:
    """By gold where it is known throughout, else what was found over the estimated number of wrong labels."""
    if items.has_gold.all():
        if not items.model_wrong.any():
            return NoInterval(reason="The model made no mistake, so there was none to find.")
        recall = error_recall(items.model_wrong, items.selected & items.reviewed)
        return Interval(low=recall, high=recall, estimate=recall)
    if isinstance(machine, NoInterval):
        return machine
    found = float((items.selected & items.corrected).sum())
    low, high, estimate = (_share(found, len(items) * (1 - accuracy)) for accuracy in (machine.low, machine.high, machine.estimate))
    return Interval(low=low, high=high, estimate=estimate)


def _share(found: float, wrong: float) -> float:
    return min(1.0, found / wrong) if wrong > 0 else 1.0


def _difference(items: DecidedItems) -> Interval | NoInterval:
    if not items.has_gold.all():
        return NoInterval(reason="The truth of every merged item must be known for a comparison with random review.")
    if not items.model_wrong.any():
        return NoInterval(reason="The model made no mistake, so there was none to find.")
    return recall_difference(wrong=items.model_wrong, selected=items.selected & items.reviewed)


def _cells(items: DecidedItems) -> list[CellFacts]:
    """Sum up by cell, the most doubtful first; many cells (of a stream's blocks, say) are joined into tenths of error probability."""
    tenth = np.minimum(items.error_probability * 10, 9).astype(np.int64)
    group = items.cell if items.cell.max() < _MOST_CELLS else -tenth
    return [_cell(items, group == number) for number in np.unique(group)]


def _cell(items: DecidedItems, here: NDArray[np.bool_]) -> CellFacts:
    epsilon = items.error_probability[here]
    return CellFacts(
        lowest=float(epsilon.min()),
        highest=float(epsilon.max()),
        size=int(here.sum()),
        selected=int(items.selected[here].sum()),
        answered=int((items.selected & items.reviewed)[here].sum()),
        corrected=int((items.selected & items.corrected)[here].sum()),
    )
