"""The whole system on a real control plane: slow models, stages that scale by themselves, a rolling update in the middle."""

import asyncio
import os
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Final

from actlabel.core import topics
from actlabel.runtime.campaigns import Campaign
from actlabel.standin.faults import Faults
from actlabel.standin.recorded import RecordedAnswers
from actlabel.standin.request_log import RequestLog
from actlabel.standin.server import Standin
from tests.acceptance.cluster.control_plane import ControlPlane
from tests.acceptance.cluster.kube_client import KubeClient
from tests.acceptance.cluster.local_overlay import LocalOverlay
from tests.acceptance.cluster.node import Node
from tests.acceptance.cluster.overlays import NAMESPACE, apply, render
from tests.acceptance.cluster.replicas import Replicas
from tests.acceptance.cluster.timeline import Timeline
from tests.acceptance.data import synthetic
from tests.acceptance.fleet import eventually
from tests.acceptance.pipeline import System, working

_SLOW: Final = Faults(latency_ms=2000)
_IN_FLIGHT: Final = 80  # calls of a pod: 40 items a second
_REVIEWS: Final = 100
_REVIEW_PORT: Final = 8400
_IDLE: Final = {"annotator": 0, "criticizer": 0}


class WholeSystem:
    """One run. Every method raises ``AssertionError`` with what did not happen."""

    def __init__(self, plane: ControlPlane, arena: System, overlay: LocalOverlay, folder: Path, timeline: Timeline) -> None:
        """``arena``: the operator's side; the stages are the cluster's."""
        self._plane = plane
        self._arena = arena
        self._overlay = overlay
        self._folder = folder
        self._timeline = timeline
        self._replicas = Replicas(plane, timeline)
        self._log = RequestLog()

    async def run(self, items: int) -> None:
        """Take a campaign of so many items from the file to the last review."""
        recording = synthetic(self._folder, items, name="whole")
        async with KubeClient(self._plane) as client, Node(client, self._folder / "pods", self._timeline).running() as node:
            arena = replace(self._arena, gateway=lambda: _gateway(node))
            await self._at_rest(node)
            async with Standin(RecordedAnswers.load(recording.answers), _SLOW, log=self._log) as models:
                bounds = {"annotator__calls_in_flight": _IN_FLIGHT, "criticizer__calls_in_flight": _IN_FLIGHT}
                campaign = await arena.apply("whole", models.endpoint, sampler__budget=_REVIEWS, **bounds)
                await arena.ingest(campaign, recording.items)
                self._timeline.note(f"{items} items are ingested and sealed; every stage that may be at zero is")
                stop = asyncio.Event()
                watching = asyncio.create_task(self._replicas.watch(stop))
                async with working(arena.reviewer(recording, campaign.name)):
                    await self._past(arena, campaign, items * 3 // 10)
                    await self._roll(node)
                    await arena.at_rest(campaign, reviewed=True, within_s=60 + items / 10)
                stop.set()
                await watching
            self._timeline.note("every item is decided, and every review answered")
            await self._balanced(arena, campaign, items, node)
            await self._replicas.until(lambda now: all(now[name] == n for name, n in _IDLE.items()), what="back at zero", within_s=180)
            self._timeline.note(f"at rest again: {dict(self._replicas.now)}")

    async def _at_rest(self, node: Node) -> None:
        """Wait until the stages that are never at zero are ready, and the others have no pod."""
        idle = {**_IDLE, "sampler": 1, "review-gateway": 2}
        await self._replicas.until(lambda now: all(now[name] == n for name, n in idle.items()), what="at rest", within_s=120)

        async def holds() -> bool:
            return len(node.of("sampler")) == 1 and len(node.of("review-gateway")) == 2 and not node.of("annotator")

        await eventually(holds, what="the stages that never sleep are ready", within_s=120)
        self._timeline.note(f"at rest: {dict(self._replicas.now)}")

    async def _past(self, arena: System, campaign: Campaign, count: int) -> None:
        async def holds() -> bool:
            return (await arena.progress(campaign)).stages[0].done >= count

        await eventually(holds, what=f"{count} items annotated", within_s=60 + count / 5)
        self._timeline.note(f"{count} items are annotated")

    async def _roll(self, node: Node) -> None:
        """Give every stage another image while it works, and wait until no pod has the old one."""
        before = {pod.name for pod in node.pods.values()}
        apply(self._plane, render(self._overlay.write("actlabel:two")))
        self._timeline.note(f"a rolling update of every stage begins, with {len(before)} pods")
        for stage in ("annotator", "criticizer", "sampler", "review-gateway", "source", "mirror"):
            wait = ("rollout", "status", "-n", NAMESPACE, f"deployment/{stage}", "--timeout=180s")
            await asyncio.to_thread(self._plane.kubectl, *wait)

        async def holds() -> bool:
            return not before & {pod.name for pod in node.pods.values()}

        await eventually(holds, what="the old pods are gone", within_s=200)
        self._timeline.note("every pod is of the new image")

    async def _balanced(self, arena: System, campaign: Campaign, items: int, node: Node) -> None:
        """The ledger, what was paid twice, and how the processes ended."""
        done = await asyncio.to_thread(self._audit, campaign.name)
        assert done.returncode == 0, done.stdout + done.stderr
        self._timeline.note("actlabel audit: the ledger balances and nothing is in flight")
        print(done.stdout)
        merged = await arena.merged(campaign)
        assert len(merged) == items
        reviewed = sum(item.HasField("review") for item in merged.values())
        repeated = sum(count - 1 for count in self._log.arrived.values())
        self._timeline.note(f"{len(merged)} merged, {reviewed} of them reviewed; {repeated} of {2 * items} calls were made again")
        codes = Counter(code for pod in [*node.gone, *node.pods.values()] for code in pod.ended)
        restarts = sum(pod.restarts for pod in [*node.gone, *node.pods.values()])
        self._timeline.note(f"{len(node.gone)} pods have ended, exit codes {dict(codes)}; {restarts} restarts")
        assert set(codes) <= {0, -signal.SIGTERM}, "drained, or told to end before Python had started"
        assert restarts == 0

    def _audit(self, name: str) -> "subprocess.CompletedProcess[str]":
        settings = self._arena.host.settings
        places = {"ACTLABEL_STREAM": settings.stream, "ACTLABEL_DATABASE": settings.database, "ACTLABEL_STORAGE": settings.storage}
        command = [sys.executable, "-m", "actlabel", "audit", name]
        return subprocess.run(command, env={**os.environ, **places}, capture_output=True, text=True, check=False)


def _gateway(node: Node) -> str:
    """Address of a review gateway that is ready; of nobody where none is."""
    ready = node.of(topics.REVIEW_GATEWAY)
    return f"http://{ready[0].address}:{_REVIEW_PORT}" if ready else "http://127.0.0.1:9"
