"""The breaker: opens after failures in a row, lets one probe through at a time, closes at an answer."""

import random

from hypothesis import given
from hypothesis import strategies as st

from actlabel.chat.breaker import Breaker, Policy


def opened(now_s: float = 0.0) -> Breaker:
    breaker = Breaker(chance=random.Random(1))
    for _ in range(Policy().failures):
        assert breaker.state == "closed"
        breaker.failed(now_s, "connection refused")
    return breaker


def test_opens_after_failures_in_a_row_and_an_answer_between_them_counts_anew() -> None:
    breaker = Breaker(chance=random.Random(1))
    for _ in range(100):
        for _ in range(Policy().failures - 1):
            breaker.failed(0.0, "broken")
        breaker.answered()
    assert breaker.state == "closed"
    assert opened().state == "open"


def test_one_probe_at_a_time_and_its_answer_closes() -> None:
    breaker = opened()
    assert not breaker.lets(breaker.until_s - 0.001)
    assert breaker.lets(breaker.until_s)
    assert breaker.sent()
    assert not breaker.lets(breaker.until_s + 1000)
    breaker.answered()
    assert breaker.state == "closed"
    assert not breaker.sent()


def test_probe_that_fails_opens_for_longer_and_one_that_was_cancelled_gives_way() -> None:
    breaker = opened()
    longest = []
    now_s = breaker.until_s
    for _ in range(40):
        assert breaker.sent()
        breaker.failed(now_s, "broken", probe=True)
        longest.append(breaker.until_s - now_s)
        now_s = breaker.until_s
    assert max(longest[:3]) < 8
    assert 8 < max(longest) <= Policy().longest_open_s
    assert breaker.sent()
    breaker.abandoned()
    assert breaker.lets(now_s)


def test_late_failure_of_an_older_request_does_not_decide_for_the_probe() -> None:
    breaker = opened()
    breaker.sent()
    breaker.failed(breaker.until_s, "broken")
    assert breaker.state == "half-open"


@given(st.lists(st.sampled_from(["sent", "answered", "failed", "abandoned", "refused"]), max_size=200), st.integers(0, 2**32))
def test_never_two_probes_and_never_shut_for_good(events: list[str], seed: int) -> None:
    breaker, now_s, probes = Breaker(chance=random.Random(seed)), 0.0, 0
    for event in events:
        now_s += 0.5
        if event == "sent":
            if breaker.lets(now_s):
                probes += breaker.sent()
        elif event == "failed":
            breaker.failed(now_s, "x", probe=probes > 0)
            probes = 0
        elif event == "refused":
            breaker.refused(now_s, "x")
            probes = 0
        else:
            getattr(breaker, event)()
            probes = 0
        assert probes <= 1
        assert 0.0 < breaker.health <= 1.0 or len(events) > 100
    breaker.abandoned()
    assert breaker.lets(now_s + Policy().refused_s)
