"""A stage that works for one campaign alone, while that campaign is dedicated to it."""

import asyncio
from collections.abc import Callable
from typing import Final

from actlabel.core.errors import RetryLater, UserError
from actlabel.host.host import Host
from actlabel.runtime.campaigns import Dedication
from actlabel.runtime.lifecycle import until
from actlabel.runtime.log import get_log
from actlabel.stream.cancelling import cancel_all
from actlabel.stream.stage import Stage

_log = get_log(__name__)
_LOOK_S: Final = 1.0
_PATIENCE_S: Final = 5.0


class DedicatedStage:
    """Begins the stage when the campaign is its own, drains it when the campaign goes, and says meanwhile what it waits for."""

    def __init__(self, host: Host, *, stage: str, make: Callable[[str], Stage]) -> None:
        """``make``: the stage for a campaign's uid, anew for every time that it begins."""
        self._host = host
        self._stage = stage
        self._make = make
        self._wanted = host.settings.campaign or ""
        self._why: str | None = "has not looked for its campaign yet"
        self._working: Stage | None = None

    def add_checks(self) -> None:
        """Let the process tell how it is."""
        self._host.health.add_liveness(self._stage, lambda: self._working.liveness() if self._working else None)
        self._host.health.add_readiness(self._stage, lambda: self._working.readiness() if self._working else self._why)

    async def run(self) -> None:
        """Work until ``host.stop``. Raises what the stage dies of (``Fatal``)."""
        stop = self._host.stop
        while not stop.is_set():
            uid = await self._uid()
            if uid is None:
                await until(stop, _LOOK_S)
            else:
                await self._work(uid)

    async def _uid(self) -> str | None:
        """Return the campaign's uid if it is this stage's own now; else keep the reason."""
        try:
            uid = await self._find()
            if (await self._host.campaigns.dedicated(self._stage)).get(uid) is Dedication.OWN:
                return uid
        except (RetryLater, UserError) as error:
            self._why = str(error)
        else:
            self._why = (
                f"campaign {self._wanted} shares the {self._stage} with all others; "
                f"`actlabel campaign dedicate {self._wanted} {self._stage}` gives it one for itself"
            )
        return None

    async def _find(self) -> str:
        if self._wanted in await self._host.campaigns.known():
            return self._wanted
        return (await self._host.campaigns.newest(self._wanted)).uid

    async def _work(self, uid: str) -> None:
        _log.info("The stage works for one campaign alone.", stage=self._stage, campaign_uid=uid)
        over = asyncio.Event()
        self._working = self._make(uid)
        working, looking = asyncio.create_task(self._working.run(over)), asyncio.create_task(self._look(uid))
        try:
            await asyncio.wait([working, looking], return_when=asyncio.FIRST_COMPLETED)
            over.set()
            await working
        finally:
            await cancel_all([working, looking], patience_s=_PATIENCE_S)
            self._working = None

    async def _look(self, uid: str) -> None:
        """Return when the campaign is this stage's own no longer, or the process shall end. Not knowing changes nothing."""
        while not await until(self._host.stop, _LOOK_S):
            try:
                if (await self._host.campaigns.dedicated(self._stage)).get(uid) is not Dedication.OWN:
                    return
            except RetryLater:
                continue


async def run_stage(host: Host, *, stage: str, make: Callable[[str | None], Stage]) -> None:
    """Run a stage for all campaigns, or for the one that the settings name, until ``host.stop``."""
    if host.settings.campaign is None:
        shared = make(None)
        host.health.add_liveness(stage, shared.liveness)
        host.health.add_readiness(stage, shared.readiness)
        await shared.run(host.stop)
        return
    alone = DedicatedStage(host, stage=stage, make=make)
    alone.add_checks()
    await alone.run()
