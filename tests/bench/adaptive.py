"""Adaptive concurrency against every fixed number, at an endpoint whose limit moves: how much of the best do we get without knowing it?

    .venv/bin/python tests/bench/adaptive.py [seconds per phase] [latency in ms]

All settings run at the same time, each at a stand-in of its own with the same schedule, so that a busy machine is as busy for all of them.
The stand-ins live in another process; they either refuse what is above their limit (429 with Retry-After) or answer it slower. Answers are
counted at the client. Two ratios: to the best fixed number over the whole schedule, and to an oracle that knows the best one of each phase.
"""

import asyncio
import multiprocessing
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from multiprocessing.connection import Connection

import aiohttp
import uvloop

from actlabel.chat.openai_compatible import OpenAiCompatibleClient
from actlabel.chat.port import AnswerSchema, ChatRequest, Message, TextPart
from actlabel.completions.opinion import Opinion
from actlabel.completions.protocol import Question
from actlabel.core.errors import RetryLater
from actlabel.runtime.campaign_file import Model
from actlabel.runtime.clock import SystemClock
from actlabel.runtime.log import configure_logs
from actlabel.standin.server import Standin

_CEILING = 128
_STATIC = (8, 16, 32, 48, 64, 96)
_SCHEDULE = (16, 64, 32)
_SCHEMA = AnswerSchema(name="annotation", properties={"label": {"type": "string"}})


class _Always:
    """Answers everything alike."""

    def answer(self, question: Question) -> Opinion:
        """See ``Answerer``."""
        return Opinion(label="cat", error_probability=0.0, reason="")


def _serve(pipe: Connection) -> None:
    async def serve() -> None:
        async with AsyncExitStack() as stack:
            servers = [await stack.enter_async_context(Standin(_Always())) for _ in range(len(_STATIC) + 1)]
            pipe.send([server.address for server in servers])
            await asyncio.Event().wait()

    uvloop.run(serve())


async def _answers(address: str, faults: Mapping[str, object], *, adaptive: bool, calls_in_flight: int, phase_s: float) -> list[int]:
    """Ask as fast as the client lets us for the whole schedule; returns the answers of each phase."""
    counts = [0] * len(_SCHEDULE)
    model = Model.model_validate(
        {
            "endpoint": f"{address}/v1",
            "model": "m",
            "strategy": "naive",
            "adaptive": adaptive,
            "calls_in_flight": calls_in_flight,
            "timeout_s": 10.0,
        }
    )
    async with OpenAiCompatibleClient(clock=SystemClock(), calls_in_flight=_CEILING) as client, aiohttp.ClientSession() as http:
        async with http.post(f"{address}/control", json={**faults, "step_s": phase_s}) as response:
            assert response.status == 200, await response.text()
        start = time.monotonic()

        async def work(number: int) -> None:
            while True:
                number += _CEILING
                message = Message(role="user", parts=(TextPart(text=f"Text {number}."),))
                try:
                    await client.complete(ChatRequest(uid="u", stage="annotator", model=model, messages=(message,), schema=_SCHEMA))
                except RetryLater:
                    await asyncio.sleep(0.2)  # a stage lets such an item wait
                    continue
                counts[min(int((time.monotonic() - start) / phase_s), len(counts) - 1)] += 1

        workers = [asyncio.create_task(work(number)) for number in range(_CEILING)]
        await asyncio.sleep(phase_s * len(_SCHEDULE))
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
    return counts


async def _compare(addresses: Sequence[str], name: str, faults: Mapping[str, object], phase_s: float) -> None:
    settings = [(False, bound) for bound in _STATIC] + [(True, _CEILING)]
    *counts, ours = await asyncio.gather(
        *(
            _answers(address, faults, adaptive=adaptive, calls_in_flight=bound, phase_s=phase_s)
            for address, (adaptive, bound) in zip(addresses, settings, strict=True)
        )
    )
    static = dict(zip(_STATIC, counts, strict=True))
    best = max(static, key=lambda bound: sum(static[bound]))
    oracle = [max(phase) for phase in zip(*counts, strict=True)]
    print(f"\n{name}: limit {' then '.join(map(str, _SCHEDULE))}, {phase_s:g} s each")
    for bound, answers in static.items():
        print(f"  fixed {bound:4}: {_line(answers)}")
    print(f"  adaptive  : {_line(ours)}")
    of_best, of_oracle = sum(ours) / sum(static[best]), sum(ours) / sum(oracle)
    print(f"  of the best fixed number ({best}): {of_best:.2f}; of the best of each phase: {of_oracle:.2f}", flush=True)


def _line(counts: Sequence[int]) -> str:
    return f"{sum(counts):6} answers " + " ".join(f"{count:6}" for count in counts)


async def _measure(addresses: Sequence[str], phase_s: float, latency_ms: float) -> None:
    limit = list(_SCHEDULE)
    common = {"latency_ms": latency_ms, "latency_sigma": 0.3, "concurrency": [], "full_speed": []}
    await _compare(addresses, "refuses, Retry-After 0.2 s", {**common, "concurrency": limit, "retry_after_s": 0.2}, phase_s)
    await _compare(addresses, "refuses, Retry-After 1 s", {**common, "concurrency": limit, "retry_after_s": 1.0}, phase_s)
    await _compare(addresses, "grows slow", {**common, "full_speed": limit}, phase_s)


def main(phase_s: float = 30.0, latency_ms: float = 1000.0) -> None:
    """Start the stand-in, measure, stop it."""
    configure_logs(level="warning", json=False)
    here, there = multiprocessing.Pipe()
    server = multiprocessing.Process(target=_serve, args=(there,), daemon=True)
    server.start()
    try:
        uvloop.run(_measure(here.recv(), phase_s, latency_ms))
    finally:
        server.terminate()
        server.join()


if __name__ == "__main__":
    main(*(float(argument) for argument in sys.argv[1:]))
