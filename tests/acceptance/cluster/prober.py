"""A kubelet's probes: when they begin, how often they are asked, and how many answers in a row count."""

import asyncio
from dataclasses import dataclass, field

import aiohttp
import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.acceptance.cluster.kube_client import Document


@dataclass(slots=True)
class Prober:
    """One probe of a container. ``answer`` is what counts now; None before anything does."""

    probe: Document
    address: str
    answer: bool | None = None
    _rows: dict[bool, int] = field(default_factory=lambda: {True: 0, False: 0})

    async def run(self) -> None:
        """Ask for ever."""
        await asyncio.sleep(self.probe.get("initialDelaySeconds", 0))
        while True:
            self.note(await self._ask())
            await asyncio.sleep(self.probe.get("periodSeconds", 10))

    def note(self, well: bool) -> None:
        """Count an answer."""
        self._rows = {well: self._rows[well] + 1, not well: 0}
        needed = self.probe.get("successThreshold", 1) if well else self.probe.get("failureThreshold", 3)
        if self._rows[well] >= needed:
            self.answer = well

    async def _ask(self) -> bool:
        try:
            async with asyncio.timeout(self.probe.get("timeoutSeconds", 1)):
                return await (self._ask_grpc(self.probe["grpc"]) if "grpc" in self.probe else self._ask_http(self.probe["httpGet"]))
        except (TimeoutError, OSError, grpc.aio.AioRpcError, aiohttp.ClientError):
            return False

    async def _ask_grpc(self, where: Document) -> bool:
        async with grpc.aio.insecure_channel(f"{self.address}:{where['port']}") as channel:
            request = health_pb2.HealthCheckRequest(service=where.get("service", ""))
            answer = await health_pb2_grpc.HealthStub(channel).Check(request)  # type: ignore[no-untyped-call]  # generated
            return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    async def _ask_http(self, where: Document) -> bool:
        url = f"http://{self.address}:{where['port']}{where.get('path', '/')}"
        async with aiohttp.ClientSession() as http, http.get(url) as response:
            return 200 <= response.status < 400
