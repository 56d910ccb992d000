"""What must hold, whatever was done to the system. Pure: evidence in, violations out; each names the ids that break it."""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from tests.acceptance.chaos.evidence import Emitted, Evidence

_NAMED: Final = 8
_OPEN: Final = frozenset({"waiting", "leased"})


@dataclass(frozen=True, kw_only=True)
class Violation:
    """Something that must not be."""

    oracle: str
    what: str
    ids: tuple[str, ...] = ()  # the first few

    def __str__(self) -> str:
        """Say it in one line."""
        return f"{self.oracle}: {self.what}" + (f": {', '.join(self.ids)}" if self.ids else "")


def about(oracle: str, what: str, ids: Collection[str]) -> Iterator[Violation]:
    """Accuse, where there are any ids to name."""
    if ids:
        yield Violation(oracle=oracle, what=f"{len(ids)} {what}", ids=tuple(sorted(ids)[:_NAMED]))


def conservation(found: Evidence) -> Iterator[Violation]:
    """Registered = merged ⊎ open in review ⊎ dead, disjoint."""
    merged, dead = found.merged_ids, set(found.dead)
    in_review = {item for item, state in found.queue.items() if state in _OPEN}
    yield from about("conservation", "items are nowhere", found.registered - merged - in_review - dead)
    yield from about("conservation", "ids are not of the input", (merged | in_review | dead) - found.registered)
    yield from about("conservation", "items are merged and dead", merged & dead)
    yield from about("conservation", "items are merged and open in review", merged & in_review)
    yield from about("conservation", "items are dead and open in review", dead & in_review)


def all_merged(found: Evidence) -> Iterator[Violation]:
    """When every review is answered, merged = registered − dead."""
    merged = found.merged_ids
    yield from about("all merged", "items are missing on merged", found.registered - set(found.dead) - merged)
    yield from about("all merged", "dead or unknown items are on merged", merged - (found.registered - set(found.dead)))


@dataclass(kw_only=True)
class Said:
    """What one reviewer sent, and what the gateway acknowledged."""

    labels: Mapping[str, str]  # what this reviewer says about any item
    sent: Collection[str]
    acknowledged: Mapping[str, str]


def reviews(found: Evidence, crowd: Sequence[Said]) -> Iterator[Violation]:
    """Each reviewed label is the one submitted; an acknowledged answer is never lost."""
    labels = {item: record.label for item, record in found.last_merged().items() if record.reviewed}
    possible = {item: {said.labels[item] for said in crowd if item in said.sent} for item in labels}
    yield from about("reviews", "labels on merged were never sent", {i for i, label in labels.items() if label not in possible[i]})
    acknowledged = [(item, label) for said in crowd for item, label in said.acknowledged.items()]
    yield from about("reviews", "acknowledged answers are not on merged", {i for i, label in acknowledged if labels.get(i) != label})
    twice = {item for item, times in Counter(item for item, _ in acknowledged).items() if times > 1}
    yield from about("reviews", "items were taken from two reviewers", twice)


def decisions(found: Evidence) -> Iterator[Violation]:
    """π and decision of an item are the stored ones wherever it appears, and a reviewed item keeps its human record as the last one."""
    everywhere = [*found.merged, *found.review]
    differing = {record.item_id for record in everywhere if found.decisions.get((record.item_id, record.draw)) != record.fact}
    yield from about("decisions", "items carry another decision than the stored one", differing)
    last_by_offset: dict[str, Emitted] = {}
    for record in found.merged:
        last_by_offset[record.item_id] = record
    reviewed = {record.item_id for record in found.merged if record.reviewed}
    yield from about(
        "decisions", "reviewed items end with a record without the review", {i for i in reviewed if not last_by_offset[i].reviewed}
    )
    unasked = {record.item_id for record in found.merged if not record.reviewed and record.fact[-1]}
    yield from about("decisions", "selected items are on merged without a review", unasked)


def budgets(found: Evidence) -> Iterator[Violation]:
    """Reviews never exceed the human budget, money never the cap."""
    chosen = {item for item, draw in found.latest_draw.items() if found.decisions[item, draw][-1]} | set(found.queue)
    if len(chosen) > found.budget:
        yield Violation(oracle="budgets", what=f"{len(chosen)} items are for review, {found.budget} are allowed")
    money = found.money
    if money.spent + money.reserved > money.cap + 1e-9:
        yield Violation(oracle="budgets", what=f"${money.spent:.4f} spent and ${money.reserved:.4f} reserved exceed ${money.cap:g}")
    if money.results > money.spent + money.reserved + 1e-9:
        yield Violation(oracle="budgets", what=f"stored answers cost ${money.results:.4f}, more than was spent or reserved")
