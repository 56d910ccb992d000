"""Results: what a model was asked word for word is never asked, and paid, again.

A result id is the SHA-256 of [campaign uid, stage] and the canonical request, both JSON. The canonical request holds the messages as
rendered (images by their SHA-256; the critic's messages hold the annotation judged), the schema of the answer, the strategy, the model
and the parameters that change an answer. The endpoint's address, key, price and retries are not in it: the same model behind another
address is the same model.
"""

import asyncio
import hashlib
import random
from collections.abc import Awaitable, Callable, Sequence
from functools import cached_property, lru_cache
from itertools import count

import orjson

from actlabel.chat.batches import Batches
from actlabel.chat.claims import Claims
from actlabel.chat.retry import backoff_s
from actlabel.chat.strategy import Question
from actlabel.core.errors import DeadLetter, RetryLater
from actlabel.core.values import value
from actlabel.runtime import metrics
from actlabel.runtime.campaign_file import Model
from actlabel.runtime.clock import Clock
from actlabel.runtime.database.port import Database, load_statements
from actlabel.runtime.failpoints import failpoint
from actlabel.runtime.log import get_log
from actlabel.runtime.tallies import Tally

_LARGEST_BATCH = 256
_ASK_AGAIN_S = 0.2  # while another process makes the call
_CHANCE = random.Random()  # noqa: S311 - jitter is no secret
_log = get_log(__name__)


@value
class Paid:
    """What a call brought."""

    payload: bytes  # the Annotation or Critique as protobuf
    cost_usd: float


@value
class _Put:
    result_id: str
    uid: str
    stage: str
    paid: Paid


class _Flight:
    """One call on its way, with those who wait for it. It goes on when they are cancelled."""

    __slots__ = ("task", "waiters")

    def __init__(self) -> None:
        self.task: asyncio.Task[None]
        self.waiters: list[asyncio.Future[bytes]] = []

    def land(self, payload: bytes) -> None:
        for waiter in self.waiters:
            if not waiter.done():
                waiter.set_result(payload)

    def fail(self, error: Exception | None) -> None:
        for waiter in self.waiters:
            if waiter.done():
                continue
            if error is None:
                waiter.cancel()
            else:
                waiter.set_exception(error)


class Claimed:
    """There is no answer yet, but another process makes the call."""


CLAIMED = Claimed()
_Found = bytes | None | Claimed
_OUTCOMES = {type(None): "miss", Claimed: "claimed"}


def canonical_request(question: Question, *, model: Model, strategy: str) -> bytes:
    """Write a question as JSON in which equal questions are equal bytes: keys in the order of the alphabet."""
    messages = b",".join([message.canonical for message in question.messages])
    parameters = model.json_schema, model.max_output_tokens, model.temperature
    return b'{"messages":[%b],%b' % (messages, _same_for_all(model.model, parameters, question.schema.canonical, strategy))


@lru_cache(maxsize=256)
def _same_for_all(model: str, parameters: tuple[bool, int, float], schema: bytes, strategy: str) -> bytes:
    """Write what of a request is the same for every item of a campaign version: all that follows the messages."""
    named = dict(zip(("json_schema", "max_output_tokens", "temperature"), parameters, strict=True))
    return orjson.dumps({"model": model, "parameters": named, "schema": orjson.Fragment(schema), "strategy": strategy})[1:]


def result_id(uid: str, stage: str, request: bytes) -> str:
    """Name the answer to a canonical request: 64 hexadecimal digits."""
    digest = hashlib.sha256(orjson.dumps([uid, stage]))
    digest.update(request)
    return digest.hexdigest()


