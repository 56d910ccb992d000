"""Records that were read and wait: for a place among the calls in flight, for the next attempt, or for a pause to be lifted."""

import heapq
import itertools
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass

from actlabel.runtime.tracing import Span
from actlabel.stream.fair_share import FairShare
from actlabel.stream.outgoing import Outgoing
from actlabel.stream.port import Record
from actlabel.stream.tracker import Tracker


@dataclass(slots=True, eq=False)
class Work:
    """One record on its way through a stage, with what is already known of it, so that another attempt goes on from there."""

    tracker: Tracker  # that dispatched it, and that it marks
    record: Record
    taken_s: float  # when it was read
    version: int = 0  # of its campaign, once it is decoded
    tries: int = 0  # attempts that ended in RetryLater
    deadline_s: float | None = None  # from the first time in the handler
    begun_s: float = 0.0  # when the present attempt began
    in_handler: bool = False
    cut: bool = False  # its deadline has passed in the handler
    outgoing: Sequence[Outgoing] | None = None  # the handler's answer
    verdict: tuple[str, str] | None = None  # or why it is put aside: reason, detail
    span: Span | None = None  # of its stay here, where one is recorded


class Backlog:
    """Queues per campaign, in turn; a campaign that is held (paused, deleted) keeps its own and nobody else's."""

    def __init__(self, *, calls: int, lend: int, first: int | None = None) -> None:
        """``calls``: places among the calls in flight; ``lend``: see ``fair_share``. ``first``: see ``bound``; None for no bound."""
        self._waiting: dict[str, deque[Work]] = {}
        self._delayed: list[tuple[float, int, Work]] = []
        self._order = itertools.count()
        self._places = FairShare(capacity=calls, lend=lend)
        self._first = first
        self._most: dict[str, int] = {}
        self.held: frozenset[str] = frozenset()

    @property
    def in_flight(self) -> int:
        """How many handlers are at work."""
        return self._places.used

    def waiting(self) -> Iterator[Work]:
        """Go through everything that waits."""
        return itertools.chain(itertools.chain.from_iterable(self._waiting.values()), (work for _, _, work in self._delayed))

    def bound(self, campaign: str, most: int) -> bool:
        """Give a campaign a bound of its own, until then it has ``first``; say whether that changes anything."""
        changed = self._most.get(campaign) != most
        self._most[campaign] = most
        return changed

    def add(self, work: Work) -> None:
        """Let a record wait for its turn."""
        self._waiting.setdefault(work.tracker.campaign, deque()).append(work)

    def put_back(self, work: Work) -> None:
        """Let a record wait before all others of its campaign."""
        self._waiting.setdefault(work.tracker.campaign, deque()).appendleft(work)

    def delay(self, work: Work, until_s: float) -> None:
        """Let a record wait until a moment, then before all others."""
        heapq.heappush(self._delayed, (until_s, next(self._order), work))

    def due(self, now_s: float) -> None:
        """Put back the records whose moment has come."""
        while self._delayed and self._delayed[0][0] <= now_s:
            self.put_back(heapq.heappop(self._delayed)[2])

    def take(self) -> Work | None:
        """Take the next record for which there is a place, campaigns in turn; it keeps the place until ``give``."""
        for campaign, queue in self._waiting.items():
            if campaign not in self.held and self._places.take(campaign, most=self._most.get(campaign, self._first)):
                work = queue.popleft()
                del self._waiting[campaign]
                if queue:
                    self._waiting[campaign] = queue
                return work
        return None

    def give(self, work: Work) -> None:
        """Give the place of a record back."""
        self._places.give(work.tracker.campaign)

    def hold(self, campaigns: frozenset[str]) -> None:
        """Start nothing of these campaigns from now on."""
        self.held = campaigns

    def withdraw(self, trackers: Collection[Tracker]) -> None:
        """Drop what waits of these trackers and rewind them: whoever owns the partition next reads it."""
        gone: dict[Tracker, list[int]] = {tracker: [] for tracker in trackers}
        for work in self._remove(lambda work: work.tracker in gone):
            gone[work.tracker].append(work.record.offset)
        for tracker, offsets in gone.items():
            tracker.rewind(offsets)

    def drop(self, campaigns: Collection[str]) -> Sequence[Work]:
        """Take out everything that waits of these campaigns."""
        return self._remove(lambda work: work.tracker.campaign in campaigns)

    def _remove(self, unwanted: Callable[[Work], bool]) -> Sequence[Work]:
        gone = [work for work in self.waiting() if unwanted(work)]
        self._delayed = [entry for entry in self._delayed if not unwanted(entry[2])]
        heapq.heapify(self._delayed)
        queues = {campaign: deque(work for work in queue if not unwanted(work)) for campaign, queue in self._waiting.items()}
        self._waiting = {campaign: queue for campaign, queue in queues.items() if queue}
        return gone
