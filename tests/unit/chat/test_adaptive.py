"""The bound of an endpoint: its limits hold whatever happens, it falls on refusals, comes back, and finds what an endpoint bears."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actlabel.chat.adaptive import AdaptiveBound, Outcome
from tests.unit.chat.simulated_endpoint import LATENCY_S, Loop, Serve, refusing, slowing

_EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["answered", "answered", "answered", "refused", "timed-out", "other"]),
        st.floats(0.0, 5.0),  # since the last event
        st.floats(0.0, 20.0),  # how long the request took
        st.integers(0, 300),  # others in flight
        st.floats(1.0, 2000.0),  # work
        st.sampled_from([0.0, 0.0, 0.5, 30.0]),  # pause asked for
    ),
    max_size=300,
)


@given(st.integers(1, 500), _EVENTS)
def test_bound_stays_between_one_and_its_ceiling(ceiling: int, events: list[tuple[Outcome, float, float, int, float, float]]) -> None:
    bound, now_s = AdaptiveBound(ceiling=ceiling, now_s=0.0), 0.0
    for outcome, gap_s, took_s, in_flight, work, pause_s in events:
        now_s += gap_s
        bound.ended(outcome, now_s=now_s, sent_s=now_s - took_s, in_flight=in_flight, work=work, pause_s=pause_s)
        assert 1 <= bound.bound <= ceiling


@given(st.integers(2, 500), _EVENTS)
def test_refusal_of_a_new_request_lowers_the_bound(ceiling: int, events: list[tuple[Outcome, float, float, int, float, float]]) -> None:
    bound, now_s = AdaptiveBound(ceiling=ceiling, now_s=0.0), 0.0
    for outcome, gap_s, took_s, in_flight, work, pause_s in events:
        now_s += gap_s
        bound.ended(outcome, now_s=now_s, sent_s=now_s - took_s, in_flight=in_flight, work=work, pause_s=pause_s)
    before = bound.bound
    bound.ended("refused", now_s=now_s + 2, sent_s=now_s + 1, in_flight=before - 1)
    assert bound.bound < before or before == 1


@given(st.integers(2, 300), st.integers(1, 30), st.sampled_from([0.0, 0.2, 5.0]))
def test_bound_comes_back_to_the_ceiling_after_any_trouble(ceiling: int, refusals: int, pause_s: float) -> None:
    bound, now_s = AdaptiveBound(ceiling=ceiling, now_s=0.0), 0.0
    for _ in range(refusals):
        now_s += 1.0
        bound.ended("refused", now_s=now_s, sent_s=now_s - 0.5, in_flight=bound.bound - 1, pause_s=pause_s)
    fallen = bound.bound
    for _ in range(1000):
        if bound.bound == ceiling:
            break
        for _ in range(max(bound.bound, 16)):
            bound.ended("answered", now_s=now_s + 1.0, sent_s=now_s, in_flight=bound.bound - 1)
        now_s += 1.0
    assert bound.bound == ceiling
    assert fallen < ceiling


def test_timeouts_of_single_questions_change_nothing_and_many_halve() -> None:
    bound = AdaptiveBound(ceiling=64, now_s=0.0)
    for number in range(100):
        bound.ended("answered", now_s=1.0 + number, sent_s=0.5 + number, in_flight=40)
    bound.ended("timed-out", now_s=101.0, sent_s=50.0, in_flight=40)
    assert bound.bound == 64
    for number in range(20):
        bound.ended("timed-out", now_s=102.0 + number / 100, sent_s=50.0, in_flight=40)
    assert bound.bound == 32, "one step for all that were sent before it"
    bound.ended("timed-out", now_s=300.0, sent_s=200.0, in_flight=20)
    assert bound.bound == 16


def test_burst_of_refusals_leaves_what_the_endpoint_holds() -> None:
    bound = AdaptiveBound(ceiling=64, now_s=0.0)
    for left in range(63, 19, -1):  # 64 sent at once, 20 accepted
        bound.ended("refused", now_s=1.1, sent_s=1.0, in_flight=left)
    assert bound.bound == 20


def test_one_burst_never_takes_more_than_three_quarters() -> None:
    bound = AdaptiveBound(ceiling=64, now_s=0.0)
    for left in range(63, -1, -1):  # what was accepted was answered before the last refusals came
        bound.ended("refused", now_s=1.1, sent_s=1.0, in_flight=left)
    assert bound.bound == 16


def test_nobody_who_asks_little_raises_the_bound() -> None:
    bound = AdaptiveBound(ceiling=500, now_s=0.0)
    for number in range(1000):
        bound.ended("answered", now_s=1.0 + number, sent_s=0.5 + number, in_flight=3)
    assert bound.bound == 64


@pytest.mark.parametrize(
    ("serve", "pause_s"),
    [
        (refusing(64, step_s=60, sigma=0.3), 0.2),  # a limit that stands
        (refusing(64, step_s=60, sigma=0.3), 1.0),  # and is dear to find
        (refusing(16, 64, 32, step_s=20, sigma=0.3), 0.2),  # one that moves
        (refusing(64, 16, 48, 8, step_s=30, sigma=0.0), 0.2),  # all answers at the same moment
        (slowing(64, step_s=60, sigma=0.3), 0.0),  # queues instead of refusing
        (slowing(16, 64, 32, step_s=20, sigma=0.3), 0.0),
        (slowing(16, 64, 32, step_s=20, sigma=0.8), 0.0),  # lengths of answers differ much
    ],
)
def test_no_fixed_number_answers_much_more(serve: Serve, pause_s: float) -> None:
    best = max(len(Loop(serve, bound=fixed, pause_s=pause_s).run(60.0).answers) for fixed in (16, 24, 32, 48, 64, 128))
    ours = Loop(serve, bound=AdaptiveBound(ceiling=128, now_s=0.0), pause_s=pause_s).run(60.0)
    assert len(ours.answers) >= 0.9 * best


def test_queue_is_not_made_longer_for_nothing() -> None:
    loop = Loop(slowing(20, step_s=60, sigma=0.3), bound=AdaptiveBound(ceiling=512, now_s=0.0), pause_s=0.0).run(120.0)
    late = loop.bounds[len(loop.bounds) // 2 :]
    assert sum(late) / len(late) < 40, "twice what it answers at full speed"


def test_server_that_batches_is_used_to_the_full() -> None:
    """Each request takes longer the more there are, yet all of them together get more done: no reason to stop."""

    def serve(held: int, now_s: float, chance: random.Random) -> float | None:
        return LATENCY_S * (1.0 + held / 64) * math.exp(0.3 * chance.gauss(0.0, 1.0))

    bounds = Loop(serve, bound=AdaptiveBound(ceiling=128, now_s=0.0), pause_s=0.0).run(60.0).bounds
    assert sum(bounds) / len(bounds) > 100
