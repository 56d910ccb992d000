"""Answers out to the merged topic: each is published after its grace period, in order, whatever is killed when."""

import asyncio
from collections.abc import Sequence
from typing import Final

from actlabel.core import topics
from actlabel.core.errors import DeadLetter, RetryLater
from actlabel.review_gateway.domain import Entry, merged_record
from actlabel.review_gateway.entries import entry_of, read_answer, statements
from actlabel.runtime.clock import Clock
from actlabel.runtime.database.port import Database
from actlabel.runtime.failpoints import failpoint
from actlabel.runtime.lifecycle import until
from actlabel.runtime.log import get_log
from actlabel.runtime.metrics import OUTBOX, OUTBOX_SECONDS
from actlabel.runtime.tracing import instant
from actlabel.stream.port import Producer

_LOG = get_log(__name__)
_LOCK: Final = "review-outbox"
_BATCH: Final = 256
_POSTPONE_S: Final = 3600.0
_LATE_S: Final = 120.0


class Outbox:
    """One pass: mark what is due as started, produce, wait for the acknowledgements, mark as published. See README.md for why so."""

    def __init__(self, *, database: Database, producer: Producer, clock: Clock, interval_s: float = 0.5) -> None:
        """``interval_s``: how often it looks for what is due."""
        self._database = database
        self._producer = producer
        self._clock = clock
        self._interval_s = interval_s
        self._sql = statements()
        self._oldest: float | None = None
        self._trouble: str | None = None

    def trouble(self) -> str | None:
        """Say what keeps answers from being published, for readiness."""
        late = self._clock.now() - self._oldest if self._oldest is not None else 0.0
        if self._trouble is None and late < _LATE_S:
            return None
        return f"an answer has waited {max(late, 0.0):.0f} s for the merged topic ({self._trouble or 'another replica publishes, or none'})"

    async def run(self, stop: asyncio.Event) -> None:
        """Publish until ``stop``, then once more all that is due; what is in its grace period stays for the next start."""
        while not await until(stop, self._interval_s):
            await self.drain()
        await self.drain()

    async def drain(self) -> None:
        """Publish until nothing is due. A stream or database out of reach is noted and tried again at the next turn."""
        try:
            while await self.publish_due() == _BATCH:
                pass
            await self._look()
        except RetryLater as error:
            if self._trouble is None:
                _LOG.warning("answers cannot be published for now", error=str(error))
            self._trouble = str(error)
        else:
            self._trouble = None

    async def publish_due(self) -> int:
        """Publish up to 256 due answers and return how many were tried. Raises ``RetryLater``; all that was acknowledged is marked."""
        if not await self._look():
            return 0
        async with self._database.try_lock(_LOCK) as is_ours:
            return await self._publish() if is_ours else 0

    async def _look(self) -> bool:
        row = (await self._database.fetch(self._sql["outbox"]))[0]
        OUTBOX.set(row["items"])
        self._oldest = row["oldest"]
        OUTBOX_SECONDS.set(0.0 if self._oldest is None else max(self._clock.now() - self._oldest, 0.0))
        return row["oldest"] is not None and row["oldest"] <= self._clock.now()

    async def _publish(self) -> int:
        rows = await self._database.fetch(self._sql["start_publishing"], self._clock.now(), _BATCH)
        entries = [entry_of(row) for row in rows]
        failpoint("outbox.started")
        sent = await self._send(entries)
        failpoint("outbox.sent")
        outcomes = await asyncio.gather(*sent, return_exceptions=True)
        failpoint("outbox.produced")
        failures = [error for error in outcomes if isinstance(error, BaseException)]
        await self._mark(entries, outcomes)
        failpoint("outbox.emptied")
        for error in failures:
            if not isinstance(error, DeadLetter):
                raise error
        return len(entries)

    async def _send(self, entries: Sequence[Entry]) -> Sequence[asyncio.Future[None]]:
        sent = []
        for entry in entries:
            answer = await read_answer(self._database, self._sql, entry)
            assert answer is not None, "only answered rows are due"
            topic = topics.topic(topics.MERGED, entry.uid)
            value = merged_record(entry.item, answer)
            headers = instant("publish", entry.uid, entry.item_id, after=topics.REVIEW_GATEWAY)
            sent.append(asyncio.ensure_future(self._producer.send(topic, key=entry.item_id.encode(), value=value, headers=headers)))
        return sent

    async def _mark(self, entries: Sequence[Entry], outcomes: Sequence[object]) -> None:
        pairs = list(zip(entries, outcomes, strict=True))
        done = [(entry.uid, entry.item_id, entry.revision, entry.draw) for entry, outcome in pairs if outcome is None]
        refused = [(entry.uid, entry.item_id, self._clock.now() + _POSTPONE_S) for entry, out in pairs if isinstance(out, DeadLetter)]
        if done:
            await self._database.execute_many(self._sql["published"], done)
        if refused:
            _LOG.error("the merged topic refuses answers; they are tried again in an hour", items=len(refused))
            await self._database.execute_many(self._sql["postpone"], refused)
