"""How many replicas every Deployment is to have: who scales what, seen in the API server."""

import asyncio
import json
from collections.abc import Callable, Mapping

from tests.acceptance.cluster.control_plane import ControlPlane
from tests.acceptance.cluster.overlays import NAMESPACE
from tests.acceptance.cluster.timeline import Timeline

_LOOK_S = 0.5


class Replicas:
    """Notes every change, and waits for one."""

    def __init__(self, plane: ControlPlane, timeline: Timeline) -> None:
        """Nothing is looked at yet."""
        self._plane = plane
        self._timeline = timeline
        self.now: Mapping[str, int] = {}
        self.history: dict[str, list[int]] = {}  # each number that a Deployment had, in order

    async def look(self) -> Mapping[str, int]:
        """Look once and note what changed."""
        said = await asyncio.to_thread(self._plane.kubectl, "get", "deployments", "-n", NAMESPACE, "-o", "json")
        wanted = {one["metadata"]["name"]: int(one["spec"].get("replicas", 1)) for one in json.loads(said)["items"]}
        for name, count in sorted(wanted.items()):
            before = self.now.get(name)
            if count != before:
                self.history.setdefault(name, []).append(count)
                if before is not None:
                    self._timeline.note(f"{name}: {before} -> {count}")
        self.now = wanted
        return wanted

    async def until(self, holds: Callable[[Mapping[str, int]], bool], *, what: str, within_s: float) -> None:
        """Look until it holds. Raises ``AssertionError``."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + within_s
        while not holds(await self.look()):
            assert loop.time() < deadline, f"not within {within_s:.0f} s: {what}; now {self.now}"
            await asyncio.sleep(_LOOK_S)

    async def watch(self, stop: asyncio.Event) -> None:
        """Look until told to stop."""
        while not stop.is_set():
            await self.look()
            await asyncio.sleep(_LOOK_S)
