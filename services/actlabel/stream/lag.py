"""How far behind a stage is: records not finished, and the age of the oldest of them, read or not."""

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Final

from actlabel.core.errors import RetryLater
from actlabel.runtime import metrics
from actlabel.runtime.clock import Clock
from actlabel.stream.backlog import Work
from actlabel.stream.port import Consumer, Partition
from actlabel.stream.tracker import Tracker

_INTERVAL_S: Final = 2.0


class Lag:
    """Of the partitions that this process has; the sum over the processes of a stage is the stage's.

    The age of a record counts from when the log took it, so it tells the truth across restarts. A partition is read in order: while
    anything of it is in work, nothing unread of it is older. Where nothing of it is in work and something is unread (its campaign is
    paused, the window is full), the age counts from when that was seen first: too little after a restart, never too much.
    """

    def __init__(self, stage: str, clock: Clock) -> None:
        """Nothing is known yet."""
        self._stage = stage
        self._clock = clock
        self._unread_since: dict[Partition, float] = {}  # monotonic
        self._told: set[str] = set()

    async def run(self, consumer: Consumer, trackers: Callable[[], Collection[Tracker]], works: Callable[[], Iterable[Work]]) -> None:
        """Look every two seconds, until cancelled. Where ends cannot be had, what was said last stays."""
        while True:
            try:
                ends = await consumer.ends()
            except RetryLater:  # the stage is not ready then, and says why
                pass
            else:
                self.look(trackers(), works(), ends)
            await asyncio.sleep(_INTERVAL_S)

    def look(self, trackers: Collection[Tracker], works: Iterable[Work], ends: Mapping[Partition, int]) -> None:
        """Set the gauges. ``ends``: the offset that the next record of each partition will get; of others nothing is said."""
        lag: Counter[str] = Counter()
        unread: dict[Partition, float] = {}
        now_s = self._clock.monotonic()
        for tracker in trackers:
            end = ends.get(tracker.partition, tracker.next)
            lag[tracker.campaign] += max(end - tracker.watermark, 0)
            if end > tracker.next and not tracker.outstanding:
                unread[tracker.partition] = self._unread_since.get(tracker.partition, now_s)
        self._unread_since = unread
        metrics.OLDEST_SECONDS.labels(self._stage).set(self._oldest_s(works, now_s))
        self._tell(lag)

    def _oldest_s(self, works: Iterable[Work], now_s: float) -> float:
        now_ms = self._clock.now() * 1000
        stamps = (work.record.timestamp_ms for work in works)
        oldest_ms = min((stamp for stamp in stamps if stamp > 0), default=now_ms)  # a foreign record may have none
        return max((now_ms - oldest_ms) / 1000, now_s - min(self._unread_since.values(), default=now_s), 0.0)

    def _tell(self, lag: Mapping[str, int]) -> None:
        for campaign in self._told - lag.keys():
            metrics.LAG.remove(self._stage, campaign)
        for campaign, records in lag.items():
            metrics.LAG.labels(self._stage, campaign).set(records)
        self._told = set(lag)

    def end(self) -> None:
        """Say nothing more: the partitions are somebody else's."""
        self._unread_since = {}
        metrics.OLDEST_SECONDS.labels(self._stage).set(0)
        self._tell({})
