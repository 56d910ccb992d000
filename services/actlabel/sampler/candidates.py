"""What was critiqued, written in batches: concurrent items share one transaction, and each learns whether it is decided already."""

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from actlabel.core.errors import UserError
from actlabel.runtime.clock import Clock
from actlabel.runtime.database.port import Database, Row, Session, load_statements
from actlabel.runtime.failpoints import failpoint
from actlabel.sampler.domain import STREAMING, check_mode

_MOST_ROWS: Final = 5_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A critiqued item, as much of it as a draw needs."""

    uid: str
    item_id: str
    batch: int
    revision: int
    epsilon_q16: int
    label: str
    mode: str  # of the campaign version that the item names


@dataclass(slots=True)
class _Waiting:
    candidate: Candidate
    stored: "asyncio.Future[Row | None]"


class Candidates:
    """Takes candidates in. One task writes at any moment; what arrives meanwhile goes with the next transaction."""

    def __init__(self, database: Database, clock: Clock) -> None:
        """Keep the parts; nothing is written yet."""
        self._database = database
        self._clock = clock
        self._sql = load_statements("actlabel.sampler")
        self._queue: list[_Waiting] = []
        self._writer: asyncio.Task[None] | None = None

    async def put(self, candidate: Candidate) -> Row | None:
        """Store a candidate, first write wins; return its stored decision where there is one already.

        Raises ``RetryLater`` when the database is out of reach, and ``UserError`` when the campaign changed its mode meanwhile.
        """
        waiting = _Waiting(candidate, asyncio.get_running_loop().create_future())
        self._queue.append(waiting)
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write_all())
        return await waiting.stored

    async def _write_all(self) -> None:
        await asyncio.sleep(0)  # what became ready in this turn of the loop goes together
        while self._queue:
            group, self._queue = self._queue[:_MOST_ROWS], self._queue[_MOST_ROWS:]
            by_uid: dict[str, list[_Waiting]] = defaultdict(list)
            for waiting in group:
                by_uid[waiting.candidate.uid].append(waiting)
            for uid, members in by_uid.items():
                await self._write(uid, members)

    async def _write(self, uid: str, members: Sequence[_Waiting]) -> None:
        try:
            outcomes = await self._store(uid, [waiting.candidate for waiting in members])
        except Exception as error:  # noqa: BLE001 - each waiting item gets the error that its write met
            for waiting in members:
                _settle(waiting.stored, error)
            return
        for waiting in members:
            _settle(waiting.stored, outcomes.get(waiting.candidate.item_id))

    async def _store(self, uid: str, candidates: Sequence[Candidate]) -> Mapping[str, Row | UserError]:
        async with self._database.transaction() as session:
            await session.execute(self._sql["open_budget"], uid, candidates[0].mode)
            mode = (await session.fetch(self._sql["share_budget"], uid))[0]["mode"]
            refused = {c.item_id: refusal for c in candidates if (refusal := _refusal(c, mode)) is not None}
            fitting = [candidate for candidate in candidates if candidate.item_id not in refused]
            drawn = await self._insert(session, uid, fitting)
            decided = await self._decided(session, uid, mode, fitting) if drawn else {}
            failpoint("candidates.storing")
        failpoint("candidates.stored")
        return {**refused, **decided}

    async def _insert(self, session: Session, uid: str, candidates: Sequence[Candidate]) -> bool:
        """Store those that are new; say whether anything of the campaign was ever decided."""
        drawn = {row["batch"] for row in await session.fetch(self._sql["drawn_batches"], uid)}
        now = self._clock.now()
        rows = [
            (
                c.uid,
                c.item_id,
                c.batch,
                _undrawn(c.batch, drawn),
                c.revision,
                c.epsilon_q16,
                c.label,
                now,
                None if c.mode == STREAMING else 0,
            )
            for c in sorted(candidates, key=lambda c: c.item_id)  # one order of locks for all replicas
        ]
        await session.execute_many(self._sql["put_candidate"], rows)
        return bool(drawn)

    async def _decided(self, session: Session, uid: str, mode: str, candidates: Sequence[Candidate]) -> Mapping[str, Row]:
        statement = "block_decisions" if mode == STREAMING else "stored_decisions"
        rows = await session.fetch(self._sql[statement], uid, [candidate.item_id for candidate in candidates])
        return {row["item_id"]: row for row in rows}


def _undrawn(batch: int, drawn: set[int]) -> int:
    """Name the batch whose draw takes an item of ``batch``: its own, or the next one that is not drawn yet."""
    while batch in drawn:
        batch += 1
    return batch


def _refusal(candidate: Candidate, mode: str) -> UserError | None:
    try:
        check_mode(candidate.mode, mode)
    except UserError as error:
        return error
    return None


def _settle(future: "asyncio.Future[Row | None]", outcome: Row | Exception | None) -> None:
    if future.done():  # its item was given up meanwhile
        return
    if isinstance(outcome, Exception):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)
