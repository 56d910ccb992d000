"""The purse: the cap is hard over processes and stages, whatever is killed; on SQLite and PostgreSQL."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from actlabel.chat.port import AnswerSchema, ChatRequest, Message, TextPart
from actlabel.chat.settlement import read_money, settle
from actlabel.chat.spend import Purse, SpendCapReached, most_usd, present_cap
from actlabel.chat.trial import trial
from actlabel.core.errors import CampaignPaused, RetryLater, UserError
from actlabel.runtime.campaign_file import CampaignFile, Model
from actlabel.runtime.campaigns import Campaigns
from actlabel.runtime.clock import FakeClock
from actlabel.runtime.database.port import Database, Session

FILE = {
    "name": "animals",
    "task": {"question": "Which animal?", "labels": ["cat", "dog"]},
    "annotator": {"endpoint": "http://here/v1", "model": "m"},
    "criticizer": {"endpoint": "http://here/v1", "model": "n"},
    "sampler": {"budget": "10%"},
    "spend_cap_usd": 5.0,
}


def request(*, output_tokens: int = 1000, dollars_per_token: float = 0.001, uid: str = "c") -> ChatRequest:
    """One whose output can cost one dollar and whose input costs nothing."""
    price = {"output_usd_per_million_tokens": dollars_per_token * 1e6}
    return ChatRequest(
        uid=uid,
        stage="annotator",
        model=Model.model_validate(
            {"endpoint": "http://here/v1", "model": "m", "strategy": "naive", "max_output_tokens": output_tokens, "price": price}
        ),
        messages=(Message(role="user", parts=(TextPart(text="miaow"),)),),
        schema=AnswerSchema(name="a", properties={"label": {}}),
    )


def purse(database: Database, clock: FakeClock | None = None) -> Purse:
    return Purse(database=database, clock=clock or FakeClock(), stage="annotator")


def cap(dollars: float) -> Any:
    async def present() -> float:
        return dollars

    return present


async def spend(purse: Purse, cost_usd: float, dollars: float) -> None:
    async with purse.hold(request(), cap(dollars)) as hold:
        await asyncio.sleep(0)
        hold.cost_usd = cost_usd


async def sums(database: Database) -> tuple[float, float]:
    row = (await database.fetch("SELECT COALESCE(SUM(spent_usd), 0) AS s, COALESCE(SUM(reserved_usd), 0) AS r FROM spend"))[0]
    return row["s"], row["r"]


def test_bound_counts_text_images_and_the_longest_answer() -> None:
    assert most_usd(request(output_tokens=2000)) == pytest.approx(2.0)


async def test_model_without_a_price_touches_no_database(database: Database) -> None:
    async with purse(database).hold(request(dollars_per_token=0.0), cap(0.0)) as hold:
        hold.cost_usd = 0.0
    assert await sums(database) == (0, 0)


async def test_spending_ends_at_the_cap_and_says_so(database: Database) -> None:
    mine = purse(database)
    for _ in range(5):
        await spend(mine, 1.0, 5.0)
    with pytest.raises(SpendCapReached, match=r"spend cap of \$5 reached: \$5\.0000 are spent"):
        await spend(mine, 1.0, 5.0)
    await mine.settle()
    assert await sums(database) == (pytest.approx(5.0), 0)


async def test_raised_cap_goes_on(database: Database) -> None:
    mine = purse(database)
    await spend(mine, 1.0, 1.0)
    with pytest.raises(SpendCapReached):
        await spend(mine, 1.0, 1.0)
    await spend(mine, 1.0, 2.0)


class Counting:
    """A real database that counts transactions, and says when there were so many."""

    def __init__(self, inner: Database, *, awaited: int = 0) -> None:
        self.inner = inner
        self.awaited = awaited
        self.transactions = 0
        self.reached = asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Session]:
        async with self.inner.transaction() as session:
            yield session
        self.transactions += 1
        if self.transactions == self.awaited:
            self.reached.set()


async def test_cheap_calls_share_a_lease(database: Database) -> None:
    counting = Counting(database)
    mine = purse(counting)  # type: ignore[arg-type]  # a database that counts
    for _ in range(1000):
        await spend(mine, 0.001, 100.0)
    assert counting.transactions <= 3


async def test_calls_in_flight_never_promise_more_than_the_cap(database: Database) -> None:
    """Ten calls that may cost a dollar each under a cap of three: three at a time, the others wait, all are served."""
    counting = Counting(database, awaited=2)  # the first lease, and the fourth call's refusal
    mine = purse(counting)  # type: ignore[arg-type]  # a database that counts
    present = most = 0

    async def call() -> None:
        nonlocal present, most
        async with mine.hold(request(), cap(3.0)) as hold:
            present += 1
            most = max(most, present)
            await counting.reached.wait()
            present -= 1
            hold.cost_usd = 0.01

    await asyncio.gather(*(call() for _ in range(10)))
    assert most == 3
    await mine.settle()
    assert await sums(database) == (pytest.approx(0.1), 0)


async def test_what_another_process_holds_is_waited_for_and_not_the_end(database: Database) -> None:
    here, there = purse(database), purse(database)
    async with there.hold(request(), cap(1.0)) as hold:
        with pytest.raises(CampaignPaused):  # not RetryLater: it is no outage of ours
            await spend(here, 0.5, 1.0)
        hold.cost_usd = 0.0
    await there.settle()
    await spend(here, 0.5, 1.0)


async def test_lease_of_a_killed_process_counts_as_spent(database: Database) -> None:
    clock = FakeClock()
    killed, here = purse(database, clock), purse(database, clock)
    last_call = killed.hold(request(), cap(3.0))
    await last_call.__aenter__()  # and nothing more is heard of it
    with pytest.raises(CampaignPaused):
        await spend(here, 1.0, 3.0)
    clock.advance(61)
    with pytest.raises(SpendCapReached, match="ended without settling"):
        await spend(here, 1.0, 3.0)


async def test_process_that_lives_keeps_its_lease(database: Database) -> None:
    clock = FakeClock()
    there, here = purse(database, clock), purse(database, clock)
    async with there.hold(request(), cap(1.0)) as hold:
        for _ in range(5):
            clock.advance(30)
            await there.settle()
            with pytest.raises(CampaignPaused):
                await spend(here, 0.5, 1.0)
        hold.cost_usd = 0.5


async def test_failed_call_costs_nothing_and_a_cancelled_one_its_usual_price(database: Database) -> None:
    mine = purse(database)
    with pytest.raises(RetryLater):
        async with mine.hold(request(), cap(5.0)):
            raise RetryLater
    begun = asyncio.Event()

    async def hang() -> None:
        async with mine.hold(request(), cap(5.0)):
            begun.set()
            await asyncio.Event().wait()

    call = asyncio.create_task(hang())
    await begun.wait()
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)
    await mine.close()
    assert await sums(database) == (pytest.approx(1.0), 0)


async def test_settling_twice_changes_nothing(database: Database) -> None:
    mine = purse(database)
    await spend(mine, 0.25, 5.0)
    await mine.settle()
    await mine.settle()
    await mine.close()
    assert await sums(database) == (pytest.approx(0.25), 0)


async def test_answer_dearer_than_its_bound_makes_the_next_hold_larger(database: Database) -> None:
    mine = purse(database)
    await spend(mine, 2.0, 10.0)
    async with mine.hold(request(), cap(10.0)) as hold:
        assert hold.amount_usd == 2.0
        hold.cost_usd = 0.0


async def test_waiting_for_the_money_of_ones_own_calls_ends_without_an_outage(database: Database) -> None:
    """The record goes back to wait without a place, so that its deadline does not run; the call after it is served."""
    mine = Purse(database=database, clock=FakeClock(), stage="annotator", patience_s=0.01)
    async with mine.hold(request(), cap(1.0)) as hold:
        with pytest.raises(CampaignPaused, match="held for calls in flight"):
            await spend(mine, 0.1, 1.0)
        hold.cost_usd = 0.0
    await spend(mine, 0.1, 1.0)


async def test_a_person_settles_what_killed_processes_had_reserved(database: Database) -> None:
    clock = FakeClock()
    killed, here = purse(database, clock), purse(database, clock)
    await killed.hold(request(), cap(3.0)).__aenter__()
    clock.advance(30)
    async with here.hold(request(), cap(5.0)) as hold:
        clock.advance(31)
        money = await read_money(database, clock, "c")
        assert (money.spent_usd, money.held_usd, money.lost_usd) == (0.0, 2.0, 3.0)
        with pytest.raises(UserError, match=r"3\.1 is not between 0 and \$3\.0000"):
            await settle(database, clock, "c", spent_usd=3.1)
        assert await settle(database, clock, "c", spent_usd=0.5) == pytest.approx(2.5)
        money = await read_money(database, clock, "c")
        assert (money.spent_usd, money.held_usd, money.lost_usd) == (0.5, 2.0, 0.0)
        hold.cost_usd = 1.0
    with pytest.raises(UserError, match="nothing to settle"):
        await settle(database, clock, "c", spent_usd=0.0)
    for _ in range(3):
        await spend(here, 1.0, 5.0)
    with pytest.raises(SpendCapReached):
        await spend(here, 1.0, 5.0)


class Unreachable:
    """What a killed process sees of the database."""

    def transaction(self) -> Any:
        raise RetryLater("killed")


def _kill(victim: Purse) -> None:
    """Nothing more is written, and the calls that were in flight or waited in this process are nobody's."""
    victim._database = Unreachable()  # type: ignore[assignment]
    for account in victim._accounts.values():
        account.lease_usd = 0.0


