"""What topics and tables say of a campaign at rest."""

from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from actlabel.contracts.v1.item_pb2 import Decision, Item
from actlabel.core import topics
from actlabel.dataset.merged import human_label
from actlabel.host.host import Host
from actlabel.stream.port import Record

Fact = tuple[object, ...]
"""A decision as values: (block, cell, selected of the cell, size of the cell, epsilon, selected). π is the third by the fourth."""


@dataclass(frozen=True, kw_only=True)
class Emitted:
    """One record on ``merged`` or ``review``."""

    item_id: str
    draw: int
    fact: Fact
    reviewed: bool
    revision: int  # of the review
    label: str | None  # the human one

    @property
    def rank(self) -> tuple[int, int]:
        """Order records of one item as a reader of ``merged`` does."""
        return self.draw, self.revision


@dataclass(frozen=True, kw_only=True)
class Money:
    """What was spent on models, in dollars."""

    cap: float
    spent: float
    reserved: float  # by the living and by the dead
    results: float  # what the stored answers cost


@dataclass(kw_only=True)
class Evidence:
    """All of it. Ids are those of the input file, unless something is wrong."""

    registered: frozenset[str]
    merged: list[Emitted]  # in the order of the log, all records of an item in one partition
    review: list[Emitted]
    decisions: dict[tuple[str, int], Fact]  # (id, draw) → as stored
    dead: dict[str, str]  # id → stage and reason
    queue: dict[str, str]  # id → state of its review
    latest_draw: dict[str, int]  # id → its latest complete draw
    budget: int  # reviews that the campaign file allows
    money: Money
    records: dict[str, int] = field(default_factory=dict)  # kind of topic → records
    distinct: dict[str, int] = field(default_factory=dict)  # kind of topic → items

    @property
    def merged_ids(self) -> set[str]:
        """Ids that are on ``merged`` for good: a record of a draw that a later one replaced by a review does not count."""
        last = self.last_merged()
        return {item for item, record in last.items() if record.reviewed or not self._selected(item)}

    def _selected(self, item: str) -> bool:
        fact = self.decisions.get((item, self.latest_draw.get(item, 0)))
        return bool(fact and fact[-1])

    def last_merged(self) -> dict[str, Emitted]:
        """Return the record that counts of every item on ``merged``."""
        last: dict[str, Emitted] = {}
        for record in self.merged:
            if record.item_id not in last or record.rank >= last[record.item_id].rank:
                last[record.item_id] = record
        return last


async def collect(host: Host, uid: str, *, registered: frozenset[str], budget: int, cap: float) -> Evidence:
    """Read every topic from its beginning to its present end, and the tables."""
    fetch = host.database.fetch
    decided = "SELECT d.* FROM decision d JOIN draw w ON w.uid = d.uid AND w.draw = d.draw AND w.complete WHERE d.uid = $1"
    decisions = {(row["item_id"], row["draw"]): _fact(row) for row in await fetch(decided, uid)}
    latest: dict[str, int] = {}
    for item, draw in decisions:
        latest[item] = max(latest.get(item, 0), draw)
    dead = await fetch("SELECT item_id, stage, reason FROM dead WHERE uid = $1", uid)
    spend = (await fetch("SELECT SUM(spent_usd) AS spent, SUM(reserved_usd) AS reserved FROM spend WHERE uid = $1", uid))[0]
    results = (await fetch("SELECT SUM(cost_usd) AS cost FROM result WHERE uid = $1", uid))[0]
    found = Evidence(
        registered=registered,
        merged=[_emitted(record) async for record in records(host, topics.MERGED, uid)],
        review=[_emitted(record) async for record in records(host, topics.REVIEW, uid)],
        decisions=decisions,
        dead={row["item_id"]: f"{row['stage']}: {row['reason']}" for row in dead},
        queue={row["item_id"]: row["state"] for row in await fetch("SELECT item_id, state FROM review WHERE uid = $1", uid)},
        latest_draw=latest,
        budget=budget,
        money=Money(cap=cap, spent=spend["spent"] or 0.0, reserved=spend["reserved"] or 0.0, results=results["cost"] or 0.0),
    )
    await _count(host, uid, found)
    return found


async def _count(host: Host, uid: str, found: Evidence) -> None:
    for kind in topics.KINDS:
        ids = Counter([record.key async for record in records(host, kind, uid)])
        found.records[kind], found.distinct[kind] = ids.total(), len(ids)


async def records(host: Host, kind: str, uid: str) -> AsyncIterator[Record]:
    """Yield the records of a topic, a partition after the other."""
    for partition, end in (await host.stream.end_offsets(topics.topic(kind, uid))).items():
        async for batch in host.stream.scan(partition, start=0, end=end):
            for record in batch:
                yield record


def _emitted(record: Record) -> Emitted:
    item = Item.FromString(record.value)
    assert item.id.encode() == record.key
    return Emitted(
        item_id=item.id,
        draw=item.decision.draw,
        fact=_on_the_wire(item.decision),
        reviewed=item.HasField("review"),
        revision=item.review.revision,
        label=human_label(item),
    )


def _on_the_wire(decision: Decision) -> Fact:
    return (decision.block, decision.cell, decision.cell_selected, decision.cell_size, decision.epsilon_q16, decision.selected)


def _fact(row: object) -> Fact:
    names = ("block", "cell", "cell_selected", "cell_size", "epsilon_q16", "selected")
    return tuple(row[name] for name in names)  # type: ignore[index]
