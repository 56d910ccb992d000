"""Failpoints: named places where a test lets a process die, between every two steps of the delivery order.

``ACTLABEL_FAILPOINT=name[:count][:action]`` arms one of them for a process. At the ``count``-th passing (the first where none is given)
the process kills itself (``kill``, the default), or stops as by SIGSTOP (``stop``) until somebody sends it SIGCONT.
Unarmed, a passing is one comparison with None.
"""

import os
import signal
from dataclasses import dataclass
from typing import Final

from actlabel.core.errors import UserError
from actlabel.runtime.log import get_log

POINTS: Final = {
    # the stage loop: every role
    "record.dispatched": "a record was read and is noted as outstanding; nobody works on it",
    "record.handled": "the handler has answered; nothing is produced",
    "record.produced": "the log has acknowledged the answer; the record is not marked",
    "record.marked": "the record is marked; its offset is not committed",
    "offsets.committing": "the watermark is known; the commit is not sent",
    "offsets.committed": "the group has the commit; this process has not noted it",
    "dead.produced": "a dead letter is on its topic; its row is not stored",
    "dead.stored": "the row of a dead letter is stored; its record is not marked",
    # a model call: annotator and criticizer
    "result.looked_up": "nothing is stored for a request; it is not called",
    "spend.reserved": "a lease of money is reserved in the database; nothing is spent of it",
    "result.called": "the model has answered, and is paid; the answer is not stored",
    "result.storing": "a batch of answers is paid; none of it is stored",
    "result.stored": "answers are stored; nobody has been told",
    # what was critiqued: sampler
    "candidates.storing": "candidates are written; their transaction is not committed",
    "candidates.stored": "candidates are stored; their records are not marked",
    # exact mode: sampler
    "draw.frozen": "population and parameters of a draw are stored; nothing is decided",
    "draw.designed": "the manifest of a draw is stored; its cells are not",
    "draw.celled": "the cells of a draw are stored; no decision is",
    "draw.chosen": "the decisions of what is selected are stored; the others are not",
    "draw.decided": "every decision is stored; the draw is not complete",
    "draw.completing": "completion, budget and work of emission are written; their transaction is not committed",
    "draw.completed": "the draw is complete; nothing is emitted",
    "emission.leased": "this replica emits a partition; nothing of it is sent",
    "emission.sent": "one decided item is acknowledged; others of its batch may be",
    "emission.emitted": "a batch is acknowledged; the cursor is not stored",
    "emission.advanced": "the cursor is stored; the next batch is not read",
    # streaming mode: sampler
    "block.locked": "the budget row is locked; nothing is written",
    "block.decided": "a block, its decisions and its members are written; its quota is not taken",
    "block.taken": "the quota is taken too; the transaction is not committed",
    "block.closed": "a block is stored; nothing of it is emitted",
    # the queue: review gateway
    "review.queueing": "a request is written; its transaction is not committed",
    "review.lending": "leases are written; their transaction is not committed",
    "review.lent": "leases are stored; the reviewer does not have them",
    "review.answering": "an answer and its place in the outbox are written; their transaction is not committed",
    "review.answered": "an answer is stored with its place in the outbox; the reviewer does not know",
    "review.undoing": "an answer is taken back; the transaction is not committed",
    "review.undone": "an answer is taken back; the reviewer does not know",
    "outbox.started": "answers are marked as started; nothing is produced",
    "outbox.sent": "answers are handed over; none is known to be acknowledged",
    "outbox.produced": "answers are acknowledged; they are still in the outbox",
    "outbox.emptied": "answers are acknowledged and out of the outbox",
}
"""Every failpoint, and what is so when a process dies there."""

_ACTIONS: Final = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP}
_log = get_log(__name__)


@dataclass(slots=True)
class _Armed:
    name: str
    action: str
    left: int  # passings until it strikes

    def passed(self, name: str) -> None:
        if name != self.name:
            return
        self.left -= 1
        if self.left == 0:
            _log.warning("A failpoint strikes.", failpoint=self.name, action=self.action)
            os.kill(os.getpid(), _ACTIONS[self.action])


_armed: _Armed | None = None


def failpoint(name: str) -> None:
    """Pass a point that ``POINTS`` declares."""
    if _armed is not None:
        _armed.passed(name)


def arm(text: str | None) -> None:
    """Arm one failpoint for this process, or none. Raises ``UserError`` for what is no failpoint."""
    global _armed  # noqa: PLW0603 - one per process, set once at its start
    _armed = None if text is None else _parsed(text)
    if _armed is not None:
        told = {"failpoint": _armed.name, "action": _armed.action, "at_passing": _armed.left}
        _log.warning("A failpoint is armed: this process will fail on purpose.", **told)


def _parsed(text: str) -> _Armed:
    name, *rest = text.split(":")
    if name not in POINTS:
        raise UserError(f"ACTLABEL_FAILPOINT: there is no failpoint {name!r}; it is for tests only: unset it, or see runtime/failpoints.py")
    action = rest.pop() if rest and rest[-1] in _ACTIONS else "kill"
    count = rest.pop() if rest else "1"
    if rest or not count.isdecimal() or int(count) < 1:
        raise UserError(f"ACTLABEL_FAILPOINT: {text!r} is not name[:count][:action] with a count from 1 and one of {', '.join(_ACTIONS)}")
    return _Armed(name=name, action=action, left=int(count))
