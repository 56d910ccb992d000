"""What two stages cost, every guarantee switched on, against a bare loop that makes the same two calls per item.

    python tests/bench/engine.py [cpu] [wait] [replicas] [--json FILE]

cpu: CPU per call and throughput, where the endpoint's latency is the limit. wait: calls in flight that really fly, 1 s of latency and
500 at a time. replicas: one replica of a stage against four. All three where none is named.

Annotator and criticizer are processes of their own on a real Kafka and a real PostgreSQL; the stand-in endpoint is a process too. CPU is
that of our two processes alone, from the lifting of a pause to the last record on ``critiqued``.
"""

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil
import uvloop

sys.path.insert(0, str(Path(__file__).parents[2]))

from actlabel.annotator import domain as annotator
from actlabel.chat import wire
from actlabel.chat.port import ChatRequest, Message, TextPart
from actlabel.contracts.v1.item_pb2 import Item
from actlabel.core import topics
from actlabel.criticizer import domain as criticizer
from actlabel.host.campaign_life import delete_campaign
from actlabel.runtime.campaigns import EVERY_STAGE, Campaign
from tests.acceptance.data import Recording, synthetic
from tests.acceptance.fleet import Member
from tests.acceptance.pipeline import System, make_settings, system
from tests.bench import bare_loop
from tests.bench.real_services import real_services
from tests.bench.result import Figure
from tests.services.processes import free_port, start, wait_until

LOOK_S = 0.02
SETTLE_S = 8.0
IN_FLIGHT = 512  # calls of each stage
CPU_LATENCY_MS = 500.0
PRICE = {"input_usd_per_million_tokens": 0.1, "output_usd_per_million_tokens": 0.4}


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
    before = sum(map(_cpu_s, members))
    marks = await _until_out(arena, campaign, topics.CRITIQUED, items)
    cpu_s = sum(map(_cpu_s, members)) - before
    return {"cpu_s": cpu_s, "wall_s": items / _rate(marks, items)}


async def _until_out(arena: System, campaign: Campaign, kind: str, items: int) -> list[tuple[float, int]]:
    """Lift the pause and wait until all items are on a topic; return when how many were there."""
    out = topics.topic(kind, campaign.uid)
    await arena.host.campaigns.apply(campaign.file)
    marks: list[tuple[float, int]] = []
    done = 0
    while done < items:
        await asyncio.sleep(LOOK_S)
        arena.fleet.check()
        done = sum((await arena.host.stream.end_offsets(out)).values())
        marks.append((time.perf_counter(), done))
    return marks


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


async def cpu(arena: System, folder: Path, *, items: int, rounds: int, json_file: Path | None) -> None:
    """Compare CPU per call and throughput, the two in turns."""
    recording = synthetic(folder, items, name="cpu")
    members = await arena.fleet.start_all(topics.ANNOTATOR, topics.CRITICIZER)
    cpu_ratios, throughputs = [], []
    with endpoint(folder, recording, latency_ms=CPU_LATENCY_MS) as url:
        for number in range(rounds):
            campaign = await _paused(arena, f"cpu-{number}", url, recording, IN_FLIGHT)
            loop = await asyncio.to_thread(bare, folder, url, recording, campaign, 2 * IN_FLIGHT)
            _tell(number, "loop", items, loop)
            ours = await through_the_stages(arena, campaign, members, items)
            cpu_ratios.append(ours["cpu_s"] / loop["cpu_s"])
            throughputs.append(loop["wall_s"] / ours["wall_s"])
            _tell(number, "engine", items, ours)
            await delete_campaign(arena.host, campaign.name)
    for member in members:
        member.kill()
    what = f"{items} items, two calls each, {2 * IN_FLIGHT} calls in flight, endpoint of {CPU_LATENCY_MS:g} ms"
    command = "python tests/bench/engine.py cpu"
    figures = (
        Figure.of_rounds(
            cpu_ratios,
            name="engine, CPU",
            command=command,
            against="our CPU per model call, annotator and criticizer with every guarantee on, against a bare aiohttp loop",
            target="≤ 1.25",
            note=what,
        ),
        Figure.of_rounds(
            throughputs, name="engine, throughput", command=command, against="items per second, the same two", target="≥ 0.85", note=what
        ),
    )
    for figure in figures:
        figure.append(json_file)