@pytest.mark.parametrize(("seed", "kills"), [(1, 0.0), (2, 0.0), (3, 0.02), (4, 0.02), (5, 0.05)])
async def test_money_spent_by_many_processes_stays_under_the_cap(database: Database, seed: int, kills: float) -> None:
    """What models really charged, counted outside, under random costs and kills. Without kills all but the last call's bound is used."""
    chance, clock, charged, cap_usd = random.Random(seed), FakeClock(), 0.0, 12.0
    purses = [purse(database, clock) for _ in range(3)]

    async def call(mine: Purse, number: int) -> None:
        nonlocal charged
        async with mine.hold(request(), cap(cap_usd)) as hold:
            cost = chance.uniform(0.0, 0.9)
            charged += cost  # even where the process dies now
            await asyncio.sleep(0)
            if chance.random() < kills:
                purses[number] = purse(database, clock)
                _kill(mine)
            else:
                hold.cost_usd = cost

    async def work(number: int) -> None:
        while True:
            try:
                await call(purses[number], number)
            except SpendCapReached:
                return await purses[number].settle()
            except (RetryLater, CampaignPaused):
                clock.advance(10 * kills)  # so that the leases of the dead expire
                await purses[number].settle()

    await asyncio.gather(*(work(number) for number in (0, 0, 1, 2)))
    for each in purses:
        await each.close()
    spent, reserved = await sums(database)
    assert charged <= spent + reserved + 1e-9
    assert spent + reserved <= cap_usd + 1e-9
    if not kills:
        assert charged > cap_usd - 1.0
        assert (spent, reserved) == (pytest.approx(charged), 0)


async def test_cap_is_that_of_the_newest_version(database: Database) -> None:
    campaigns = Campaigns(database, FakeClock())
    first = await campaigns.apply(CampaignFile.model_validate(FILE))
    await campaigns.apply(CampaignFile.model_validate({**FILE, "spend_cap_usd": 9.0}))
    assert await present_cap(first, campaigns) == 9.0
    assert await present_cap(trial(CampaignFile.model_validate(FILE)), campaigns) == 5.0
