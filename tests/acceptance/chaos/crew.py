"""The processes of the system, looked after as a cluster would: replicas of every role, replaced when they end."""

import asyncio
import subprocess
import time
from collections.abc import Callable, Sequence
from typing import Final

from actlabel.core import topics
from tests.acceptance.chaos.asked import caller_of
from tests.acceptance.chaos.calls import Loss
from tests.acceptance.chaos.standing import Ended
from tests.acceptance.fleet import Fleet, Member, eventually

LEAST: Final = 1
MOST: Final = 4
_LOOK_S: Final = 0.2
_UP: Final = "The process is up."
_END_S: Final = 60.0
_AT_WORK_S: Final = 5.0
_NOTICED_S: Final = 5.0  # how late the end of a process may be seen


class Crew:
    """Starts, kills, freezes and replaces; remembers what each process lost when."""

    def __init__(self, fleet: Fleet, *, replicas: int, outage: Callable[[float], bool], calls: Callable[[str], int]) -> None:
        """``outage``: whether something that a starting process needs was out of reach on purpose since a moment.

        ``calls``: how many calls a process has in flight, by its name.
        """
        self._fleet = fleet
        self._replicas = replicas
        self._outage = outage
        self._calls = calls
        self._started_s: dict[str, float] = {}
        self._ending: set[str] = set()
        self.losses: list[Loss] = []
        self.ended: list[Ended] = []

    async def assemble(self) -> None:
        """Start every role and wait until all are ready."""
        started = [self.start(role) for role in topics.READS for _ in range(self._replicas)]
        await asyncio.gather(*(member.ready() for member in started))

    def start(self, role: str) -> Member:
        """Start one more process."""
        member = self._fleet.start(role)
        self._started_s[member.name] = time.time()
        return member

    def replicas(self, role: str) -> Sequence[Member]:
        """Return the processes of a role that run."""
        return [m for m in self._fleet.members if m.role == role and m.alive and not m.frozen and m.name not in self._ending]

    async def pick(self, role: str, share: float) -> Member:
        """Choose a process of a role that is at work: with calls in flight, where it makes any. Waits a while for one."""
        deadline_s = time.time() + _AT_WORK_S
        while not (there := self._at_work(role)) and time.time() < deadline_s:  # noqa: ASYNC110 - processes tell no event
            await asyncio.sleep(_LOOK_S)
        if not there:
            await eventually(lambda: self._are_any(role), what=f"a {role} that runs")
            there = self.replicas(role)
        return there[min(int(share * len(there)), len(there) - 1)]

    async def _are_any(self, role: str) -> bool:
        return bool(self.replicas(role))

    def _at_work(self, role: str) -> Sequence[Member]:
        if role in {topics.ANNOTATOR, topics.CRITICIZER}:
            return [member for member in self.replicas(role) if self._calls(member.name)]
        return [member for member in self.replicas(role) if _is_up(member)]

    def named(self, name: str) -> Member | None:
        """Find a process that runs by its name."""
        return next((m for m in self._fleet.members if m.name == name and m.alive and not m.frozen and m.name not in self._ending), None)

    def kill(self, member: Member) -> None:
        """SIGKILL."""
        self._lost(member, "kill", time.time())
        member.kill()

    async def freeze(self, member: Member, seconds: float) -> None:
        """SIGSTOP, and SIGCONT after a while."""
        start_s = time.time()
        member.freeze()
        await asyncio.sleep(seconds)
        self._lost(member, "freeze", start_s)
        member.thaw()

    async def terminate(self, member: Member) -> int:
        """SIGTERM, and wait for the end; returns the exit code."""
        self._ending.add(member.name)
        start_s = time.time()  # what does not end within the drain deadline is abandoned long before the process ends
        try:
            code = await asyncio.to_thread(member.terminate, _END_S)
        except subprocess.TimeoutExpired:
            words = f"it did not end within {_END_S:.0f} s of SIGTERM; {_last_words(member)}"
            self.ended.append(Ended(member=member.name, code=0, excused=False, last_words=words))
            member.kill()
            code = 0
        self._lost(member, "terminate", start_s)
        if code != 0:
            excused = not _is_up(member)  # it was not listening yet
            self.ended.append(Ended(member=member.name, code=code, excused=excused, last_words=_last_words(member)))
        return code

    def _lost(self, member: Member, kind: str, start_s: float) -> None:
        end_s = time.time() if kind == "freeze" else float("inf")  # what a dead process had sent may arrive after its death
        self.losses.append(Loss(caller=caller_of(member.name), kind=kind, start_s=start_s, end_s=end_s))

    async def look_after(self) -> None:
        """Replace, for ever, what ended by itself, and what is missing of every role."""
        while True:
            await asyncio.sleep(_LOOK_S)
            for member in [m for m in self._fleet.members if not m.alive and not m.killed]:
                self._bury(member)
                self.start(member.role)

    def _bury(self, member: Member) -> None:
        member.killed = True
        excused = not _is_up(member) and self._outage(self._started_s[member.name])
        self._lost(member, "kill", time.time() - _NOTICED_S)
        self.ended.append(Ended(member=member.name, code=member.process.returncode, excused=excused, last_words=_last_words(member)))

    async def complete(self) -> None:
        """Bring every role back to its number, and wait until all are ready."""
        for role in topics.READS:
            for _ in range(self._replicas - len(self.replicas(role))):
                self.start(role)
        for member in list(self._fleet.members):
            if member.alive and member.name not in self._ending:
                await member.ready()


def _is_up(member: Member) -> bool:
    return _UP in member.log.read_text(errors="replace")


def _last_words(member: Member) -> str:
    lines = [line for line in member.log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1][:300] if lines else "it said nothing"
