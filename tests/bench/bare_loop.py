"""The baseline of ``engine.py``: annotate and criticize on bare aiohttp, with no stream and no store.

    python tests/bench/bare_loop.py ENDPOINT TEMPLATES ITEMS CALLS_IN_FLIGHT

Reads its texts from ITEMS (JSON lines), asks both questions about each, reads both answers, and prints one JSON line: seconds of CPU and of
wall clock from the first request to the last answer. What it loses when it is killed is lost.
"""

import asyncio
import gc
import sys
import time
from pathlib import Path

import aiohttp
import orjson
import uvloop

TEXT, LABEL = "@@text@@", "@@label@@"  # what stands in the templates for the text of an item and the label under review


def _quoted(text: str) -> bytes:
    return orjson.dumps(text)[1:-1]


async def _both(session: aiohttp.ClientSession, url: str, text: str, annotate: list[bytes], criticize: list[bytes]) -> None:
    words = _quoted(text)
    async with session.post(url, data=words.join(annotate)) as response:
        answer = orjson.loads(await response.read())
    label = orjson.loads(answer["choices"][0]["message"]["content"])["label"]
    body = words.join(criticize).replace(LABEL.encode(), _quoted(label))
    async with session.post(url, data=body) as response:
        answer = orjson.loads(await response.read())
    orjson.loads(answer["choices"][0]["message"]["content"])


async def _run(url: str, texts: list[str], templates: list[list[bytes]], in_flight: int) -> dict[str, float]:
    waiting = iter(texts)

    async def work(session: aiohttp.ClientSession) -> None:
        for text in waiting:
            await _both(session, url, text, *templates)

    headers = {"Content-Type": "application/json"}
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), headers=headers) as session:
        gc.collect()
        cpu, wall = time.process_time(), time.perf_counter()
        await asyncio.gather(*(work(session) for _ in range(in_flight)))
        return {"cpu_s": time.process_time() - cpu, "wall_s": time.perf_counter() - wall}


def main(endpoint: str, templates: str, items: str, in_flight: str) -> None:
    """Run once and print."""
    texts = [orjson.loads(line)["text"] for line in Path(items).read_bytes().splitlines()]
    bodies = [line.encode().split(TEXT.encode()) for line in Path(templates).read_text().splitlines()]
    print(orjson.dumps(uvloop.run(_run(endpoint + "/chat/completions", texts, bodies, int(in_flight)))).decode())


if __name__ == "__main__":
    main(*sys.argv[1:])
