"""The readiness of a process as it changes, in its log: what a person reads who asks why a pod gets no work."""

import asyncio
import re
from collections.abc import Sequence
from typing import Final

from actlabel.runtime.health import Health
from actlabel.runtime.lifecycle import until
from actlabel.runtime.log import get_log

_log = get_log(__name__)
_LOOK_S: Final = 1.0
_AGAIN_S: Final = 60.0  # the words are the same, with other numbers: those of a clock, most of the time
_NUMBERS: Final = re.compile(r"[0-9.]+")


class ReadinessLog:
    """Tells once what is missing, again when something else is, and once that nothing is any more."""

    def __init__(self, health: Health) -> None:
        """Begin as if all were well."""
        self._health = health
        self._told: Sequence[str] = ()
        self._told_s = 0.0

    def look(self, now_s: float) -> None:
        """Compare with what was told. ``now_s``: of a monotonic clock."""
        failures = self._health.ready()
        others = [_words(line) for line in failures] != [_words(line) for line in self._told]
        if not others and (failures == self._told or now_s - self._told_s < _AGAIN_S):
            return
        self._told, self._told_s = failures, now_s
        if failures:
            _log.warning("The process is not ready.", why="; ".join(failures))
        else:
            _log.info("The process is ready.")

    async def run(self, stop: asyncio.Event) -> None:
        """Look once a second until ``stop``."""
        loop = asyncio.get_running_loop()
        while not stop.is_set():
            self.look(loop.time())
            await until(stop, _LOOK_S)


def _words(line: str) -> str:
    return _NUMBERS.sub("", line)
