"""The model-based test of the loop: whatever happens, in any order, nothing is lost and no partition freezes; and it finds known bugs.

``ACTLABEL_TEST_EXAMPLES=20000 pytest tests/unit/stream/test_stage_machine.py`` looks longer.
"""

import os
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from actlabel.stream.assignment import Assignment
from actlabel.stream.backlog import Backlog, Work
from actlabel.stream.fair_share import FairShare
from actlabel.stream.tracker import Tracker
from actlabel.stream.window import Window
from actlabel.stream.worker import Worker
from tests.unit.stream.stage_group import LIMITS
from tests.unit.stream.stage_machine import StageMachine

EXAMPLES = int(os.environ.get("ACTLABEL_TEST_EXAMPLES", "30"))
STEPS = 40
SEARCH = int(os.environ.get("ACTLABEL_TEST_SEARCH", "300"))


def test_whatever_happens_nothing_is_lost() -> None:
    run_state_machine_as_test(
        StageMachine,
        settings=settings(max_examples=EXAMPLES, stateful_step_count=STEPS, deadline=None, suppress_health_check=list(HealthCheck)),
    )


# ---- bugs of other systems, and of ours, made again by hand: the machine finds each of them


def _commits_what_was_seen(patch: pytest.MonkeyPatch) -> None:
    """Parallel-consumer #826: the commit follows from the highest offset that was seen."""
    patch.setattr(Tracker, "watermark", property(lambda tracker: tracker.next))


def _keeps_a_stale_tracker(patch: pytest.MonkeyPatch) -> None:
    """Parallel-consumer #909: the state of an earlier assignment is kept whatever the group has meanwhile; records it knows are dropped."""
    patch.setattr(Tracker, "adopts", lambda tracker, committed: True)


def _marks_by_partition(patch: pytest.MonkeyPatch) -> None:
    """A first soak of kafka.md: a task marks whatever tracker its partition has now."""

    def finish(worker: Worker, work: Work, outcome: str) -> None:
        present = worker._owns.__self__.trackers.get(work.tracker.partition)
        if present is not None and work.record.offset in present._outstanding:
            present.done(work.record.offset)
        worker._pulse.works("work")

    patch.setattr(Worker, "_finish", finish)


def _forgets_what_waits(patch: pytest.MonkeyPatch) -> None:
    """What waits at a revoke is dropped, and its tracker does not go back to read it again."""
    patch.setattr(Backlog, "withdraw", lambda backlog, trackers: backlog._remove(lambda work: work.tracker in set(trackers)))


def _leaves_what_failed(patch: pytest.MonkeyPatch) -> None:
    """A call that fails after its partition went is nobody's: its tracker, adopted later, waits for it for ever."""
    real = Tracker.rewind
    patch.setattr(Tracker, "rewind", lambda tracker, offsets: None if len(offsets) == 1 else real(tracker, offsets))


def _marks_before_it_produces(patch: pytest.MonkeyPatch) -> None:
    """The record counts as done before the log has acknowledged what came of it."""
    real = Worker._produce

    async def produce(worker: Worker, work: Work) -> None:
        work.tracker.done(work.record.offset)
        await real(worker, work)
        work.tracker._outstanding.add(work.record.offset)

    patch.setattr(Worker, "_produce", produce)


def _commits_what_it_hopes_for(patch: pytest.MonkeyPatch) -> None:
    """A commit that failed counts as arrived, so nothing is committed again and the group stays behind."""
    real = Assignment.committable

    def committable(assignment: Assignment) -> dict[Tracker, int]:
        offsets = real(assignment)
        for tracker, offset in offsets.items():
            tracker.confirm(offset)
        return offsets

    patch.setattr(Assignment, "committable", committable)


def _reads_beyond_the_window(patch: pytest.MonkeyPatch) -> None:
    """Every partition is asked for, whatever is dispatched already."""
    patch.setattr(Window, "ask", lambda window, trackers: ([tracker.partition for tracker in trackers], LIMITS.poll_records))


def _calls_beyond_its_places(patch: pytest.MonkeyPatch) -> None:
    """A place is there for everyone."""
    patch.setattr(FairShare, "take", lambda share, who, most=None: bool(share._held.update({who: share.held(who) + 1})) or True)


BUGS: tuple[Callable[[pytest.MonkeyPatch], None], ...] = (
    _commits_what_was_seen,
    _keeps_a_stale_tracker,
    _marks_by_partition,
    _forgets_what_waits,
    _leaves_what_failed,
    _marks_before_it_produces,
    _commits_what_it_hopes_for,
    _reads_beyond_the_window,
    _calls_beyond_its_places,
)


def _search(*, always_the_same: bool) -> settings:
    return settings(
        max_examples=SEARCH,
        stateful_step_count=STEPS,
        deadline=None,
        database=None,
        derandomize=always_the_same,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )


@pytest.mark.parametrize("make", BUGS, ids=lambda make: make.__name__.lstrip("_"))
def test_the_machine_finds(make: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Without shrinking: whether it is found, not how short the story is."""
    make(monkeypatch)
    examples = 0

    class Counted(StageMachine):
        def __init__(self) -> None:
            nonlocal examples
            examples += 1
            super().__init__()

    def search() -> None:
        for always_the_same in (True, False):  # a busy machine runs the same story in another order
            run_state_machine_as_test(Counted, settings=_search(always_the_same=always_the_same))

    with pytest.raises((AssertionError, KeyError)):
        search()
    print(f"found in {examples} examples")
