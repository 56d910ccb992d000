"""From the rows of the database to facts, a page at a time."""

from collections.abc import AsyncIterator, Callable
from typing import Any, Final

from actlabel.audit.facts import Fact, Flag, Place, decision_digest, source_of
from actlabel.audit.records import human_digest
from actlabel.runtime.database.port import Database, Row, load_statements

PAGE_ROWS: Final = 10_000

_Rows = AsyncIterator[tuple[str, Fact]]


class Tables:
    """The rows of one campaign; every method yields (item id, fact)."""

    def __init__(self, database: Database, uid: str) -> None:
        """Keep both; nothing is read yet."""
        self._database = database
        self._uid = uid
        self._sql = load_statements("actlabel.audit")

    async def registered_count(self) -> int:
        """Count what ingest has registered."""
        return int((await self._database.fetch(self._sql["registered_count"], self._uid))[0]["items"])

    def registered(self) -> _Rows:
        """What ingest has registered."""
        return self._read("registered", _registered)

    def others(self, draws: frozenset[int]) -> tuple[_Rows, ...]:
        """Everything else that the database says of items; decisions of these draws only."""
        decisions = self._read("decisions", lambda row: _decision(row) if row["draw"] in draws else None, "draw")
        answers = self._read("answers", _answer, "revision")
        return self._read("dead", _dead), self._read("queue", _queue), answers, self._read("candidates", _candidate), decisions

    async def ids(self) -> AsyncIterator[str]:
        """Yield every id that a table names, some more than once."""
        for rows in (self.registered(), *self.others(frozenset())):
            async for item_id, _ in rows:
                yield item_id

    async def _read(self, statement: str, fact_of: Callable[[Row], Fact | None], second: str | None = None) -> _Rows:
        after: tuple[Any, ...] = ("",) if second is None else ("", -1)
        while rows := await self._database.fetch(self._sql[statement], self._uid, *after, PAGE_ROWS):
            for row in rows:
                fact = fact_of(row)
                if fact is not None:
                    yield row["item_id"], fact
            last = rows[-1]
            after = (last["item_id"],) if second is None else (last["item_id"], last[second])


def _registered(row: Row) -> Fact:
    return _fact(Place.REGISTER, Flag.PRODUCED if row["produced"] else 0, revision=row["revision"])


def _dead(row: Row) -> Fact:
    flags = Flag.REPLAYING if row["replayed_at"] is not None else 0
    if row["purged_at"] is not None:
        flags |= Flag.PURGED
    return _fact(Place.DEAD, flags, partition=row["partition"], offset=row["record_offset"], source=source_of(row["topic"]))


def _queue(row: Row) -> Fact:
    flags = Flag.PENDING if row["publish_after"] is not None else 0
    flags |= {"waiting": Flag.OPEN, "leased": Flag.OPEN, "answered": Flag.ANSWERED, "undecidable": Flag.ANSWERED}.get(row["state"], 0)
    place = {"revision": row["content_revision"], "draw": row["draw"], "review": row["revision"], "source": row["published_draw"]}
    return _fact(Place.QUEUE, flags, **place)


def _answer(row: Row) -> Fact:
    return _fact(Place.ANSWER, 0, review=row["revision"], human=human_digest(row["label"], row["reviewer"]))


def _candidate(row: Row) -> Fact:
    flags = Flag.EXACT if row["block"] == 0 else 0
    return _fact(Place.CANDIDATE, flags, revision=row["revision"], epsilon=row["epsilon_q16"])


def _decision(row: Row) -> Fact:
    numbers = ("draw", "block", "cell", "cell_selected", "cell_size", "epsilon_q16", "selected")
    return _fact(Place.DECISION, 0, draw=row["draw"], decision=decision_digest(**{name: row[name] for name in numbers}))


def _fact(place: Place, flags: int, **fields: int) -> Fact:
    return Fact(place, flags, *(fields.get(name, 0) for name in Fact._fields[2:]))
