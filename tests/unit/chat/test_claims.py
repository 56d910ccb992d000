"""Claims: a call that goes on in a process that gave its partitions away is waited for, not paid again; on SQLite and PostgreSQL."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from actlabel.chat.claims import EXPIRY_S
from actlabel.chat.results import Paid, Results
from actlabel.core.errors import EndpointUnavailable, RetryLater
from actlabel.runtime.clock import FakeClock
from actlabel.runtime.database.port import Database


class Clock(FakeClock):
    """Time passes only when a test says so; who sleeps is counted and waits for that."""

    def __init__(self) -> None:
        super().__init__()
        self.sleeping = 0
        self._moved = asyncio.Event()

    async def sleep(self, seconds: float) -> None:
        until = self.now() + seconds
        self.sleeping += 1
        while self.now() < until:
            await self._moved.wait()
        self.sleeping -= 1

    def advance(self, seconds: float) -> None:
        super().advance(seconds)
        moved, self._moved = self._moved, asyncio.Event()
        moved.set()


class Call:
    """A call that answers, or fails, when let."""

    def __init__(self, payload: bytes) -> None:
        self.made = 0
        self.payload = payload
        self.error: Exception | None = None
        self.begun = asyncio.Event()
        self.let = asyncio.Event()

    async def __call__(self) -> Paid:
        self.made += 1
        self.begun.set()
        await self.let.wait()
        if self.error is not None:
            raise self.error
        return Paid(payload=self.payload, cost_usd=0.5)


class Pair:
    """Two processes: a call runs in ``old``, and its record is ``new``'s now."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.clock = Clock()
        self.old, self.new = Results(database, self.clock), Results(database, self.clock)
        self.running, self.repeated = Call(b"old"), Call(b"new")
        self.repeated.let.set()

    async def begin(self) -> "asyncio.Task[bytes]":
        """Begin the call in ``old``."""
        task = asyncio.create_task(self.old.get_or_call("r1", "c", "annotator", self.running))
        await self.running.begun.wait()
        return task

    def ask(self) -> "asyncio.Task[bytes]":
        """Ask for the same in ``new``."""
        return asyncio.create_task(self.new.get_or_call("r1", "c", "annotator", self.repeated))

    async def claims(self) -> list[str]:
        return [row["result_id"] for row in await self.database.fetch("SELECT result_id FROM claim ORDER BY result_id")]

    async def pass_time(self, condition: Callable[[], bool | Awaitable[bool]], *, step_s: float = 0.5, most_s: float = 1000.0) -> float:
        """Let time pass until something is so; returns how long that took."""
        start = self.clock.now()
        while not (await answer if isinstance(answer := condition(), Awaitable) else answer):
            assert self.clock.now() - start < most_s
            self.clock.advance(step_s)
            await asyncio.sleep(0.02)  # for the database's thread or socket, and the pause between two batches
        return self.clock.now() - start


@pytest.fixture
async def pair(database: Database) -> AsyncIterator[Pair]:
    made = Pair(database)
    yield made
    await made.old.close(grace_s=0.1)
    await made.new.close(grace_s=0.1)


async def test_running_call_is_waited_for(pair: Pair) -> None:
    first = await pair.begin()
    await pair.old.hand_over()
    second = pair.ask()
    await pair.pass_time(lambda: pair.clock.sleeping >= 2)  # who waits, and who renews
    pair.running.let.set()
    await pair.pass_time(second.done)
    assert (await first, await second) == (b"old", b"old")
    assert pair.repeated.made == 0


async def test_without_a_handover_nothing_is_written(pair: Pair) -> None:
    first = await pair.begin()
    assert await pair.claims() == []
    pair.running.let.set()
    await first
    assert await pair.claims() == []


async def test_claim_is_renewed_for_as_long_as_the_call_runs_and_then_removed(pair: Pair) -> None:
    first = await pair.begin()
    await pair.old.hand_over()
    second = pair.ask()
    await pair.pass_time(lambda: pair.clock.now() >= 1_000_000.0 + 10 * EXPIRY_S)
    assert (second.done(), pair.repeated.made) == (False, 0)
    pair.running.let.set()
    await first

    async def removed() -> bool:
        return not await pair.claims()

    await pair.pass_time(removed)
    await pair.pass_time(second.done)
    assert await second == b"old"


async def test_failed_call_gives_its_claim_back_at_once(pair: Pair) -> None:
    pair.running.error = EndpointUnavailable("hangs")
    first = await pair.begin()
    await pair.old.hand_over()
    second = pair.ask()
    await pair.pass_time(lambda: pair.clock.sleeping >= 2)
    pair.running.let.set()
    took_s = await pair.pass_time(second.done)
    assert isinstance((await asyncio.gather(first, return_exceptions=True))[0], EndpointUnavailable)
    assert (await second, pair.repeated.made) == (b"new", 1)
    assert took_s < EXPIRY_S / 2


