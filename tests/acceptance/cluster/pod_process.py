"""One pod as a process of this machine: started, probed, restarted, reported, and ended with SIGTERM and a grace period."""

import asyncio
import contextlib
import datetime
import signal
import subprocess
from pathlib import Path
from typing import Any, Final

from tests.acceptance.cluster.kube_client import Document, KubeClient
from tests.acceptance.cluster.pod_spec import NotThereYet, PodSpec, Prepared
from tests.acceptance.cluster.prober import Prober

_TICK_S: Final = 0.2
_BACK_OFF_S: Final = 2.0
_PROBES: Final = ("startupProbe", "readinessProbe", "livenessProbe")


class PodProcess:
    """Runs until the pod is deleted. Its restart policy is Always, as a Deployment's pods have it."""

    def __init__(self, client: KubeClient, pod: Document, *, folder: Path, address: str) -> None:
        """``folder``: of this pod. ``address``: its IP on this machine."""
        self._client = client
        self._pod = pod
        self._folder = folder
        self.address = address
        self._spec = PodSpec(client, pod, folder=folder, address=address)
        self._path = f"/api/v1/namespaces/{pod['metadata']['namespace']}/pods/{self.name}"
        self._process: subprocess.Popen[bytes] | None = None
        self._probers: dict[str, Prober] = {}
        self._deleted = asyncio.Event()
        self._grace_s = 30.0
        self._began = _now()
        self._said: Document | None = None
        self.restarts = 0
        self.waits: str | None = None  # for what, before it starts
        self.ended: list[int] = []  # exit codes

    @property
    def name(self) -> str:
        """The pod's name."""
        return str(self._pod["metadata"]["name"])

    @property
    def stage(self) -> str:
        """The Deployment that it is of."""
        return str(self._pod["metadata"]["labels"].get("app.kubernetes.io/name", ""))

    @property
    def ready(self) -> bool:
        """Whether its probes say so."""
        return self._answers("startupProbe") and self._answers("readinessProbe") and self._process is not None

    def _answers(self, probe: str) -> bool:
        return probe not in self._probers or self._probers[probe].answer is True

    def delete(self, grace_s: float) -> None:
        """End it: the API server has a deletion timestamp."""
        self._grace_s = grace_s
        self._deleted.set()

    async def run(self) -> None:
        """Live through the pod's life, then take it out of the API server."""
        try:
            while not self._deleted.is_set():
                await self._live()
            await self._end()
        finally:
            if self._process is not None and self._process.poll() is None:
                self._process.kill()
        options = {"gracePeriodSeconds": 0, "preconditions": {"uid": self._pod["metadata"]["uid"]}}
        await self._client.ask("DELETE", self._path, options)

    async def _live(self) -> None:
        """Start the container once and stay with it until it ends, or must be restarted, or the pod is deleted."""
        try:
            prepared = await self._spec.prepare()
        except NotThereYet as error:
            self.waits = str(error)
            await self._report()
            await asyncio.sleep(_BACK_OFF_S)
            return
        self.waits = None
        log = self._folder / "container.log"
        self._process = _start(prepared, log)
        self._probers = {name: Prober(self._spec.container[name], self.address) for name in _PROBES if name in self._spec.container}
        async with self._probing():
            while self._process.poll() is None and not self._deleted.is_set() and not self._must_restart():
                await self._report()
                await asyncio.sleep(_TICK_S)
        if not self._deleted.is_set():
            await self._restart()

    @contextlib.asynccontextmanager
    async def _probing(self) -> Any:
        """Ask the startup probe first; the others when it has succeeded once."""
        asking = asyncio.create_task(self._probe())
        try:
            yield
        finally:
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)

    async def _probe(self) -> None:
        async with asyncio.TaskGroup() as group:
            if (first := self._probers.get("startupProbe")) is not None:
                starting = group.create_task(first.run())
                while first.answer is not True:  # noqa: ASYNC110 - a probe has no event
                    await asyncio.sleep(_TICK_S)
                starting.cancel()
            for name in _PROBES[1:]:
                if name in self._probers:
                    group.create_task(self._probers[name].run())

    def _must_restart(self) -> bool:
        return any(name in self._probers and self._probers[name].answer is False for name in ("startupProbe", "livenessProbe"))

    async def _restart(self) -> None:
        assert self._process is not None, "started"
        if self._process.poll() is None:
            self._process.kill()
        self.ended.append(await asyncio.to_thread(self._process.wait))
        self._process, self._probers = None, {}
        self.restarts += 1
        await self._report()
        await asyncio.sleep(_BACK_OFF_S)

    async def _end(self) -> None:
        """PreStop, SIGTERM, the rest of the grace period, SIGKILL; the pod is reported as not ready meanwhile."""
        process = self._process
        if process is None or process.poll() is not None:
            return
        self._probers = {"readinessProbe": Prober({}, self.address, answer=False)}
        await self._report()
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._grace_s
        sleep = self._spec.container.get("lifecycle", {}).get("preStop", {}).get("sleep", {})
        await asyncio.sleep(min(sleep.get("seconds", 0), self._grace_s))
        process.send_signal(signal.SIGTERM)
        while process.poll() is None and loop.time() < deadline:  # noqa: ASYNC110 - a process has no event
            await asyncio.sleep(_TICK_S)
        if process.poll() is None:
            process.kill()
        self.ended.append(await asyncio.to_thread(process.wait))

    async def _report(self) -> None:
        """Tell the API server how it is, when that has changed."""
        status = self._status()
        if status != self._said:
            self._said = status
            await self._client.ask("PATCH", f"{self._path}/status", {"status": status})

    def _status(self) -> Document:
        ready, runs = self.ready, self._process is not None
        state = (
            {"running": {"startedAt": self._began}} if runs else {"waiting": {"reason": "ContainerCreating", "message": self.waits or ""}}
        )
        container = {
            "name": self._spec.container["name"],
            "image": self._spec.container["image"],
            "imageID": "",
            "ready": ready,
            "started": self._answers("startupProbe") and runs,
            "restartCount": self.restarts,
            "state": state,
        }
        flags = {"PodScheduled": True, "Initialized": True, "ContainersReady": ready, "Ready": ready}
        return {
            "phase": "Running" if runs else "Pending",
            "podIP": self.address,
            "podIPs": [{"ip": self.address}],
            "hostIP": "127.0.0.1",
            "startTime": self._began,
            "containerStatuses": [container],
            "conditions": [{"type": kind, "status": str(holds)} for kind, holds in flags.items()],
        }


def _start(prepared: Prepared, log: Path) -> "subprocess.Popen[bytes]":
    """Start it; the kernel kills it with us. (Nothing of ours runs between fork and exec: gRPC's threads make that crash now and then.)"""
    with log.open("ab") as output:
        command = ["setpriv", "--pdeathsig", "KILL", *prepared.command]
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=prepared.environment)


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
