"""Results: asked once, paid once, the first write wins; on SQLite and PostgreSQL."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from actlabel.chat.port import AnswerSchema, Message, TextPart
from actlabel.chat.results import Paid, Results, canonical_request, result_id
from actlabel.chat.strategy import Question
from actlabel.core.errors import DeadLetter, RetryLater
from actlabel.runtime.campaign_file import Model
from actlabel.runtime.clock import FakeClock
from actlabel.runtime.database.port import Database


class Calls:
    """Counts calls, and answers when let."""

    def __init__(self, payload: bytes = b"answer") -> None:
        self.made = 0
        self.payload = payload
        self.begun = asyncio.Event()
        self.let = asyncio.Event()
        self.let.set()

    async def __call__(self) -> Paid:
        self.made += 1
        self.begun.set()
        await self.let.wait()
        return Paid(payload=self.payload, cost_usd=0.5)


class Watched:
    """A real database that counts statements and can be out of reach."""

    def __init__(self, inner: Database) -> None:
        self.inner = inner
        self.fetches = 0
        self.writes = 0
        self.failures = 0

    async def fetch(self, *parts: Any) -> Any:
        self.fetches += 1
        return await self.inner.fetch(*parts)

    async def fetch_many(self, *parts: Any) -> Any:
        self.writes += 1
        if self.failures:
            self.failures -= 1
            raise RetryLater("out of reach")
        return await self.inner.fetch_many(*parts)


@pytest.fixture
def results(database: Database) -> Results:
    return Results(database, FakeClock())


async def test_second_request_is_answered_from_the_store(database: Database, results: Results) -> None:
    calls = Calls()
    first = await results.get_or_call("r1", "c", "annotator", calls)
    second = await results.get_or_call("r1", "c", "annotator", calls)
    elsewhere = await Results(database, FakeClock()).get_or_call("r1", "c", "annotator", calls)
    assert (first, second, elsewhere, calls.made) == (b"answer", b"answer", b"answer", 1)


async def test_cost_is_stored_with_the_answer(database: Database, results: Results) -> None:
    await results.get_or_call("r1", "c", "annotator", Calls())
    row = (await database.fetch("SELECT uid, stage, cost_usd, created_at FROM result"))[0]
    assert (row["uid"], row["stage"], row["cost_usd"], row["created_at"]) == ("c", "annotator", 0.5, 1_000_000.0)


async def test_concurrent_requests_share_one_call(results: Results) -> None:
    calls = Calls()
    calls.let.clear()
    waiters = [asyncio.create_task(results.get_or_call("r1", "c", "annotator", calls)) for _ in range(20)]
    await calls.begun.wait()
    calls.let.set()
    assert set(await asyncio.gather(*waiters)) == {b"answer"}
    assert calls.made == 1


async def test_call_goes_on_when_one_waiter_or_all_are_cancelled(database: Database, results: Results) -> None:
    calls = Calls()
    calls.let.clear()
    first, second = (asyncio.create_task(results.get_or_call("r1", "c", "annotator", calls)) for _ in range(2))
    await calls.begun.wait()
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    assert first.cancelled()
    second.cancel()
    await asyncio.gather(second, return_exceptions=True)
    calls.let.set()
    third = await results.get_or_call("r1", "c", "annotator", calls)
    assert (third, calls.made) == (b"answer", 1)
    assert len(await database.fetch("SELECT 1 AS one FROM result")) == 1


async def test_first_write_wins_between_processes(database: Database) -> None:
    """Both look up before either stores, as two processes may; both must emit what was stored first."""
    here, there = Results(database, FakeClock()), Results(database, FakeClock())
    mine, theirs = Calls(b"mine"), Calls(b"theirs")
    mine.let.clear()
    slow = asyncio.create_task(here.get_or_call("r1", "c", "annotator", mine))
    await mine.begun.wait()
    assert await there.get_or_call("r1", "c", "annotator", theirs) == b"theirs"
    mine.let.set()
    assert await slow == b"theirs"


async def test_failed_call_stores_nothing_and_reaches_everyone(results: Results) -> None:
    begun, let = asyncio.Event(), asyncio.Event()

    async def fail() -> Paid:
        begun.set()
        await let.wait()
        raise DeadLetter("bad-answer", "nonsense")

    waiters = [asyncio.create_task(results.get_or_call("r1", "c", "annotator", fail)) for _ in range(2)]
    await begun.wait()
    let.set()
    outcomes = await asyncio.gather(*waiters, return_exceptions=True)
    assert all(isinstance(outcome, DeadLetter) for outcome in outcomes)
    assert await results.get_or_call("r1", "c", "annotator", Calls()) == b"answer"


async def test_what_another_process_was_answered_is_no_dead_letter_here(database: Database) -> None:
    """A record is in work twice after a handover that could claim nothing; of the two outcomes the answer counts."""
    here, there = Results(database, FakeClock()), Results(database, FakeClock())
    begun, let = asyncio.Event(), asyncio.Event()

    async def fail() -> Paid:
        begun.set()
        await let.wait()
        raise DeadLetter("bad-answer", "nonsense")

    unlucky = asyncio.create_task(here.get_or_call("r1", "c", "annotator", fail))
    await begun.wait()
    assert await there.get_or_call("r1", "c", "annotator", Calls(b"theirs")) == b"theirs"
    let.set()
    assert await unlucky == b"theirs"


async def test_concurrent_items_share_their_database_work(database: Database) -> None:
    watched = Watched(database)
    results = Results(watched, FakeClock())  # type: ignore[arg-type]  # what Results uses of it
    waiters = [results.get_or_call(f"r{number}", "c", "annotator", Calls(b"%d" % number)) for number in range(200)]
    assert await asyncio.gather(*waiters) == [b"%d" % number for number in range(200)]
    assert watched.fetches == 1
    assert watched.writes <= 2


async def test_more_than_a_batch_at_once(results: Results) -> None:
    waiters = [results.get_or_call(f"r{number}", "c", "annotator", Calls(b"%d" % number)) for number in range(700)]
    assert await asyncio.gather(*waiters) == [b"%d" % number for number in range(700)]


async def test_paid_answer_survives_a_database_out_of_reach(database: Database) -> None:
    watched = Watched(database)
    watched.failures = 5
    calls = Calls()
    results = Results(watched, FakeClock())  # type: ignore[arg-type]  # what Results uses of it
    assert await results.get_or_call("r1", "c", "annotator", calls) == b"answer"
    assert calls.made == 1
    assert watched.writes == 6


async def test_two_processes_with_overlapping_batches_do_not_block_each_other(database: Database) -> None:
    pair = [Results(database, FakeClock()) for _ in range(2)]
    forward = [f"r{number}" for number in range(100)]
    work: list[Awaitable[bytes]] = [
        results.get_or_call(name, "c", "annotator", Calls())
        for results, names in zip(pair, (forward, forward[::-1]), strict=True)
        for name in names
    ]
    assert set(await asyncio.gather(*work)) == {b"answer"}


async def test_close_stores_what_is_paid_and_abandons_what_is_not(database: Database) -> None:
    paid, asking = Calls(), Calls()
    asking.let.clear()
    results = Results(database, FakeClock())
    storing = asyncio.create_task(results.get_or_call("r1", "c", "annotator", paid))
    hanging = asyncio.create_task(results.get_or_call("r2", "c", "annotator", asking))
    await asking.begun.wait()
    await results.close()
    assert await storing == b"answer"
    assert await asyncio.gather(hanging, return_exceptions=True) != [b"answer"]
    assert [row["result_id"] for row in await database.fetch("SELECT result_id FROM result")] == ["r1"]


async def test_close_ends_a_request_that_has_just_begun(results: Results) -> None:
    asking = asyncio.create_task(results.get_or_call("r1", "c", "annotator", Calls()))
    await asyncio.sleep(0)  # it has made its flight, which has not run yet
    await results.close()
    async with asyncio.timeout(20):
        assert [type(outcome) for outcome in await asyncio.gather(asking, return_exceptions=True)] == [asyncio.CancelledError]


def _question(text: str = "miaow", *, system: str = "Which animal?", labels: tuple[str, ...] = ("cat", "dog")) -> Question:
    messages = (
        Message(role="system", parts=(TextPart(text=system),)),
        Message(role="user", parts=(TextPart(text=text),)),
    )
    return Question(messages=messages, schema=AnswerSchema(name="a", properties={"label": {"enum": list(labels)}}))


def _model(**fields: Any) -> Model:
    return Model(**{"endpoint": "http://here/v1", "model": "m", "strategy": "naive", **fields})


def _id(question: Question, model: Model, *, uid: str = "c", stage: str = "annotator", strategy: str = "naive") -> str:
    return result_id(uid, stage, canonical_request(question, model=model, strategy=strategy))


BASE = _id(_question(), _model())


@pytest.mark.parametrize(
    "other",
    [
        lambda: _id(_question("miaow "), _model()),
        lambda: _id(_question(system="Which animal ?"), _model()),
        lambda: _id(_question(labels=("dog", "cat")), _model()),
        lambda: _id(_question(), _model(model="n")),
        lambda: _id(_question(), _model(temperature=0.1)),
        lambda: _id(_question(), _model(max_output_tokens=5)),
        lambda: _id(_question(), _model(json_schema=False)),
        lambda: _id(_question(), _model(), uid="d"),
        lambda: _id(_question(), _model(), stage="criticizer"),
        lambda: _id(_question(), _model(), strategy="chain-of-thought"),
    ],
)
def test_what_differs_in_any_word_is_another_question(other: Callable[[], str]) -> None:
    assert other() != BASE


@pytest.mark.parametrize(
    "fields",
    [
        {"endpoint": "http://there/v1"},
        {"endpoint": None, "endpoints": [{"url": "http://there/v1"}, {"url": "http://here/v1", "weight": 3}]},
        {"retries": 9},
        {"timeout_s": 1.0},
        {"calls_in_flight": 1},
        {"adaptive": False},
        {"requests_per_minute": 9, "tokens_per_minute": 9},
        {"api_key_env": "K"},
    ],
)
def test_where_and_how_patiently_is_asked_does_not_matter(fields: dict[str, Any]) -> None:
    assert _id(_question(), _model(**fields)) == BASE


def test_result_id_stays_the_same_from_release_to_release() -> None:
    """A change of this value means that running campaigns would pay again for everything."""
    assert BASE == "fe0431ca9dceb265befcc0744f06fc955f05d7fbadb1d8e1000987142edbb304"
