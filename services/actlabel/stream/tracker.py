"""What one assignment of one partition has dispatched, what of it is done, and so what may be committed.

Only offsets that were dispatched count: compaction and transaction markers leave holes, and a position of a reader is no promise.
A task marks the tracker that dispatched its record, never one that it looks up.
"""

from collections.abc import Collection

from actlabel.core import topics
from actlabel.stream.port import Partition


class Tracker:
    """One assignment of one partition. Plain state: no input, no output, no clock."""

    __slots__ = (
        "_outstanding",
        "_sizes",
        "attempted",
        "buried",
        "bytes",
        "campaign",
        "committed",
        "confirmed",
        "dead",
        "next",
        "partition",
    )

    def __init__(self, partition: Partition, start: int) -> None:
        """Begin at ``start``, the offset that the group has committed, or the log's first where it has committed none."""
        self.partition = partition
        self.campaign = topics.campaign_of(partition.topic)
        self.next = start  # the offset from which to read on
        self.committed = start  # what the group is known to have
        self.attempted = start  # the highest that was handed out for committing, whether it arrived or not
        self.confirmed = False  # our own commit has arrived once: from then on the group's lag can be seen
        self.bytes = 0  # of everything in the window
        self.dead: frozenset[int] | None = None  # offsets that an earlier owner put aside; None: not asked yet
        self.buried: dict[bytes, int] = {}  # keys of what was put aside in this partition, with the offset
        self._sizes: dict[int, int] = {}  # the window: dispatched and not committed → bytes
        self._outstanding: set[int] = set()

    def dispatch(self, offset: int, size: int) -> bool:
        """Note that a record was read. False where this tracker has had it before: then it is in work or done, and is skipped."""
        self.next = max(self.next, offset + 1)
        if offset < self.committed or offset in self._sizes:
            return False
        self._sizes[offset] = size
        self._outstanding.add(offset)
        self.bytes += size
        return True

    def done(self, offset: int) -> None:
        """Note that a record has left the stage safely."""
        self._outstanding.remove(offset)

    def rewind(self, offsets: Collection[int]) -> None:
        """Forget dispatched records that nobody works on, as if they had not been read; reading goes on at the lowest of them."""
        for offset in offsets:
            self._outstanding.remove(offset)
            self.bytes -= self._sizes.pop(offset)
        self.next = min([self.next, *offsets])

    @property
    def watermark(self) -> int:
        """The lowest offset that is not done; everything below it may be committed. Never falls."""
        return min(min(self._outstanding, default=self.next), self.next)

    @property
    def items(self) -> int:
        """How many records are dispatched and not committed: what a crash now would have read again."""
        return len(self._sizes)

    @property
    def outstanding(self) -> int:
        """How many records are dispatched and not done."""
        return len(self._outstanding)

    @property
    def done_above(self) -> int:
        """How many records are done and not committed."""
        return len(self._sizes) - len(self._outstanding)

    def attempt(self) -> int:
        """Hand out the watermark for a commit, whose outcome may stay unknown."""
        self.attempted = max(self.attempted, self.watermark)
        return self.attempted

    def confirm(self, offset: int) -> None:
        """Note that the group has ``offset``; what lies below leaves the window."""
        self.confirmed = True
        self.committed = max(self.committed, offset)
        for known in [known for known in self._sizes if known < offset]:
            self.bytes -= self._sizes.pop(known)

    def adopts(self, committed: int) -> bool:
        """Say whether this tracker may go on when its partition comes back with ``committed``.

        It may while the group has what it had, or what this tracker handed out. More means that another member went on from there, less
        that somebody set the group back: both want a fresh tracker.
        """
        return self.committed <= committed <= self.attempted