async def test_claim_of_a_killed_owner_delays_for_its_expiry_at_most(pair: Pair) -> None:
    await pair.begin()
    await pair.old.hand_over()
    keeping = pair.old._claims._keeping
    assert keeping is not None
    keeping.cancel()  # as a SIGKILL does
    second = pair.ask()
    took_s = await pair.pass_time(second.done)
    assert (await second, pair.repeated.made) == (b"new", 1)
    assert EXPIRY_S - 1 <= took_s <= EXPIRY_S + 3


async def test_closing_process_removes_the_claims_of_calls_that_it_abandons(pair: Pair) -> None:
    abandoned = await pair.begin()
    await pair.old.hand_over()
    second = pair.ask()
    await pair.pass_time(lambda: pair.clock.sleeping >= 2)
    await pair.old.close(grace_s=0.1)
    assert await pair.claims() == []
    took_s = await pair.pass_time(second.done)
    assert (await second, pair.repeated.made) == (b"new", 1)
    assert took_s < EXPIRY_S / 2
    await asyncio.gather(abandoned, return_exceptions=True)


async def test_own_claim_is_no_obstacle(pair: Pair) -> None:
    """The call fails and the record came back: it is asked for again here."""
    pair.running.error = EndpointUnavailable("hangs")
    first = await pair.begin()
    await pair.old.hand_over()
    pair.running.let.set()
    await asyncio.gather(first, return_exceptions=True)
    pair.running.error = None
    async with asyncio.timeout(20):
        assert await pair.old.get_or_call("r1", "c", "annotator", pair.running) == b"old"


async def test_claim_of_the_one_who_calls_stays_when_the_one_who_waits_hands_over(pair: Pair) -> None:
    await pair.begin()
    await pair.old.hand_over()
    second = pair.ask()
    await pair.pass_time(lambda: pair.clock.sleeping >= 2)
    await pair.new.hand_over()
    owners = {row["owner"] for row in await pair.database.fetch("SELECT owner FROM claim")}
    assert owners == {pair.old._claims.owner}
    pair.running.let.set()
    await pair.pass_time(second.done)
    assert pair.repeated.made == 0


async def test_two_claims_of_one_call_have_one_owner(pair: Pair) -> None:
    """Both look up before either claims; the first to claim is the one whose answer is waited for by a third."""
    pair.repeated.let.clear()
    first, second = await pair.begin(), pair.ask()
    await pair.repeated.begun.wait()
    await asyncio.gather(pair.old.hand_over(), pair.new.hand_over())
    assert len(await pair.database.fetch("SELECT owner FROM claim")) == 1
    pair.running.let.set()
    pair.repeated.let.set()
    assert await first == await second


async def test_work_that_was_begun_in_the_same_turn_is_claimed_too(pair: Pair) -> None:
    asking = asyncio.create_task(pair.old.get_or_call("r1", "c", "annotator", pair.running))  # does not run yet
    await pair.old.hand_over()
    assert await pair.claims() == ["r1"]
    pair.running.let.set()
    await asking


async def test_handover_without_calls_touches_no_database() -> None:
    await Results(Broken(), FakeClock()).hand_over()  # type: ignore[arg-type]  # one that must not be asked


class Broken:
    """A database that nobody may ask."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(name)


class OutOfReach:
    """A real database whose batches fail so often."""

    def __init__(self, inner: Database) -> None:
        self.inner = inner
        self.failures = 1

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    async def execute_many(self, *parts: Any) -> None:
        self.failures -= 1
        if self.failures >= 0:
            raise RetryLater("out of reach")
        await self.inner.execute_many(*parts)


async def test_claim_that_failed_is_made_by_the_next_renewal(pair: Pair) -> None:
    pair.old = Results(OutOfReach(pair.database), pair.clock)  # type: ignore[arg-type]  # what Results uses of it
    first = await pair.begin()
    with pytest.raises(RetryLater):
        await pair.old.hand_over()
    assert await pair.claims() == []

    async def made() -> bool:
        return await pair.claims() == ["r1"]

    await pair.pass_time(made)
    pair.running.let.set()
    assert await first == b"old"


async def test_a_thousand_claims_are_one_batch(pair: Pair) -> None:
    calls = [Call(b"%d" % number) for number in range(1000)]
    tasks = [asyncio.create_task(pair.old.get_or_call(f"r{number:04}", "c", "annotator", call)) for number, call in enumerate(calls)]
    await asyncio.gather(*(call.begun.wait() for call in calls))
    await pair.old.hand_over()
    assert len(await pair.claims()) == 1000
    for call in calls:
        call.let.set()
    await asyncio.gather(*tasks)