class Results:
    """Looks up, calls, puts: in this order. The first write wins and everyone gets what was written first."""

    def __init__(self, database: Database, clock: Clock) -> None:
        """Keep the database; nothing is read yet."""
        self._database = database
        self._clock = clock
        self._sql = load_statements("actlabel.chat")
        self._claims = Claims(database, clock)
        self._lookups: Batches[str, _Found] = Batches(self._look_up, largest=_LARGEST_BATCH)
        self._puts: Batches[_Put, bytes] = Batches(self._put, largest=_LARGEST_BATCH)
        self._flights: dict[str, _Flight] = {}
        self._outcomes: dict[tuple[str, str], Tally] = {}
        self._paid: set[str] = set()  # result ids whose answer is here but not yet stored

    @cached_property
    def _loop(self) -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()  # asking every time is a system call in Python 3.11

    async def get_or_call(self, result_id: str, uid: str, stage: str, call: Callable[[], Awaitable[Paid]]) -> bytes:
        """Return the stored payload of a result, after calling and storing when there is none.

        Concurrent requests for one id share one call. It goes on when those who wait for it are cancelled: it is paid already.
        Raises what ``call`` raises, and ``RetryLater`` when the database is out of reach before the call; after it, storing is tried
        until it succeeds.
        """
        waiter: asyncio.Future[bytes] = self._loop.create_future()
        flight = self._flights.get(result_id)
        if flight is None:
            flight = self._flights[result_id] = _Flight()
            flight.task = self._loop.create_task(self._land(result_id, flight, uid, stage, call))
        flight.waiters.append(waiter)
        return await waiter

    async def _land(self, result_id: str, flight: _Flight, uid: str, stage: str, call: Callable[[], Awaitable[Paid]]) -> None:
        """Give everyone who still waits the outcome of a flight."""
        try:
            payload = await self._fly(result_id, uid, stage, call)
        except asyncio.CancelledError:
            flight.fail(None)
            raise
        except Exception as error:  # noqa: BLE001 - whoever waits gets it; where nobody does, nobody needs it
            flight.fail(error)
        else:
            flight.land(payload)
        finally:
            del self._flights[result_id]
            self._paid.discard(result_id)
            self._claims.ended(result_id)

    def _count(self, stage: str, found: "_Found") -> None:
        key = stage, _OUTCOMES.get(type(found), "hit")
        tally = self._outcomes.get(key)
        if tally is None:
            tally = self._outcomes[key] = Tally(metrics.RESULT_LOOKUPS.labels(*key))
        tally.count += 1

    async def _fly(self, result_id: str, uid: str, stage: str, call: Callable[[], Awaitable[Paid]]) -> bytes:
        stored = await self._lookups.submit(result_id)
        self._count(stage, stored)
        if isinstance(stored, Claimed):
            stored = await self._wait_for_others(result_id)
        if stored is not None:
            return stored
        failpoint("result.looked_up")
        try:
            paid = await call()
        except DeadLetter:
            # a copy of the record may be in work elsewhere since a handover: what is answered there is no dead letter here
            if (elsewhere := await self._answered_elsewhere(result_id)) is not None:
                return elsewhere
            raise
        failpoint("result.called")
        self._paid.add(result_id)
        return await self._store(_Put(result_id=result_id, uid=uid, stage=stage, paid=paid))

    async def _store(self, put: _Put) -> bytes:
        for attempt in count():
            try:
                return await self._puts.submit(put)
            except RetryLater:
                _log.warning("a paid answer could not be stored and is tried again", stage=put.stage, campaign=put.uid)
                await self._clock.sleep(backoff_s(attempt, chance=_CHANCE))
        raise AssertionError("counting does not end")

    async def _wait_for_others(self, result_id: str) -> bytes | None:
        """Wait for the call of another process: its answer, or None when it ended without one or its claim expired."""
        while True:
            await self._clock.sleep(_ASK_AGAIN_S)
            found = await self._lookups.submit(result_id)
            if not isinstance(found, Claimed):
                return found

    async def _answered_elsewhere(self, result_id: str) -> bytes | None:
        found = await self._lookups.submit(result_id)
        return await self._wait_for_others(result_id) if isinstance(found, Claimed) else found

    async def hand_over(self) -> None:
        """Claim the calls that go on here, before others get the records that wait for them. Raises ``RetryLater``.

        What waits here for the call of another comes along: the other's claim stays, and ours takes its place should it expire.
        """
        await asyncio.sleep(0)  # tasks that were begun but did not run yet come along
        await self._claims.make(self._flights.keys())

    async def _look_up(self, ids: Sequence[str]) -> "Sequence[_Found]":
        rows = await self._database.fetch(self._sql["look_up"], list(ids), self._claims.owner, self._clock.now())
        found: dict[str, _Found] = {}
        for name, payload, _ in rows:
            if payload is not None:
                found[name] = bytes(payload)
            else:
                found.setdefault(name, CLAIMED)
        return [found.get(result_id) for result_id in ids]

    async def _put(self, puts: Sequence[_Put]) -> Sequence[bytes]:
        """Insert in the order of ids, so that two processes never wait for each other in a circle; read back what others had put first."""
        now = self._clock.now()
        ordered = sorted(puts, key=lambda put: put.result_id)
        rows = [(put.result_id, put.uid, put.stage, put.paid.payload, put.paid.cost_usd, now) for put in ordered]
        failpoint("result.storing")
        first = {row["result_id"] for row in await self._database.fetch_many(self._sql["put_result"], rows)}
        failpoint("result.stored")
        late = [put.result_id for put in ordered if put.result_id not in first]
        others = await self._database.fetch(self._sql["results"], late) if late else ()
        stored = {row["result_id"]: bytes(row["payload"]) for row in others}
        return [stored.get(put.result_id, put.paid.payload) for put in puts]

    async def close(self, *, grace_s: float = 5.0) -> None:
        """Store the answers that are here, within ``grace_s``; then abandon what is still being asked, and its claims."""
        if storing := [self._flights[result_id].task for result_id in self._paid]:
            await asyncio.wait(storing, timeout=grace_s)
        flights = list(self._flights.values())
        for flight in flights:
            flight.task.cancel()
        await asyncio.gather(*(flight.task for flight in flights), return_exceptions=True)
        for flight in flights:
            flight.fail(None)  # one that was cancelled before it began could not say so itself
        await self._lookups.close()
        await self._puts.close()
        await self._claims.close()
