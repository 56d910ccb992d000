"""How far behind a stage says it is, for what it has read and for what it has not."""

import pytest
from prometheus_client import REGISTRY

from actlabel.core import topics
from actlabel.runtime.clock import FakeClock
from actlabel.stream.backlog import Work
from actlabel.stream.lag import Lag
from actlabel.stream.port import Partition, Record
from actlabel.stream.tracker import Tracker
from tests.unit.stream.bed import STAGE, Bed, Handler, fake_clock, until

_ONE, _TWO = Partition("actlabel.items.c1", 0), Partition("actlabel.items.c2", 0)


class Look:
    """A stage of which only the partitions and the work are there."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.trackers = {partition: Tracker(partition, 0) for partition in (_ONE, _TWO)}
        self.works: list[Work] = []
        self.lag = Lag("a-stage", self.clock)

    def read(self, partition: Partition, offset: int, *, age_s: float) -> Work:
        tracker = self.trackers[partition]
        tracker.dispatch(offset, 1)
        record = Record(partition, offset, b"", b"", (), int((self.clock.now() - age_s) * 1000))
        work = Work(tracker=tracker, record=record, taken_s=self.clock.monotonic())
        self.works.append(work)
        return work

    def finish(self, work: Work) -> None:
        self.works.remove(work)
        work.tracker.done(work.record.offset)

    def __call__(self, **ends: int) -> tuple[float | None, float | None, float | None]:
        """Age, lag of the first campaign, lag of the second."""
        self.lag.look(list(self.trackers.values()), self.works, {Partition(f"actlabel.items.{name}", 0): end for name, end in ends.items()})
        lags = [REGISTRY.get_sample_value("actlabel_lag_records", {"stage": "a-stage", "campaign": name}) for name in ("c1", "c2")]
        return REGISTRY.get_sample_value("actlabel_oldest_unfinished_seconds", {"stage": "a-stage"}), *lags


def test_the_age_counts_from_when_the_log_took_the_record() -> None:
    look = Look()
    old, young = look.read(_ONE, 0, age_s=3600), look.read(_TWO, 0, age_s=2)
    assert look(c1=1, c2=1) == (3600, 1, 1)
    look.clock.advance(5)
    look.finish(old)
    assert look(c1=1, c2=1) == (7, 0, 1)
    look.finish(young)
    assert look(c1=1, c2=1) == (0, 0, 0)


def test_what_nobody_reads_grows_old_from_when_it_was_seen() -> None:
    look = Look()
    assert look(c1=0, c2=1000) == (0, 0, 1000)
    look.clock.advance(60)
    assert look(c1=0, c2=1500) == (60, 0, 1500)
    work = look.read(_TWO, 0, age_s=61)  # now it is known
    assert look(c1=0, c2=1500) == (61, 0, 1500)
    look.finish(work)
    assert look(c1=0, c2=1500) == (0, 0, 1499), "reading goes on"


def test_a_clock_that_is_behind_makes_nobody_younger_than_now() -> None:
    look = Look()
    look.read(_ONE, 0, age_s=-30)
    assert look(c1=1, c2=0)[0] == 0


def test_of_partitions_that_went_away_nothing_is_said() -> None:
    look = Look()
    assert look(c1=3, c2=4) == (0, 3, 4)
    del look.trackers[_TWO]
    assert look(c1=3)[1:] == (3, None)
    look.lag.end()
    assert REGISTRY.get_sample_value("actlabel_lag_records", {"stage": "a-stage", "campaign": "c1"}) is None


async def test_a_paused_campaign_that_was_never_read_shows_its_lag_and_grows_old(still_bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("actlabel.stream.lag._INTERVAL_S", 0.005)
    bed = still_bed
    campaign = await bed.campaign()
    await bed.campaigns.pause(campaign.uid, STAGE, "as the test wants it")
    await bed.send(campaign, [f"item-{number}" for number in range(7)])

    def said(name: str, **labels: str) -> float | None:
        return REGISTRY.get_sample_value(name, {"stage": STAGE, **labels})

    async with bed.running(Handler()):
        await until(lambda: said("actlabel_lag_records", campaign=campaign.uid) == 7)
        fake_clock(bed).advance(100)
        await until(lambda: (said("actlabel_oldest_unfinished_seconds") or 0) >= 100)
        await bed.campaigns.resume(campaign.uid)
        await until(lambda: said("actlabel_lag_records", campaign=campaign.uid) == 0)
        await until(lambda: said("actlabel_oldest_unfinished_seconds") == 0)
    assert said("actlabel_lag_records", campaign=campaign.uid) is None
    assert len(bed.out(campaign)) == 7
    assert topics.READS[STAGE] == topics.ITEMS
