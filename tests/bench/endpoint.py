"""The stand-in endpoint as a process of its own, with an answer for every text: ``python tests/bench/endpoint.py [latency_ms]``.

It remembers no recording, so that a million texts cost it nothing: label and doubt are a function of the item. Prints its address.
"""

import asyncio
import contextlib
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from typing import Any

import orjson
import uvloop

from actlabel.completions.opinion import Opinion
from actlabel.completions.protocol import Question
from actlabel.runtime.lifecycle import stop_signals
from actlabel.standin.faults import Faults
from actlabel.standin.server import Standin

LABELS = ("agrees", "disagrees", "neutral")


class AnyText:
    """Answers whatever comes, the same whenever it comes again."""

    def answer(self, question: Question) -> Opinion:
        """See ``Answerer``."""
        number = int(question.item_digest[:8], 16)
        return Opinion(label=LABELS[number % 3], error_probability=(number >> 8) % 101 / 100, reason="It reads like that.")


async def _serve(latency_ms: float) -> None:
    stop = asyncio.Event()
    with stop_signals(stop):
        async with Standin(AnyText(), Faults(latency_ms=latency_ms)) as server:
            print(server.address, flush=True)
            await stop.wait()


class Endpoint:
    """A running endpoint, as a benchmark sees it."""

    def __init__(self, address: str, pid: int) -> None:
        self.address = address
        self.pid = pid
        self.url = f"{address}/v1"

    def log(self, *, clear: bool = False) -> dict[str, Any]:
        """Read the request log; ``clear`` begins a new one."""
        request = urllib.request.Request(f"{self.address}/control/log", method="DELETE" if clear else "GET")
        with urllib.request.urlopen(request, timeout=60) as answer:
            return dict(orjson.loads(answer.read()))

    def change(self, **faults: object) -> None:
        """Change the faults: ``latency_ms=…``."""
        body = orjson.dumps(faults)
        request = urllib.request.Request(f"{self.address}/control", data=body, headers={"Content-Type": "application/json"})
        urllib.request.urlopen(request, timeout=10).close()


@contextlib.contextmanager
def endpoint(latency_ms: float = 0.0) -> Iterator[Endpoint]:
    """Run an endpoint while the block runs."""
    with subprocess.Popen([sys.executable, __file__, str(latency_ms)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield Endpoint(process.stdout.readline().strip(), process.pid)
        finally:
            process.terminate()


if __name__ == "__main__":
    uvloop.run(_serve(float(sys.argv[1]) if len(sys.argv) > 1 else 0.0))
