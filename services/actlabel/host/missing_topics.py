"""Campaigns without a topic to read from: never made, removed by hand, or hidden by an access rule. A pattern just matches less."""

from typing import Final

from actlabel.core import topics
from actlabel.core.errors import RetryLater
from actlabel.host.host import Host
from actlabel.runtime.lifecycle import until
from actlabel.runtime.log import get_log

_log = get_log(__name__)
_LOOK_S: Final = 15.0
_SURE_S: Final = 1.0  # while something is missing: `apply` stores a campaign a moment before it makes the topics


class MissingTopics:
    """Looks now and then. A stage that finds no topic of any campaign is not ready; where it finds some, the log names the others."""

    def __init__(self, host: Host, stage: str) -> None:
        """Nothing is looked at yet."""
        self._host = host
        self._stage = stage
        self._suspected: frozenset[str] = frozenset()
        self._told: frozenset[str] = frozenset()
        self._why: str | None = None

    async def run(self) -> None:
        """Look until ``host.stop``."""
        self._host.health.add_readiness("topics", lambda: self._why)
        wait_s = _SURE_S
        while not await until(self._host.stop, wait_s):
            try:
                wait_s = await self._look()
            except RetryLater:
                wait_s = _LOOK_S

    async def _look(self) -> float:
        """Compare; returns when to look again. What is missing twice in a row is missing."""
        kind, only = topics.READS[self._stage], self._host.settings.campaign
        names = await self._host.campaigns.names()
        campaigns = {topics.topic(kind, uid): name for uid, name in names.items() if only in (None, uid, name)}
        there = await self._host.stream.topics(topics.prefix(kind))
        missing = frozenset(campaigns) - frozenset(there)
        sure, self._suspected = missing & self._suspected, missing
        lines = {topic: _line(topic, campaigns[topic]) for topic in sorted(sure)}
        self._why = "; ".join(lines.values()) if lines and len(lines) == len(campaigns) else None
        for topic in sorted(sure - self._told):
            _log.warning("A campaign has no topic to read from.", stage=self._stage, topic=topic)
        self._told = sure
        return _SURE_S if missing else _LOOK_S


def _line(topic: str, campaign: str) -> str:
    return f"{topic} does not exist, or this user may not see it (Describe); `actlabel campaign apply` of {campaign} makes it"
