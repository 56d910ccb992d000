"""Signs of life of a stage: what is wrong with the process (liveness), and what it waits for (readiness)."""

from collections.abc import Collection, Iterable

from actlabel.runtime.clock import Clock
from actlabel.runtime.log import get_log
from actlabel.stream.backlog import Work
from actlabel.stream.limits import Limits
from actlabel.stream.tracker import Tracker

_SAY_AGAIN_S = 10.0
_log = get_log(__name__)


class Pulse:
    """Notes what happens and tells what that means. Our own outages (stream, database) are never a reason to restart a process."""

    def __init__(self, limits: Limits, clock: Clock, *, stage: str = "") -> None:
        """Begin at the clock's present moment. ``stage``: for the log."""
        self._stage = stage
        self._limits = limits
        self._clock = clock
        self._outages: dict[str, str] = {}
        self._outage_s = float("-inf")
        self._said: dict[str, float] = {}  # reason → when it was logged
        self._polled_s = clock.monotonic()
        self._lost: str | None = None
        self._stuck: str | None = None
        self.joined = False
        self.informed = False  # the pauses have been read once
        self.broken: str | None = None  # why the stage has ended

    def polled(self) -> None:
        """The poll loop has turned."""
        self._polled_s = self._clock.monotonic()

    def outage(self, what: str, why: str) -> None:
        """Something of our own is out of reach."""
        self._outage_s = self._clock.monotonic()
        if what not in self._outages:
            self._say(what, why)
        self._outages[what] = why

    def _say(self, what: str, why: str) -> None:
        """Log a reason, but not again and again while it comes and goes."""
        self._said = {reason: at_s for reason, at_s in self._said.items() if self._outage_s - at_s < _SAY_AGAIN_S}
        if why not in self._said:
            self._said[why] = self._outage_s
            _log.warning("A stage cannot go on and tries again", stage=self._stage, doing=what, error=why)

    def works(self, what: str) -> None:
        """It is in reach again."""
        self._outages.pop(what, None)

    def outage_since(self, moment_s: float) -> bool:
        """Say whether something of our own was out of reach after that moment."""
        return self._outage_s >= moment_s

    def watch(self, trackers: Iterable[Tracker], *, running: Collection[Work], waiting: Iterable[Work]) -> float:
        """Look at everything once, every second or so; return the age in seconds of the oldest record that is not finished."""
        now = self._clock.monotonic()
        works = [*running, *waiting]
        self._lost = self._find_lost(trackers, works)
        self._stuck = self._find_stuck(running, now)
        return now - min((work.taken_s for work in works), default=now)

    def _find_lost(self, trackers: Iterable[Tracker], works: Iterable[Work]) -> str | None:
        heads = {tracker: head for tracker in trackers if (head := tracker.watermark) < tracker.next}
        for work in works:  # the oldest come first, so that this is soon over
            if heads.get(work.tracker) == work.record.offset:
                del heads[work.tracker]
            if not heads:
                return None
        return next((f"{_place(*head)} was dispatched and nobody works on it" for head in heads.items()), None)

    def _find_stuck(self, running: Iterable[Work], now_s: float) -> str | None:
        patience_s = self._limits.item_deadline_s + self._limits.stuck_margin_s
        work = next((work for work in running if now_s - work.begun_s > patience_s), None)
        return None if work is None else f"{_place(work.tracker, work.record.offset)} has been in work for {now_s - work.begun_s:.0f} s"

    def liveness(self) -> str | None:
        """Say why this process should be restarted, if it should."""
        now = self._clock.monotonic()
        if self.broken is not None:
            return self.broken
        if self.joined and now - self._polled_s > self._limits.stuck_margin_s:
            return f"the poll loop has not turned for {now - self._polled_s:.0f} s"
        return self._lost or (None if self._outages else self._stuck)

    def readiness(self) -> str | None:
        """Say what this stage waits for, if it does."""
        if not self.joined:
            return self._outages.get("join") or "has not joined its group yet"
        if not self.informed:
            return self._outages.get("campaigns") or "has not read the campaigns' pauses yet"
        return "; ".join(self._outages.values()) or None


def _place(tracker: Tracker, offset: int) -> str:
    return f"{tracker.partition.topic}/{tracker.partition.number}: offset {offset}"