def _tell(number: int, name: str, items: int, figure: dict[str, float]) -> None:
    per_call_us = figure["cpu_s"] / items / 2 * 1e6
    print(f"round {number}, {name}: {per_call_us:.0f} us CPU a call, {items / figure['wall_s']:.0f} items/s", flush=True)


async def wait(arena: System, folder: Path, *, json_file: Path | None) -> None:
    """Measure how many of the calls that may fly do fly."""
    latency_s, in_flight, items = 1.0, 500, 15_000
    recording = synthetic(folder, items, name="wait")
    members = await arena.fleet.start_all(topics.ANNOTATOR)
    with endpoint(folder, recording, latency_ms=latency_s * 1000) as url:
        campaign = await _paused(arena, "wait", url, recording, in_flight)
        seconds = await _annotated(arena, campaign, items)
    members[0].kill()
    await delete_campaign(arena.host, campaign.name)
    Figure(
        name="engine, waiting",
        command="python tests/bench/engine.py wait",
        against="calls per second of one annotator against calls in flight divided by latency",
        value=items / seconds / (in_flight / latency_s) * 100,
        unit="%",
        target="≥ 98 %",
        note=f"{in_flight} calls in flight, endpoint of {latency_s:g} s",
    ).append(json_file)


async def replicas(arena: System, folder: Path, *, json_file: Path | None) -> None:
    """Compare the rate of four replicas with that of one."""
    latency_s, in_flight, items = 0.5, 40, 2000
    rates = []
    for count in (1, 4):
        recording = synthetic(folder, items * count, name=f"replicas-{count}")
        while len([member for member in arena.fleet.members if member.alive]) < count:
            await arena.fleet.start_all(topics.ANNOTATOR)
        with endpoint(folder, recording, latency_ms=latency_s * 1000) as url:
            campaign = await _paused(arena, f"replicas-{count}", url, recording, in_flight)
            await asyncio.sleep(SETTLE_S)  # the group rebalances over the new topics before the pause is lifted
            rates.append(items * count / await _annotated(arena, campaign, items * count))
        await delete_campaign(arena.host, campaign.name)  # the assignor evens out the partitions of all topics together
    Figure(
        name="engine, replicas",
        command="python tests/bench/engine.py replicas",
        against="items per second of four replicas of the annotator against one",
        value=rates[1] / rates[0],
        target="≥ 3.8",
        note=f"{in_flight} calls in flight each, endpoint of {latency_s:g} s",
    ).append(json_file)


async def _annotated(arena: System, campaign: Campaign, items: int) -> float:
    """Lift the pause of the annotator alone; return the seconds that all items take at the rate between 20 and 80 %."""
    times = await _until_out(arena, campaign, topics.ANNOTATED, items)
    return items / _rate(times, items)


async def measure(folder: Path, given: argparse.Namespace) -> None:
    """Run what was asked for, on one Kafka and one PostgreSQL."""
    tuning = {"ACTLABEL_CALLS_IN_FLIGHT": str(8 * IN_FLIGHT), "ACTLABEL_WINDOW_ITEMS": str(8 * IN_FLIGHT)}
    with real_services() as services:
        settings = make_settings(folder, stream=services.stream, database=services.postgres.create_database())
        async with system(folder, settings, **tuning) as arena:
            wanted = given.what or ["cpu", "wait", "replicas"]
            if "cpu" in wanted:
                await cpu(arena, folder, items=given.items, rounds=given.rounds, json_file=given.json)
            if "wait" in wanted:
                await wait(arena, folder, json_file=given.json)
            if "replicas" in wanted:
                await replicas(arena, folder, json_file=given.json)


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", choices=["cpu", "wait", "replicas"])
    parser.add_argument("--items", type=int, default=20_000, help="in each round of cpu")
    parser.add_argument("--rounds", type=int, default=3, help="of cpu")
    parser.add_argument("--json", type=Path, help="append the figures to this file")
    with tempfile.TemporaryDirectory(prefix="actlabel-engine-") as folder:
        uvloop.run(measure(Path(folder), parser.parse_args()))


if __name__ == "__main__":
    main()
