"""The partitions that are ours now, and the trackers of those that were.

Everything here is synchronous: a rebalance builds all state before any other code runs, so no record meets a partition without it.
"""

from collections.abc import Callable, Collection, Mapping

from actlabel.stream.port import Partition
from actlabel.stream.tracker import Tracker


class Assignment:
    """See ``port.Rebalance``."""

    def __init__(self, *, withdraw: Callable[[Collection[Tracker]], None], changed: Callable[[], None]) -> None:
        """``withdraw``: drop the records of these trackers that nobody works on, and rewind. ``changed``: called after each change."""
        self._withdraw = withdraw
        self._changed = changed
        self._retired: dict[Partition, Tracker] = {}
        self.trackers: dict[Partition, Tracker] = {}
        self.changes = 0  # how often anything was assigned or revoked

    def owns(self, tracker: Tracker) -> bool:
        """Say whether this tracker is the one of its partition, and the partition ours."""
        return self.trackers.get(tracker.partition) is tracker

    def assigned(self, partitions: Mapping[Partition, int], /) -> Mapping[Partition, int]:
        """See ``port.Rebalance``."""
        for partition, committed in partitions.items():
            self.trackers[partition] = self._tracker(partition, committed)
        self._retired = {p: t for p, t in self._retired.items() if t.outstanding and p not in self.trackers}
        self._note_change()
        return {partition: self.trackers[partition].next for partition in partitions}

    def _tracker(self, partition: Partition, committed: int) -> Tracker:
        """Adopt the tracker of a partition that comes back, so that its calls in progress count; otherwise begin a fresh one."""
        old = self._retired.get(partition)
        if old is None or not old.adopts(committed):
            return Tracker(partition, committed)
        if committed > old.committed:
            old.confirm(committed)
        return old

    def revoked(self, partitions: Collection[Partition], /) -> Mapping[Partition, int]:
        """See ``port.Rebalance``. Calls in progress go on and mark their trackers."""
        given_back = {p: self.trackers.pop(p) for p in partitions if p in self.trackers}
        self._withdraw(given_back.values())
        self._retired.update(given_back)
        self._note_change()
        return {partition: tracker.attempt() for partition, tracker in given_back.items()}

    def committable(self) -> dict[Tracker, int]:
        """Return the trackers with something to commit. A fresh one commits its start, so that the group's lag can be seen."""
        moved = (tracker for tracker in self.trackers.values() if not tracker.confirmed or tracker.watermark > tracker.committed)
        return {tracker: tracker.attempt() for tracker in moved}

    def committed(self, offsets: Mapping[Tracker, int], *, changes: int) -> None:
        """Note a commit that arrived, begun at ``changes``. If they are more by now, it may have been left out: learn nothing."""
        if changes == self.changes:
            for tracker, offset in offsets.items():
                tracker.confirm(offset)

    def _note_change(self) -> None:
        self.changes += 1
        self._changed()
