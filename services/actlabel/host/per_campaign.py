"""Work that a campaign asks for in its file: begun when it does, begun anew with every version, ended when it no longer does."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from actlabel.core.errors import ActlabelError, Fatal, RetryLater
from actlabel.runtime.campaigns import Campaign, Campaigns
from actlabel.runtime.health import Health
from actlabel.runtime.lifecycle import until
from actlabel.runtime.log import get_log
from actlabel.runtime.metrics import FOLLOWED, forget
from actlabel.stream.cancelling import cancel_all
from actlabel.stream.follower import Follower

_log = get_log(__name__)
_LOOK_S: Final = 2.0
_AGAIN_S: Final = 10.0
_PATIENCE_S: Final = 5.0

Work = Callable[[Campaign, Callable[[Follower], None], asyncio.Event], Awaitable[None]]
"""Follows for one campaign until the event is set, and shows its follower.

Raises ``UserError`` or ``RetryLater`` when it cannot for now.
"""


@dataclass(slots=True, eq=False)
class _Member:
    campaign: Campaign
    stop: asyncio.Event
    task: "asyncio.Task[None] | None" = None
    follower: Follower | None = None
    trouble: str | None = None


class PerCampaign:
    """Keeps one piece of work running for every campaign that wants it. What keeps one from working is told and leaves the others alone."""

    def __init__(self, *, name: str, campaigns: Campaigns, wants: Callable[[Campaign], bool], work: Work) -> None:
        """``name``: the role, for logs and health."""
        self._name = name
        self._campaigns = campaigns
        self._wants = wants
        self._work = work
        self._members: dict[str, _Member] = {}
        self._trouble: str | None = "the campaigns have not been read yet"

    def add_checks(self, health: Health) -> None:
        """Let the process tell how it is."""
        health.add_liveness(self._name, self._liveness)
        health.add_readiness(self._name, self._readiness)

    def _liveness(self) -> str | None:
        checks = (member.follower.liveness() for member in self._members.values() if member.follower is not None)
        return "; ".join(why for why in checks if why is not None) or None

    def _readiness(self) -> str | None:
        """Say why nothing at all works. One campaign of several that cannot be followed is told in the log and by its gauge: it must not
        hold up a rollout for the others."""
        whys = {member.campaign.name: _trouble_of(member) for member in self._members.values()}
        if self._trouble is not None or not whys or any(why is None for why in whys.values()):
            return self._trouble
        return "; ".join(f"campaign {name}: {why}" for name, why in whys.items())

    async def run(self, stop: asyncio.Event) -> None:
        """Work until ``stop``, then let every piece drain. Raises what a piece dies of (``Fatal``)."""
        try:
            while not stop.is_set():
                await self._look()
                await self._wait(stop)
            await self._end(list(self._members.values()))
        finally:
            await cancel_all([m.task for m in self._members.values() if m.task is not None], patience_s=_PATIENCE_S)

    async def _wait(self, stop: asyncio.Event) -> None:
        tasks = [member.task for member in self._members.values() if member.task is not None]
        looking = asyncio.create_task(until(stop, _LOOK_S))
        try:
            await asyncio.wait([looking, *tasks], return_when=asyncio.FIRST_COMPLETED)
        finally:
            await cancel_all([looking], patience_s=_PATIENCE_S)
        for task in tasks:
            if task.done():
                task.result()

    async def _look(self) -> None:
        states = [_trouble_of(member) is None for member in self._members.values()]
        FOLLOWED.labels(self._name, "working").set(sum(states))
        FOLLOWED.labels(self._name, "waiting").set(len(states) - sum(states))
        try:
            present = {campaign.uid: campaign for campaign in await self._campaigns.list()}
        except RetryLater as error:
            self._trouble = str(error)
            return
        self._trouble = None
        wanted = {uid: campaign for uid, campaign in present.items() if self._wants(campaign)}
        gone = self._members.keys() - present.keys()
        await self._end([m for uid, m in self._members.items() if uid not in wanted or wanted[uid].version != m.campaign.version])
        forget(gone)
        for uid, campaign in wanted.items():
            if uid not in self._members:
                self._begin(campaign)

    def _begin(self, campaign: Campaign) -> None:
        member = self._members[campaign.uid] = _Member(campaign=campaign, stop=asyncio.Event())
        member.task = asyncio.create_task(self._keep(member), name=f"{self._name} of {campaign.name}")
        _log.info("A campaign is followed.", role=self._name, campaign=campaign.uid, version=campaign.version)

    async def _end(self, members: list[_Member]) -> None:
        for member in members:
            member.stop.set()
        for member in members:
            assert member.task is not None, "begun"
            await member.task
            del self._members[member.campaign.uid]

    async def _keep(self, member: _Member) -> None:
        def show(follower: Follower) -> None:
            member.follower, member.trouble = follower, None

        while not member.stop.is_set():
            try:
                await self._work(member.campaign, show, member.stop)
            except Fatal:
                raise
            except Exception as error:  # noqa: BLE001 - whatever it is, the other campaigns go on
                await self._again(member, error)

    async def _again(self, member: _Member, error: Exception) -> None:
        """Tell what keeps a campaign from being followed, and let some time pass. What is no error of ours is a defect, with its trace."""
        expected = isinstance(error, ActlabelError)
        why = str(error) if expected else f"a defect: {type(error).__name__}"
        member.follower, member.trouble = None, why
        trace = None if expected else error
        _log.warning("A campaign cannot be followed for now.", role=self._name, campaign=member.campaign.uid, reason=why, exc_info=trace)
        await until(member.stop, _AGAIN_S)


def _trouble_of(member: _Member) -> str | None:
    return member.trouble or (member.follower.readiness() if member.follower is not None else "begins")
