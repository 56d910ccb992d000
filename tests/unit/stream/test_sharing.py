"""Fair shares: one who hangs takes no more than its own, one who comes late gets in, one alone is not kept from what is free."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actlabel.stream.fair_share import FairShare
from actlabel.stream.limits import Limits
from actlabel.stream.port import Partition
from actlabel.stream.tracker import Tracker
from actlabel.stream.window import Window


def fill(places: FairShare, who: str) -> int:
    while places.take(who):
        pass
    return places.held(who)


def test_one_alone_may_have_nearly_all() -> None:
    assert fill(FairShare(capacity=64, lend=8), "a") == 57


def test_a_campaign_that_comes_while_another_hangs_gets_places() -> None:
    places = FairShare(capacity=64, lend=8)
    fill(places, "hanging")
    assert [fill(places, who) for who in ("second", "third", "fourth")] == [7, 1, 1]


def test_two_that_both_want_all_end_with_much_the_same() -> None:
    """However unequal the beginning, as calls end: the places go to the one with less. Whole places leave them a step apart."""
    places = FairShare(capacity=64, lend=8)
    fill(places, "a")
    for _ in range(200):
        places.give("a")
        fill(places, "b")
        fill(places, "a")
        places.give("b")
        fill(places, "a")
        fill(places, "b")
    assert abs(places.held("a") - places.held("b")) <= 4
    assert places.held("a") + places.held("b") >= 58


@given(st.integers(1, 20), st.integers(1, 9), st.lists(st.tuples(st.sampled_from("abcd"), st.booleans()), max_size=80))
def test_the_sum_is_bounded_and_nobody_is_kept_out(capacity: int, lend: int, steps: list[tuple[str, bool]]) -> None:
    places = FairShare(capacity=capacity, lend=lend)
    for who, takes in steps:
        if takes:
            had = places.held(who)
            assert places.take(who) or had > 0
        elif places.held(who):
            places.give(who)
        assert places.used == sum(places.held(name) for name in "abcd") <= capacity + 3


def tracker(campaign: str, number: int, items: int, size: int = 100) -> Tracker:
    made = Tracker(Partition(f"actlabel.items.{campaign}", number), 0)
    for offset in range(items):
        made.dispatch(offset, size)
    return made


LIMITS = Limits(window_items=90, window_bytes=2**20, lend_to_campaign=8, lend_to_partition=2)


@pytest.mark.parametrize(
    ("held", "wanted"),
    [
        ([("a", 0, 0), ("a", 1, 0)], [0, 1]),  # all is free
        ([("a", 0, 60), ("a", 1, 0)], [1]),  # a partition with a stuck head stops at two thirds and leaves its campaign the rest
        ([("a", 0, 40), ("a", 1, 40), ("b", 0, 0)], [2]),  # a campaign stops at eight ninths, another still begins
        ([("a", 0, 45), ("a", 1, 45), ("b", 0, 0)], [2]),  # the first record of a campaign always fits
        ([("a", 0, 45), ("a", 1, 44), ("b", 0, 1)], []),  # beyond that the window is a bound for all
        ([("a", 0, 30), ("b", 0, 30), ("c", 0, 19)], [2]),  # near the bound only who has less than twice what is free
    ],
)
def test_window_in_items(held: list[tuple[str, int, int]], wanted: list[int]) -> None:
    trackers = [tracker(*one) for one in held]
    asked, most = Window(LIMITS).ask(trackers)
    assert asked == [trackers[index].partition for index in wanted]
    assert 1 <= most <= max(1, 90 - sum(items for _, _, items in held))


def test_window_in_bytes() -> None:
    heavy, light = tracker("a", 0, 9, size=2**17), tracker("b", 0, 2, size=10)
    window = Window(LIMITS)
    assert window.ask([heavy, light])[0] == []  # nine times 128 KiB is more than the window of 1 MiB
    heavy.done(0)
    heavy.confirm(1)
    heavy.done(1)
    heavy.confirm(2)
    assert window.ask([heavy, light])[0] == [light.partition]


def test_a_poll_takes_fewer_large_records() -> None:
    window = Window(LIMITS)
    for _ in range(1000):
        window.saw(2**17)
    assert window.ask([tracker("a", 0, 0)])[1] == 2
