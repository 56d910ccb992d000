"""Signs of life: what asks for a restart, and what only waits."""

import asyncio

import pytest
import structlog
import structlog.testing

from actlabel.core.errors import RetryLater
from actlabel.runtime.clock import FakeClock
from actlabel.stream.backlog import Work
from actlabel.stream.limits import Limits
from actlabel.stream.port import Partition, Record
from actlabel.stream.pulse import Pulse
from actlabel.stream.tracker import Tracker
from tests.unit.stream.bed import Bed, Handler, until

PARTITION = Partition("actlabel.items.c1", 2)


class Look:
    """A pulse, a partition with two records in it, and the works on them."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.pulse = Pulse(Limits(item_deadline_s=900, stuck_margin_s=60), self.clock)
        self.pulse.joined = self.pulse.informed = True
        self.tracker = Tracker(PARTITION, 0)
        self.works = [self.work(offset) for offset in (0, 1)]

    def work(self, offset: int) -> Work:
        self.tracker.dispatch(offset, 1)
        record = Record(PARTITION, offset, b"", b"", (), 0)
        return Work(tracker=self.tracker, record=record, taken_s=self.clock.monotonic(), begun_s=self.clock.monotonic())

    def liveness(self, *, running: list[Work], waiting: list[Work]) -> str | None:
        self.pulse.polled()
        self.pulse.watch([self.tracker], running=running, waiting=waiting)
        return self.pulse.liveness()


def test_a_record_in_work_within_its_deadline_is_no_reason() -> None:
    look = Look()
    look.clock.advance(959)
    assert look.liveness(running=look.works, waiting=[]) is None


def test_a_record_that_ignores_its_deadline_is_one() -> None:
    look = Look()
    look.clock.advance(961)
    assert look.liveness(running=look.works, waiting=[]) == "actlabel.items.c1/2: offset 0 has been in work for 961 s"


def test_waiting_for_ones_turn_however_long_is_none() -> None:
    look = Look()
    look.clock.advance(100_000)
    assert look.liveness(running=[], waiting=look.works) is None


def test_our_own_outage_is_none() -> None:
    look = Look()
    look.clock.advance(961)
    look.pulse.outage("work", "no database")
    assert look.liveness(running=look.works, waiting=[]) is None
    assert look.pulse.readiness() == "no database"


def test_an_outage_is_logged_with_its_reason_when_it_begins_and_not_for_every_record() -> None:
    look = Look()
    with structlog.testing.capture_logs() as said:
        for _ in range(3):
            look.pulse.outage("work", "no database")
            look.pulse.outage("work", "no database")
            look.pulse.works("work")
        look.clock.advance(11)
        look.pulse.outage("work", "no database")
    assert [line["error"] for line in said] == ["no database"] * 2


def test_a_watermark_that_nobody_works_on_is_frozen() -> None:
    """The bug of every tracker that looks up where to mark: the partition stands still while everything else goes on."""
    look = Look()
    assert look.liveness(running=look.works[1:], waiting=[]) == "actlabel.items.c1/2: offset 0 was dispatched and nobody works on it"


def test_a_poll_loop_that_stands_still_is_dead() -> None:
    look = Look()
    look.pulse.polled()
    look.clock.advance(61)
    assert look.pulse.liveness() == "the poll loop has not turned for 61 s"


def test_the_oldest_record_is_told() -> None:
    look = Look()
    look.clock.advance(7)
    assert look.pulse.watch([look.tracker], running=look.works, waiting=[]) == 7


async def test_a_stage_is_ready_once_it_has_joined_and_read_the_pauses(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    async def out_of_reach() -> frozenset[str]:
        raise RetryLater("no database")

    handler, campaign = Handler(), await bed.campaign()
    await bed.send(campaign, ["item-0"])
    deleted = bed.campaigns.deleted
    monkeypatch.setattr(bed.campaigns, "deleted", out_of_reach)
    assert bed.stage(handler).readiness() == "has not joined its group yet"
    async with bed.running(handler) as stage:
        await until(lambda: stage.readiness() == "no database")
        polls = bed.stream.group("actlabel.annotator").members[0].polls
        await until(lambda: bed.stream.group("actlabel.annotator").members[0].polls > polls + 5)
        assert handler.calls == []  # who is paused is not known
        monkeypatch.setattr(bed.campaigns, "deleted", deleted)
        await until(lambda: bed.at_rest(campaign))
        assert (stage.readiness(), stage.liveness()) == (None, None)


async def test_a_stage_whose_loop_died_says_so(bed: Bed) -> None:
    await bed.campaign()
    bed.stream.faults.fail("poll", RuntimeError("a defect in the adapter"))
    stage = bed.stage(Handler())
    with pytest.raises(RuntimeError):
        await stage.run(asyncio.Event())
    assert "a defect in the adapter" in (stage.liveness() or "")
