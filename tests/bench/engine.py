"""What two stages cost, every guarantee switched on, against a bare loop that makes the same two calls per item.

    python tests/bench/engine.py cpu        CPU per call and throughput, where the endpoint's latency is the limit
    python tests/bench/engine.py wait       calls in flight that really fly: 1 s of latency, 500 at a time
    python tests/bench/engine.py replicas   one replica of a stage against four

Annotator and criticizer are processes of their own on a real Kafka and a real PostgreSQL; the stand-in endpoint is a process too. CPU is
that of our two processes alone, from the lifting of a pause to the last record on ``critiqued``.
"""

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import aiohttp
import orjson
import psutil
import uvloop

sys.path.insert(0, str(Path(__file__).parents[2]))

from actlabel.annotator import domain as annotator
from actlabel.chat import wire
from actlabel.chat.port import ChatRequest, Message, TextPart
from actlabel.contracts.v1.item_pb2 import Item
from actlabel.core import topics
from actlabel.criticizer import domain as criticizer
from actlabel.runtime.campaigns import EVERY_STAGE, Campaign
from actlabel.runtime.settings import Settings
from tests.acceptance.data import Recording, synthetic
from tests.acceptance.fleet import Member
from tests.acceptance.pipeline import System, make_settings, system
from tests.bench import bare_loop
from tests.services.kafka_broker import KafkaBroker
from tests.services.postgres_server import PostgresServer
from tests.services.processes import free_port, start, wait_until

LOOK_S = 0.02
PRICE = {"input_usd_per_million_tokens": 0.1, "output_usd_per_million_tokens": 0.4}


@contextmanager
def services(folder: Path) -> Iterator[Settings]:
    """Start Kafka and PostgreSQL."""
    with tempfile.TemporaryDirectory(prefix="actlabel-") as broker_folder, tempfile.TemporaryDirectory(prefix="actlabel-") as server_folder:
        broker, server = KafkaBroker(Path(broker_folder)), PostgresServer(Path(server_folder))
        broker.start()
        server.start()
        try:
            yield make_settings(folder, stream=f"kafka://{broker.address}", database=server.create_database())
        finally:
            server.stop()
            broker.kill()


@contextmanager
def endpoint(folder: Path, recording: Recording, *, latency_ms: float) -> Iterator[str]:
    """Start a stand-in in a process of its own."""
    port, log = free_port(), folder / "standin.log"
    command = [sys.executable, "-m", "actlabel", "standin", "--answers", str(recording.answers), "--port", str(port)]
    process = start([*command, "--latency-ms", str(latency_ms)], log=log)
    wait_until(lambda: b"recorded answers" in log.read_bytes(), process=process, timeout_s=60, name="the stand-in", log=log)
    try:
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.kill()
        process.wait()


def bare(folder: Path, url: str, recording: Recording, campaign: Campaign, in_flight: int) -> dict[str, float]:
    """Run the bare loop once."""
    templates = folder / "templates"
    templates.write_bytes(b"\n".join(_templates(campaign)))
    command = [sys.executable, bare_loop.__file__, url, str(templates), str(recording.items), str(in_flight)]
    return dict(json.loads(subprocess.run(command, check=True, capture_output=True).stdout))


def _templates(campaign: Campaign) -> Iterator[bytes]:
    """Write the two requests of an item as the stages would, but for the marks around its text."""
    item = Item(id="template")
    item.content.parts.add(text=bare_loop.TEXT)
    item.annotation.label = bare_loop.LABEL
    label = criticizer.LABEL_UNDER_REVIEW + bare_loop.LABEL
    file = campaign.file
    asked = (
        (annotator.strategy_of(file).render(item), file.annotator, [bare_loop.TEXT]),
        (criticizer.strategy_of(file).render(item), file.criticizer, [bare_loop.TEXT, label]),
    )
    for question, model, texts in asked:
        user = Message(role="user", parts=tuple(TextPart(text=text) for text in texts))
        request = ChatRequest(uid="", stage="", model=model, messages=(question.messages[0], user), schema=question.schema)
        yield wire.encode(request)


