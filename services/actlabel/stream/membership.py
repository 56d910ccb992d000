"""Whether the group still counts on this process.

A process that stood still for longer than the session timeout (a paused machine, SIGSTOP) wakes up as the owner of partitions that others
have long taken over, and learns that only with its next heartbeat. Until then it must decide nothing that the new owner may decide
otherwise. A commit tells: the group takes it from living members only.
"""

import asyncio

from actlabel.stream.assignment import Assignment
from actlabel.stream.port import Consumer


class Membership:
    """Asks the group, once for all who want to know at the same time."""

    def __init__(self, assignment: Assignment) -> None:
        """``assignment``: whose watermarks are committed; they may be at any time."""
        self._assignment = assignment
        self._turn = asyncio.Lock()
        self._begun = 0  # questions
        self._counts = False
        self.consumer: Consumer | None = None  # set when the group is joined

    async def confirm(self) -> bool:
        """Say whether the group counts on this process at a moment after this call. Raises ``RetryLater`` when it cannot be asked."""
        begun = self._begun
        async with self._turn:
            if self._begun == begun:  # nobody has asked since
                self._begun += 1
                self._counts = False
                self._counts = await self._ask()
            return self._counts

    async def _ask(self) -> bool:
        trackers = self._assignment.trackers.values()
        return self.consumer is not None and await self.consumer.commit({t.partition: t.attempt() for t in trackers})
