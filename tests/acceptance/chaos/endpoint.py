"""The model endpoint: the stand-in in a process of its own, and its faults."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import aiohttp

from tests.acceptance.chaos.schedule import Kind
from tests.services.processes import free_port, listens, start, wait_until

_AGAIN_S: Final = 0.1
_CHANGES: Final[dict[Kind, dict[str, float]]] = {
    Kind.HANG: {"hang": 1.0},
    Kind.ERRORS: {"error": 1.0},
    Kind.RATE_LIMIT: {"rate_limit": 1.0},
    Kind.NONSENSE: {"nonsense": 0.5},
    Kind.DISCONNECT: {"disconnect": 1.0},
}


class Endpoint:
    """Where it listens, what it logs, how it is made to fail."""

    def __init__(self, port: int, log: Path) -> None:
        """Made by ``running_endpoint``."""
        self._address = f"http://127.0.0.1:{port}"
        self.log = log
        self.url = f"{self._address}/v1"

    async def fail(self, kind: Kind, seconds: float) -> None:
        """Misbehave for so long."""
        if kind is Kind.REFUSE:
            await self._change({"refuse_s": seconds})
            await asyncio.sleep(seconds)
            return
        change = _CHANGES[kind]
        await self._change(change)
        await asyncio.sleep(seconds)
        await self._change(dict.fromkeys(change, 0.0))

    async def _change(self, change: dict[str, float]) -> None:
        while not await self._changed(change):  # noqa: ASYNC110 - another fault makes it refuse us too
            await asyncio.sleep(_AGAIN_S)

    async def _changed(self, change: dict[str, float]) -> bool:
        try:
            await self._post(change)
        except aiohttp.ClientConnectionError:
            return False
        return True

    async def _post(self, change: dict[str, float]) -> None:
        async with aiohttp.ClientSession() as http, http.post(f"{self._address}/control", json=change) as response:
            assert response.status == 200, await response.text()


@asynccontextmanager
async def running_endpoint(answers: Path, folder: Path, *, latency_ms: float) -> AsyncIterator[Endpoint]:
    """Answer with what is recorded while the block runs; ``latency_ms`` is the median of a lognormal."""
    port, log, words = free_port(), folder / "requests.jsonl", folder / "standin.log"
    command = ["-m", "actlabel", "standin", "--answers", str(answers), "--port", str(port), "--log", str(log)]
    tuning = ["--latency-ms", str(latency_ms), "--fault", "latency_sigma=0.4", "--fault", "retry_after_s=0.5"]
    process: subprocess.Popen[bytes] = start([sys.executable, *command, *tuning], log=words)
    try:
        wait_until(lambda: listens(port), process=process, timeout_s=60.0, name="the stand-in", log=words)
        yield Endpoint(port, log)
    finally:
        process.kill()
        process.wait()
