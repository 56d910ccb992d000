"""Shared quotas: over any window no more than the limit and the burst that is documented, however many take, on both databases."""

import asyncio
import random
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actlabel.chat.lease import Lease
from actlabel.chat.quota import BURST_S, DatabaseLedger, MemoryLedger, Unit, Want, grant
from actlabel.runtime.clock import FakeClock, SystemClock
from actlabel.runtime.database.port import Database


def _most_in_a_window(grants: Sequence[tuple[float, float]], per_s: float, least: float) -> None:
    """Check every window that begins and ends at a grant."""
    for i, (begin_s, _) in enumerate(grants):
        total = 0.0
        for end_s, amount in grants[i:]:
            total += amount
            assert total <= per_s * (end_s - begin_s + BURST_S) + least + 1e-6


@given(
    st.integers(1, 6000),
    st.lists(st.tuples(st.sampled_from([0.0, 0.01, 0.3, 2.0, 90.0]), st.floats(1.0, 500.0)), max_size=60),
)
def test_no_window_gets_more_than_limit_and_burst(per_minute: int, takes: list[tuple[float, float]]) -> None:
    now_s, until_s, granted = 1000.0, 0.0, []
    for gap_s, most in takes:
        now_s += gap_s
        gets, until_s = grant(Want(per_minute=per_minute, least=1.0, most=most), taken_until_s=until_s, now_s=now_s)
        assert gets.amount == 0 or 1 <= gets.amount <= most
        if gets.amount:
            granted.append((now_s, gets.amount))
    _most_in_a_window(granted, per_minute / 60, 1.0)


@given(st.integers(60, 6000), st.floats(0.0, 1000.0), st.floats(-1000.0, 1000.0))
def test_what_is_owed_is_waited_for_and_what_was_not_used_comes_back(per_minute: int, taken: float, owed: float) -> None:
    per_s, now_s = per_minute / 60, 1000.0
    until_s = now_s + taken / per_s
    gets, after_s = grant(Want(per_minute=per_minute, least=1.0, most=1.0, owed=owed), taken_until_s=until_s, now_s=now_s)
    start_s = max(until_s + owed / per_s, now_s - BURST_S)
    assert after_s == pytest.approx(start_s + gets.amount / per_s)
    assert gets.amount == (1.0 if start_s <= now_s else 0.0)


def test_who_waits_as_long_as_told_gets_something() -> None:
    want = Want(per_minute=7, least=1.0, most=5.0)
    _, until_s = grant(want, taken_until_s=0.0, now_s=100.0)
    refused, _ = grant(want, taken_until_s=until_s, now_s=100.0)
    assert refused.amount == 0
    assert grant(want, taken_until_s=until_s, now_s=100.0 + refused.again_s)[0].amount == 1


async def test_ledger_is_one_for_all_and_keeps_models_apart(database: Database) -> None:
    clock = SystemClock()
    first, second = DatabaseLedger(database, clock), DatabaseLedger(database, clock)
    wants: dict[Unit, Want] = {
        "requests": Want(per_minute=60, least=1.0, most=1000.0),
        "tokens": Want(per_minute=600, least=500.0, most=500.0),
    }
    assert (await first.take("http://a", "m", wants))["tokens"].amount == 500
    refused = await second.take("http://a", "m", wants)
    assert [granted.amount for granted in refused.values()] == [0, 0]
    assert refused["tokens"].again_s == pytest.approx(49.5, abs=5)
    assert (await second.take("http://a", "other", wants))["tokens"].amount == 500


async def test_unit_of_which_there_is_nothing_costs_nothing_of_the_other() -> None:
    clock = FakeClock()
    ledger = MemoryLedger(clock)
    tokens: dict[Unit, Want] = {"tokens": Want(per_minute=60, least=600.0, most=600.0)}
    await ledger.take("e", "m", tokens)
    both: dict[Unit, Want] = {"requests": Want(per_minute=60, least=1.0, most=1.0), **tokens}
    for _ in range(5):
        assert (await ledger.take("e", "m", both))["requests"].amount == 0
    clock.advance(700)
    assert (await ledger.take("e", "m", both))["requests"].amount == 1


async def test_processes_racing_for_one_row_get_the_limit_between_them(database: Database) -> None:
    ledgers = [DatabaseLedger(database, SystemClock()) for _ in range(4)]
    want: dict[Unit, Want] = {"requests": Want(per_minute=600, least=1.0, most=100.0)}
    granted = await asyncio.gather(*(ledger.take("e", "m", want) for ledger in ledgers))
    assert sum(grants["requests"].amount for grants in granted) <= 10 * BURST_S + 1


def lease(clock: FakeClock, refilled: asyncio.Event, **per_minute: int) -> Lease:
    limits: dict[Unit, int] = dict(per_minute)  # type: ignore[arg-type]
    return Lease(
        endpoint="e",
        model="m",
        per_minute=limits,
        ledger=MemoryLedger(clock),
        clock=clock,
        chance=random.Random(1),
        refilled=refilled.set,
    )


async def test_lease_serves_many_calls_and_expires() -> None:
    clock, refilled = FakeClock(), asyncio.Event()
    held = lease(clock, refilled, requests=6000)
    for _ in range(20):
        held.waits(1.0, calls=1)
    assert not held.take(1.0)
    await refilled.wait()
    assert [held.take(1.0) for _ in range(5)] == [True] * 5
    clock.advance(1.0)
    assert not held.take(1.0), "what was taken a second ago may be used no longer"
    await held.close()


async def test_estimates_are_corrected() -> None:
    clock, refilled = FakeClock(), asyncio.Event()
    held = lease(clock, refilled, tokens=600)
    held.take(100.0)
    await refilled.wait()
    assert held.take(100.0)
    held.correct(estimated=100.0, used=1000.0)
    begin = clock.now()
    refilled.clear()
    assert not held.take(100.0)
    await refilled.wait()
    assert clock.now() - begin >= 90, "ten tokens a second"
    await held.close()