async def through_the_stages(arena: System, campaign: Campaign, members: Sequence[Member], items: int) -> dict[str, float]:
    """Lift the pause; return seconds of our CPU, and of wall clock between a tenth and nine tenths of the records, scaled to all."""
    out = topics.topic(topics.CRITIQUED, campaign.uid)
    marks: list[tuple[float, int]] = []
    before = sum(map(_cpu_s, members))
    await arena.host.campaigns.apply(campaign.file)
    done = 0
    while done < items:
        await asyncio.sleep(LOOK_S)
        arena.fleet.check()
        done = sum((await arena.host.stream.end_offsets(out)).values())
        marks.append((time.perf_counter(), done))
    cpu_s = sum(map(_cpu_s, members)) - before
    return {"cpu_s": cpu_s, "wall_s": items / _rate(marks, items)}


def _rate(marks: Sequence[tuple[float, int]], items: int) -> float:
    """Items per second between 20 and 80 % of the items."""
    inside = [(at_s, done) for at_s, done in marks if 0.2 * items <= done <= 0.8 * items]
    (first_s, first), (last_s, last) = inside[0], inside[-1]
    return (last - first) / (last_s - first_s)


def _cpu_s(member: Member) -> float:
    times = psutil.Process(member.process.pid).cpu_times()
    return times.user + times.system


async def _paused(arena: System, name: str, url: str, recording: Recording, in_flight: int, **changes: object) -> Campaign:
    """Apply and ingest a campaign that is paused everywhere."""
    bounds = {"annotator__calls_in_flight": in_flight, "criticizer__calls_in_flight": in_flight, "criticizer__endpoint": url}
    prices = {"annotator__price": PRICE, "criticizer__price": PRICE, "spend_cap_usd": 1000}
    campaign = await arena.apply(name, url, **bounds, **prices, **changes)
    await arena.host.campaigns.pause(campaign.uid, EVERY_STAGE, "the benchmark has not begun")
    await arena.ingest(campaign, recording.items, seal=False)
    return campaign


async def _latency(url: str, latency_ms: float) -> None:
    control = url.removesuffix("/v1") + "/control"
    async with aiohttp.ClientSession() as http, http.post(control, data=orjson.dumps({"latency_ms": latency_ms})) as answer:
        answer.raise_for_status()


async def cpu(folder: Path, *, items: int, rounds: int, in_flight: int, latency_ms: float) -> None:
    """Compare CPU per call and throughput, the two in turns."""
    recording = synthetic(folder, items)
    tuning = {"ACTLABEL_CALLS_IN_FLIGHT": str(4 * in_flight), "ACTLABEL_WINDOW_ITEMS": str(max(2000, 8 * in_flight))}
    with services(folder) as settings, endpoint(folder, recording, latency_ms=latency_ms) as url:
        async with system(folder, settings, **tuning) as arena:
            members = await arena.fleet.start_all(topics.ANNOTATOR, topics.CRITICIZER)
            ratios: list[tuple[float, float]] = []
            for number in range(rounds):
                campaign = await _paused(arena, f"round-{number}", url, recording, in_flight)
                loop = await asyncio.to_thread(bare, folder, url, recording, campaign, 2 * in_flight)
                ours = await through_the_stages(arena, campaign, members, items)
                ratios.append((ours["cpu_s"] / loop["cpu_s"], loop["wall_s"] / ours["wall_s"]))
                per_call = [figure["cpu_s"] / items / 2 * 1e6 for figure in (loop, ours)]
                print(
                    f"round {number}: loop {per_call[0]:.0f} us a call, {items / loop['wall_s']:.0f} items/s; "
                    f"engine {per_call[1]:.0f} us a call, {items / ours['wall_s']:.0f} items/s; "
                    f"CPU ratio {ratios[-1][0]:.2f}, throughput ratio {ratios[-1][1]:.2f}",
                    flush=True,
                )
    cpu_ratio, throughput = (statistics.median(column) for column in zip(*ratios, strict=True))
    print(f"median CPU ratio {cpu_ratio:.2f}, throughput ratio {throughput:.2f}")


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["cpu"])
    parser.add_argument("--items", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--in-flight", type=int, default=128)
    parser.add_argument("--latency-ms", type=float, default=200.0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="actlabel-engine-") as folder:
        uvloop.run(cpu(Path(folder), items=given.items, rounds=given.rounds, in_flight=given.in_flight, latency_ms=given.latency_ms))


if __name__ == "__main__":
    main()
