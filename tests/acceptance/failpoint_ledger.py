"""What must be so at the end of a campaign in which processes died: read from topics and tables, from the ids of the input file on."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from actlabel.contracts.v1.item_pb2 import Item, Review
from actlabel.core import topics
from actlabel.host.host import Host
from actlabel.runtime.campaigns import Campaign
from actlabel.runtime.database.port import Row

Violations = dict[str, list[str]]
"""Role → what is wrong at its stage, seen from what its stage was given."""


@dataclass
class Books:
    """Everything that a campaign has left, each topic as item id → its records in order of offsets."""

    annotated: dict[str, list[Item]]
    critiqued: dict[str, list[Item]]
    review: dict[str, list[Item]]
    merged: dict[str, list[Item]]
    dead: dict[str, str]  # item id → stage
    letters: set[str]  # ids on the dead topic
    decisions: list[Row]
    draws: list[Row]
    cells: list[Row]
    budget: Row | dict[str, int]
    queue: dict[str, Row]  # item id → its row in the review queue
    answers: list[Row]
    spent_usd: float
    paid_usd: float


async def read_books(host: Host, uid: str) -> Books:
    """Read all of it."""

    async def rows(statement: str) -> list[Row]:
        return list(await host.database.fetch(statement, uid))

    items = {kind: await _items(host, uid, kind) for kind in (topics.ANNOTATED, topics.CRITIQUED, topics.REVIEW, topics.MERGED)}
    return Books(
        **{kind: items[kind] for kind in items},
        dead={row["item_id"]: row["stage"] for row in await rows("SELECT item_id, stage FROM dead WHERE uid = $1")},
        letters=set(await _keys(host, uid, topics.DEAD)),
        decisions=await rows(
            "SELECT item_id, draw, block, cell, cell_selected, cell_size, epsilon_q16, selected FROM decision WHERE uid = $1"
        ),
        draws=await rows("SELECT draw, complete, selected, population FROM draw WHERE uid = $1"),
        cells=await rows("SELECT draw, block, cell, size, selected FROM cell WHERE uid = $1"),
        budget=next(iter(await rows("SELECT budget, taken, seen FROM budget WHERE uid = $1")), {"taken": 0, "seen": 0}),
        queue={row["item_id"]: row for row in await rows("SELECT item_id, state, revision, publish_after FROM review WHERE uid = $1")},
        answers=await rows("SELECT item_id, revision, label FROM review_answer WHERE uid = $1"),
        spent_usd=float((await rows("SELECT COALESCE(SUM(spent_usd + reserved_usd), 0) AS usd FROM spend WHERE uid = $1"))[0]["usd"]),
        paid_usd=float((await rows("SELECT COALESCE(SUM(cost_usd), 0) AS usd FROM result WHERE uid = $1"))[0]["usd"]),
    )


async def _items(host: Host, uid: str, kind: str) -> dict[str, list[Item]]:
    items: dict[str, list[Item]] = defaultdict(list)
    for partition, end in (await host.stream.end_offsets(topics.topic(kind, uid))).items():
        async for batch in host.stream.scan(partition, start=0, end=end):
            for record in batch:
                items[record.key.decode()].append(Item.FromString(record.value))
    return dict(items)


async def _keys(host: Host, uid: str, kind: str) -> list[str]:
    keys = []
    for partition, end in (await host.stream.end_offsets(topics.topic(kind, uid))).items():
        async for batch in host.stream.scan(partition, start=0, end=end):
            keys += [record.key.decode() for record in batch]
    return keys


def while_open(books: Books, registered: set[str]) -> list[str]:
    """Check the ledger at rest, before anybody has answered: registered = merged ⊎ open in review ⊎ dead."""
    is_open = {item_id for item_id, row in books.queue.items() if row["state"] in {"waiting", "leased"}}
    return _shared_out(registered, merged=set(books.merged), open=is_open, dead=set(books.dead))


def at_the_end(
    books: Books, campaign: Campaign, registered: set[str], doomed: Mapping[str, set[str]], submitted: Mapping[str, str], undone: set[str]
) -> Violations:
    """Check everything.

    ``doomed``: what each model refuses, by stage. ``submitted``: the last label that a reviewer was told is taken; ``undone``: items of
    which an answer was taken back.
    """
    return {
        topics.ANNOTATOR: _model_stage(topics.ANNOTATOR, registered, books.annotated, books, doomed),
        topics.CRITICIZER: _model_stage(topics.CRITICIZER, set(books.annotated), books.critiqued, books, doomed) + _money(books, campaign),
        topics.SAMPLER: [*_decided(books, campaign), *_emitted(books)],
        topics.REVIEW_GATEWAY: [*_reviewed(books, submitted, undone), *_shared_out(set(books.critiqued), merged=set(books.merged))],
    }


def _shared_out(whole: set[str], **parts: set[str]) -> list[str]:
    """Say what is missing, what is too much, and what is in two places."""
    counts = Counter(item_id for part in parts.values() for item_id in part)
    wrong = {
        "lost": whole - counts.keys(),
        "of nowhere": counts.keys() - whole,
        "in two places": {item_id for item_id, count in counts.items() if count > 1},
    }
    return [f"{what} ({' ⊎ '.join(parts)}): {sorted(ids)[:5]}" for what, ids in wrong.items() if ids]


def _same(records: Mapping[str, list[Item]], what: str) -> list[str]:
    """Every record of an item is the same, byte for byte."""
    different = [item_id for item_id, items in records.items() if len({one.SerializeToString(deterministic=True) for one in items}) > 1]
    return [f"{what} with two faces: {sorted(different)[:5]}"] if different else []


def _model_stage(stage: str, given: set[str], out: Mapping[str, list[Item]], books: Books, doomed: Mapping[str, set[str]]) -> list[str]:
    dead = {item_id for item_id, where in books.dead.items() if where == stage}
    wrong = _shared_out(given, out=set(out), dead=dead) + _same(out, f"{stage}'s output")
    if dead != doomed[stage]:
        wrong.append(f"dead are {sorted(dead)}, not {sorted(doomed[stage])}")
    if not dead <= books.letters:
        wrong.append(f"rows of dead letters without a message: {sorted(dead - books.letters)}")
    return wrong


def _money(books: Books, campaign: Campaign) -> list[str]:
    wrong = []
    if books.spent_usd < books.paid_usd - 1e-9:
        wrong.append(f"${books.spent_usd} are on the books for answers of ${books.paid_usd}")
    if books.spent_usd > campaign.file.spend_cap_usd:
        wrong.append(f"${books.spent_usd} are on the books, the cap is ${campaign.file.spend_cap_usd}")
    return wrong


def _decided(books: Books, campaign: Campaign) -> Iterable[str]:
    """One decision each, cells that add up, and the budget: exact where all are drawn at once, never exceeded in a stream."""
    selected = {row["item_id"] for row in books.decisions if row["selected"]}
    yield from _shared_out(set(books.critiqued), decided={row["item_id"] for row in books.decisions})
    if len(books.decisions) != len(books.critiqued) or len(books.draws) != 1 or not books.draws[0]["complete"]:
        yield f"{len(books.decisions)} decisions in {len(books.draws)} draws for {len(books.critiqued)} items"
    allowed = campaign.file.sampler.budget_items(len(books.critiqued))
    least = allowed if campaign.file.sampler.mode == "exact" else allowed - 1
    if not least <= len(selected) <= allowed or books.budget["taken"] != len(selected) or books.budget["seen"] != len(books.critiqued):
        yield f"{len(selected)} selected of {allowed} allowed, {dict(books.budget)} on the books"
    members = Counter((row["block"], row["cell"], row["cell_size"], row["cell_selected"]) for row in books.decisions)
    chosen = Counter((row["block"], row["cell"]) for row in books.decisions if row["selected"])
    if any(count != size for (_, _, size, _), count in members.items()):
        yield "a cell has other members than its size says"
    if any(chosen[block, cell] != number for block, cell, _, number in members):
        yield "a cell has other selected items than its record says"
    if len(members) != len(books.cells):
        yield f"{len(books.cells)} cells are on the books, decisions name {len(members)}"


def _emitted(books: Books) -> Iterable[str]:
    """Every record of an item carries the decision that is stored; what is selected went to review, the rest went straight on."""
    stored = {row["item_id"]: row for row in books.decisions}
    selected = {item_id for item_id, row in stored.items() if row["selected"]}
    yield from _shared_out(selected, review=set(books.review))
    yield from _same(books.review, "the request for a review")
    for item_id, items in [*books.review.items(), *books.merged.items()]:
        if any(_decision(item) != _decision_of(stored.get(item_id)) for item in items):
            yield f"{item_id} carries another decision than is stored"
    for item_id, items in books.merged.items():
        if any(item.HasField("review") != (item_id in selected) for item in items):
            yield f"{item_id} is on merged {'without' if item_id in selected else 'with'} a review"


_DECISION = ("draw", "block", "cell", "cell_selected", "cell_size", "epsilon_q16", "selected")


def _decision(item: Item) -> tuple[object, ...]:
    return tuple(getattr(item.decision, name) for name in _DECISION)


def _decision_of(row: Row | None) -> tuple[object, ...]:
    return tuple(row[name] for name in _DECISION) if row is not None else ()


def _reviewed(books: Books, submitted: Mapping[str, str], undone: set[str]) -> Iterable[str]:
    """Each review is the submitted one, an answer is stored once, and what was taken back does not count."""
    yield from _shared_out(set(books.review), queued=set(books.queue))
    yield from _shared_out(set(books.queue), submitted=set(submitted))
    due = [item_id for item_id, row in books.queue.items() if row["state"] != "answered" or row["publish_after"] is not None]
    if due:
        yield f"not answered or still in the outbox: {sorted(due)[:5]}"
    stored = {(row["item_id"], row["revision"]): row["label"] for row in books.answers}
    for item_id, label in submitted.items():
        revision = books.queue[item_id]["revision"] if item_id in books.queue else 0
        if stored.get((item_id, revision)) != label:
            yield f"{item_id}: the newest answer is {stored.get((item_id, revision))}, submitted was {label}"
        published = [item.review for item in books.merged.get(item_id, ()) if item.HasField("review")]
        last = max(published, key=lambda one: one.revision, default=Review())
        if (last.revision, last.label) != (revision, label):
            yield f"{item_id}: on merged is revision {last.revision}, {last.label!r}; stored is {revision}, {label!r}"
        if revision != 1 and item_id not in undone:
            yield f"{item_id}: one answer was stored as {revision}"
        if len({(one.revision, one.label) for one in published}) != len({one.revision for one in published}):
            yield f"{item_id}: one revision with two labels on merged"
