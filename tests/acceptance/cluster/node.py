"""A stand-in for the kubelet: this machine as a node, whose pods are local processes with loopback addresses of their own."""

import asyncio
import datetime
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from tests.acceptance.cluster.kube_client import Document, KubeClient
from tests.acceptance.cluster.pod_process import PodProcess
from tests.acceptance.cluster.timeline import Timeline

NAME: Final = "laptop"
_ALIVE_S: Final = 5.0
_ROOM: Final = {"cpu": "64", "memory": "256Gi", "pods": "110", "ephemeral-storage": "100Gi"}


class Node:
    """Registers itself, says that it is alive, and runs what the scheduler binds to it."""

    def __init__(self, client: KubeClient, folder: Path, timeline: Timeline) -> None:
        """``folder``: for the files and logs of pods."""
        self._client = client
        self._folder = folder
        self._timeline = timeline
        self._addresses = itertools.count(2)
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self.pods: dict[str, PodProcess] = {}  # by uid, those that are here now
        self.gone: list[PodProcess] = []

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Node"]:
        """Be a node while the block runs; at its end every process is killed. What fails here fails the block."""
        await self._register()
        async with asyncio.TaskGroup() as group:
            loops = [group.create_task(self._stay_alive()), group.create_task(self._follow(group))]
            try:
                yield self
            finally:
                for task in [*loops, *self._tasks.values()]:
                    task.cancel()

    async def _register(self) -> None:
        labels = {"kubernetes.io/hostname": NAME, "topology.kubernetes.io/zone": "here", "kubernetes.io/os": "linux"}
        await self._client.ask("POST", "/api/v1/nodes", {"metadata": {"name": NAME, "labels": labels}})
        await self._say_alive()
        self._timeline.note(f"node {NAME} is ready")

    async def _say_alive(self) -> None:
        now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        condition = {"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "a stand-in", "lastHeartbeatTime": now}
        status = {"capacity": _ROOM, "allocatable": _ROOM, "conditions": [condition]}
        await self._client.ask("PATCH", f"/api/v1/nodes/{NAME}/status", {"status": status})

    async def _stay_alive(self) -> None:
        while True:
            await self._say_alive()
            await asyncio.sleep(_ALIVE_S)

    async def _follow(self, group: asyncio.TaskGroup) -> None:
        """Take up every pod that is bound to this node, and end what is deleted."""
        async for kind, pod in self._client.watch("/api/v1/pods", f"fieldSelector=spec.nodeName%3D{NAME}"):
            uid = pod["metadata"]["uid"]
            if kind == "DELETED":
                continue
            if uid not in self._tasks:
                self.pods[uid] = process = self._process(pod)
                self._tasks[uid] = group.create_task(self._run(uid, process), name=process.name)
            if "deletionTimestamp" in pod["metadata"] and uid in self.pods:
                self.pods[uid].delete(float(pod["metadata"].get("deletionGracePeriodSeconds", 30)))

    def _process(self, pod: Document) -> PodProcess:
        number = next(self._addresses)
        folder = self._folder / pod["metadata"]["name"]
        folder.mkdir(parents=True, exist_ok=True)
        return PodProcess(self._client, pod, folder=folder, address=f"127.20.{number // 250}.{number % 250 + 1}")

    async def _run(self, uid: str, process: PodProcess) -> None:
        await process.run()
        self.gone.append(self.pods.pop(uid))

    def of(self, stage: str) -> list[PodProcess]:
        """Return the pods of a stage that are ready."""
        return [pod for pod in self.pods.values() if pod.stage == stage and pod.ready]
