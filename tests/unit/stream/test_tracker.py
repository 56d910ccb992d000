"""The tracker: what was dispatched, what is done, what may be committed, and when it goes on after a rebalance."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actlabel.stream.assignment import Assignment
from actlabel.stream.port import Partition
from actlabel.stream.tracker import Tracker

PARTITION = Partition("actlabel.items.c1", 3)


def tracker_of(*offsets: int, start: int = 0) -> Tracker:
    tracker = Tracker(PARTITION, start)
    for offset in offsets:
        assert tracker.dispatch(offset, 10)
    return tracker


@pytest.mark.parametrize(
    ("start", "dispatched", "done", "watermark", "outstanding", "done_above"),
    [
        (0, [], [], 0, 0, 0),  # nothing was read: the start stays
        (7, [], [], 7, 0, 0),  # the same after an earlier commit
        (0, [0, 1, 2], [], 0, 3, 0),  # nothing is done
        (0, [0, 1, 2], [1, 2], 0, 1, 2),  # the head is out: what is done above it may not be committed
        (0, [0, 1, 2], [0], 1, 2, 1),
        (0, [0, 1, 2], [0, 1, 2], 3, 0, 3),  # all done: the next one
        (0, [0, 4, 9], [0], 4, 2, 1),  # holes of compaction hold nothing up
        (0, [5, 6], [5], 6, 1, 1),  # a hole at the beginning
        (0, [0, 1, 50], [0, 1, 50], 51, 0, 3),  # never from anything but what was dispatched
    ],
)
def test_watermark(start: int, dispatched: list[int], done: list[int], watermark: int, outstanding: int, done_above: int) -> None:
    tracker = tracker_of(*dispatched, start=start)
    for offset in done:
        tracker.done(offset)
    assert (tracker.watermark, tracker.outstanding, tracker.done_above) == (watermark, outstanding, done_above)
    assert (tracker.items, tracker.bytes) == (len(dispatched), 10 * len(dispatched))


def test_commit_empties_the_window_only_when_it_is_confirmed() -> None:
    tracker = tracker_of(0, 1, 2)
    tracker.done(0)
    assert tracker.attempt() == 1
    assert (tracker.items, tracker.committed, tracker.confirmed) == (3, 0, False)
    tracker.confirm(1)
    assert (tracker.items, tracker.bytes, tracker.committed, tracker.confirmed) == (2, 20, 1, True)


def test_a_record_that_comes_twice_is_skipped() -> None:
    tracker = tracker_of(0, 1, 2)
    tracker.done(0)
    tracker.done(1)
    tracker.confirm(1)
    assert [tracker.dispatch(offset, 10) for offset in (0, 1, 2, 3)] == [False, False, False, True]  # committed, done, in work, new


def test_rewind_reads_again_what_nobody_works_on_and_nothing_else() -> None:
    tracker = tracker_of(0, 1, 2, 3, 4)
    tracker.done(3)  # out of order, beyond what waits
    tracker.rewind([1, 2, 4])  # 0 is in work
    assert (tracker.next, tracker.watermark, tracker.items) == (1, 0, 2)
    tracker.done(0)
    assert tracker.watermark == 1
    assert [offset for offset in range(1, 5) if tracker.dispatch(offset, 10)] == [1, 2, 4]
    assert tracker.next == 5


def test_a_mark_of_a_record_that_was_never_dispatched_is_a_defect() -> None:
    with pytest.raises(KeyError):
        tracker_of(0).done(1)


@pytest.mark.parametrize(
    ("committed", "adopted"),
    [
        (9, False),  # somebody set the group back
        (10, True),  # our commit did not arrive
        (11, True),  # somewhere in between
        (12, True),  # our last commit arrived
        (13, False),  # another member went on from there
    ],
)
def test_a_tracker_goes_on_only_when_nobody_else_worked_on_its_partition(committed: int, adopted: bool) -> None:
    tracker = tracker_of(10, 11, 12, 13, start=10)
    tracker.done(10)
    tracker.done(11)
    tracker.attempt()
    assert tracker.adopts(committed) is adopted


@given(st.lists(st.tuples(st.integers(1, 5), st.booleans()), max_size=40), st.randoms())
def test_watermark_is_the_lowest_outstanding_and_never_falls(steps: list[tuple[int, bool]], random) -> None:
    tracker, outstanding, done = Tracker(PARTITION, 0), set[int](), set[int]()
    before = 0
    for gap, finishes in steps:
        offset = tracker.next + gap - 1
        tracker.dispatch(offset, 1)
        outstanding.add(offset)
        if finishes:
            finished = random.choice(sorted(outstanding))
            tracker.done(finished)
            outstanding.remove(finished)
            done.add(finished)
        assert tracker.watermark == min(outstanding, default=tracker.next)
        assert tracker.watermark >= before
        before = tracker.watermark
        tracker.confirm(tracker.attempt())
        assert tracker.items == len({offset for offset in outstanding | done if offset >= before})


def test_a_commit_that_a_rebalance_overtook_teaches_nothing() -> None:
    """The log may have left it out, though the partition came back at once and its tracker goes on."""
    assignment = Assignment(withdraw=lambda trackers: None, changed=lambda: None)
    assignment.assigned({PARTITION: 0})
    tracker = assignment.trackers[PARTITION]
    tracker.dispatch(0, 10)
    tracker.done(0)
    changes, offsets = assignment.changes, assignment.committable()
    assignment.revoked([PARTITION])
    assignment.assigned({PARTITION: 0})
    assignment.committed(offsets, changes=changes)
    assert assignment.trackers[PARTITION] is tracker
    assert (tracker.committed, tracker.items) == (0, 1)
    assignment.committed(assignment.committable(), changes=assignment.changes)
    assert (tracker.committed, tracker.items) == (1, 0)
