"""How much CPU one call of the model client takes, as a ratio to the same request on bare aiohttp.

    .venv/bin/python tests/bench/chat_client.py [calls] [calls in flight]

The endpoint runs in a process of its own, so that only the client's CPU is counted. The ratio, not the microseconds, compares machines.
"""

import asyncio
import gc
import multiprocessing
import sys
import time
from collections.abc import Awaitable, Callable
from multiprocessing.connection import Connection

import aiohttp
import orjson
import uvloop
from aiohttp import web

from actlabel.annotator.domain import strategy_of
from actlabel.chat import wire
from actlabel.chat.openai_compatible import OpenAiCompatibleClient
from actlabel.chat.port import ChatRequest
from actlabel.chat.results import canonical_request, result_id
from actlabel.contracts.v1.item_pb2 import Item
from actlabel.runtime.campaign_file import CampaignFile
from actlabel.runtime.clock import SystemClock

_ANSWER = orjson.dumps(
    {
        "choices": [{"message": {"role": "assistant", "content": '{"label": "neutral"}'}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 200, "completion_tokens": 8},
    }
)
Call = Callable[[int], Awaitable[object]]


def _campaign(url: str) -> CampaignFile:
    labels = dict.fromkeys(("agrees", "neutral", "disagrees"), "One sentence that describes what this label means.")
    return CampaignFile.model_validate(
        {
            "name": "bench",
            "task": {"question": "What is the stance of the text?", "labels": labels, "guidelines": "A guideline. " * 100},
            "annotator": {"endpoint": url, "model": "m", "calls_in_flight": 1000},
            "criticizer": {"endpoint": url, "model": "m"},
            "sampler": {"budget": "10%"},
            "spend_cap_usd": 0,
        }
    )


def _serve(pipe: Connection) -> None:
    async def answer(request: web.Request) -> web.Response:
        await request.read()
        return web.Response(body=_ANSWER, content_type="application/json")

    async def serve() -> None:
        app = web.Application()
        app.router.add_post("/v1/chat/completions", answer)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        pipe.send(runner.addresses[0][1])
        await asyncio.Event().wait()

    uvloop.run(serve())


async def _cpu_us(call: Call, calls: int, in_flight: int) -> float:
    """Microseconds of this process's CPU per call."""
    numbers = iter(range(calls))

    async def work() -> None:
        for number in numbers:
            await call(number)

    gc.collect()
    start = time.process_time()
    await asyncio.gather(*(work() for _ in range(in_flight)))
    return (time.process_time() - start) / calls * 1e6


async def _measure(port: int, calls: int, in_flight: int) -> None:
    url = f"http://127.0.0.1:{port}/v1"
    file = _campaign(url)
    strategy = strategy_of(file)

    def request(number: int) -> ChatRequest:
        item = Item(id=str(number))
        item.content.parts.add(text=f"Text number {number}. " + "Sea level rise threatens Florida. " * 10)
        question = strategy.render(item)
        result_id("uid", "annotator", canonical_request(question, model=file.annotator, strategy=strategy.name))
        return ChatRequest(uid="uid", stage="annotator", model=file.annotator, messages=question.messages, schema=question.schema)

    first = request(0)
    body = wire.encode(first)
    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session,
        OpenAiCompatibleClient(clock=SystemClock(), calls_in_flight=in_flight) as client,
    ):

        async def bare(_: int) -> None:
            async with session.post(url + "/chat/completions", data=body) as response:
                orjson.loads(await response.read())

        async def client_alone(_: int) -> None:
            await client.complete(first)

        async def whole(number: int) -> None:
            strategy.read(await client.complete(request(number)), Item())

        rounds = [[await _cpu_us(call, calls, in_flight) for call in (bare, client_alone, whole)] for _ in range(6)]
    _report([sorted(column)[len(column) // 2] for column in zip(*rounds[1:], strict=True)])


def _report(medians_us: list[float]) -> None:
    for name, us in zip(("bare aiohttp", "client", "render, result id, client, read"), medians_us, strict=True):
        print(f"{name:32} {us:4.0f} us, ratio {us / medians_us[0]:.2f}")


def main(calls: int = 4000, in_flight: int = 64) -> None:
    """Start the endpoint, measure, stop it."""
    here, there = multiprocessing.Pipe()
    server = multiprocessing.Process(target=_serve, args=(there,), daemon=True)
    server.start()
    try:
        uvloop.run(_measure(here.recv(), calls, in_flight))
    finally:
        server.terminate()
        server.join()


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:]))
