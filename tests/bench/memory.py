"""Memory of every stage process over the number of items: ``python tests/bench/memory.py [--items 1000000] [--json FILE]``.

On Kafka and PostgreSQL, every stage a process of its own (`actlabel serve`), all at work at once on one campaign: from `actlabel ingest`,
a process too, until the last item is on `merged` or in the review queue. So that a million takes minutes and not hours, the items have
1,000 different texts: each text is asked once and its answer comes out of the store from then on. Everything else happens for every item.

The figure: the largest resident memory over the whole run against the largest before the stage had committed its first 10,000 items. The
sampler's draw, 24 bytes an item by design, is reported apart: what the process grew by during the draw, for each item.

``--slow-critic`` instead: texts that all differ, a critic ten times slower than the annotator, whose backlog grows behind it in Kafka.
"""

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import orjson
import psutil
import uvloop

sys.path.insert(0, str(Path(__file__).parents[2]))

from actlabel.core import topics
from actlabel.runtime.campaigns import Campaign
from tests.acceptance.fleet import Member, eventually
from tests.acceptance.pipeline import System, make_settings, system
from tests.bench.endpoint import endpoint
from tests.bench.peers import text
from tests.bench.real_services import RealServices, real_services
from tests.bench.result import Figure

EARLY = 10_000
_TEXTS = 1000
_MB = 1e6


@dataclass
class Trace:
    """The memory of one process, over what it has done."""

    name: str
    pid: int
    samples: list[tuple[float, int, int]] = field(default_factory=list)  # (seconds, items done, bytes resident)

    def sample(self, at_s: float, done: int) -> None:
        """Look once."""
        self.samples.append((at_s, done, psutil.Process(self.pid).memory_info().rss))

    def early(self, items: int) -> int:
        """The largest until so many items were done."""
        late = next((place for place, (_, done, _) in enumerate(self.samples) if done >= items), len(self.samples) - 1)
        return max(size for _, _, size in self.samples[: late + 1])

    def largest(self, *, until_s: float = float("inf")) -> int:
        """The largest of all."""
        return max(size for at_s, _, size in self.samples if at_s <= until_s)

    def at(self, at_s: float) -> int:
        """What it was then."""
        return next((size for when, _, size in reversed(self.samples) if when <= at_s), 0)

    def rows(self) -> str:
        """A line for each power of two of items, for a person."""
        shown, last = [], 0
        for _, done, size in self.samples:
            if done >= max(2 * last, 1000):
                shown.append(f"{done}: {size / _MB:.0f}")
                last = done
        return f"{self.name}: MB at items done {', '.join(shown)}; largest {self.largest() / _MB:.0f}"


class Watch:
    """Samples every process twice a second."""

    def __init__(self, arena: System, campaign: Campaign, members: Sequence[Member]) -> None:
        self.arena, self.campaign = arena, campaign
        self.traces = {member.role: Trace(member.role, member.process.pid) for member in members}
        self.started_s = time.monotonic()

    def now(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.started_s

    async def done(self, stage: str) -> int:
        """How many records of this campaign a stage has committed."""
        committed = await self.arena.host.stream.committed(topics.group(stage), topics.topic(topics.READS[stage], self.campaign.uid))
        return sum(offset or 0 for offset in committed.values())

    async def look(self) -> None:
        """Sample every stage once."""
        for stage, trace in self.traces.items():
            trace.sample(self.now(), await self.done(stage))

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Sample while the block runs."""

        async def often() -> None:
            while True:
                await self.look()
                await asyncio.sleep(0.5)

        task = asyncio.create_task(often())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def until(self, stage: str, count: int, *, within_s: float) -> None:
        """Wait until a stage has done so many."""

        async def there() -> bool:
            self.arena.fleet.check()
            return self.traces[stage].samples[-1:] != [] and self.traces[stage].samples[-1][1] >= count

        await eventually(there, what=f"{stage} at {count}", within_s=within_s)


def write_rows(path: Path, count: int, *, texts: int) -> Path:
    """Write ``count`` rows with ``texts`` different texts."""
    with path.open("wb") as file:
        for number in range(count):
            file.write(orjson.dumps({"id": f"row-{number}", "text": text(f"Statement {number % texts}")[:120]}) + b"\n")
    return path


def ingest(arena: System, rows: Path, name: str) -> tuple["subprocess.Popen[bytes]", Trace]:
    """Begin `actlabel ingest --seal` as a process."""
    settings = arena.host.settings
    places = {"ACTLABEL_STREAM": settings.stream, "ACTLABEL_DATABASE": settings.database, "ACTLABEL_STORAGE": settings.storage}
    command = [sys.executable, "-m", "actlabel", "ingest", name, str(rows), "--seal"]
    with (rows.parent / "ingest.log").open("wb") as log:
        process = subprocess.Popen(command, env={**os.environ, **places}, stdout=log, stderr=log)
    return process, Trace("ingest", process.pid)


async def take_in(arena: System, rows: Path, campaign: Campaign, watch: Watch) -> Trace:
    """Ingest, and watch that process too: its items are those on the items topic."""
    process, trace = ingest(arena, rows, campaign.name)
    topic = topics.topic(topics.ITEMS, campaign.uid)
    while process.poll() is None:
        try:
            trace.sample(watch.now(), sum((await arena.host.stream.end_offsets(topic)).values()))
        except psutil.NoSuchProcess:
            break
        await asyncio.sleep(0.5)
    if process.wait():
        raise SystemExit(f"ingest ended with {process.returncode}: {(rows.parent / 'ingest.log').read_text()[-1000:]}")
    return trace


async def flat(services: RealServices, folder: Path, url: str, given: argparse.Namespace) -> None:
    """A run of all stages over all items."""
    settings = make_settings(folder, stream=services.stream, database=services.postgres.create_database())
    count = given.items
    async with system(folder, settings) as arena:
        campaign = await arena.apply("flat", url, sampler__budget="10%")
        watch = Watch(arena, campaign, await arena.fleet.start_all(*topics.READS))
        rows = write_rows(folder / "rows.jsonl", count, texts=_TEXTS)
        async with watch.watching():
            taken = await take_in(arena, rows, campaign, watch)
            print(f"  ingested after {watch.now():.0f} s", flush=True)
            await watch.until(topics.SAMPLER, count, within_s=given.minutes * 60)
            await watch.look()
            drawn_from_s = watch.now()
            print(f"  all critiqued after {drawn_from_s:.0f} s", flush=True)
            await watch.until(topics.REVIEW_GATEWAY, count // 10, within_s=given.minutes * 60)
        print(f"  in the queue after {watch.now():.0f} s", flush=True)
    _report_flat([*watch.traces.values(), taken], drawn_from_s, count, given)


def _report_flat(traces: Sequence[Trace], drawn_from_s: float, count: int, given: argparse.Namespace) -> None:
    for trace in traces:
        print(f"  {trace.rows()}", flush=True)
        until_s = drawn_from_s if trace.name == topics.SAMPLER else float("inf")
        part = 10 if trace.name == topics.REVIEW_GATEWAY else 1  # the gateway sees what is selected
        first, most = trace.early(EARLY // part), trace.largest(until_s=until_s)
        Figure(
            name=f"memory, {trace.name}",
            command="python tests/bench/memory.py",
            against=f"largest resident memory over {count // part:,} items against that over the first {EARLY // part:,}",
            value=most / first,
            target="≤ 1.1",
            note=f"{first / _MB:.0f} MB, then {most / _MB:.0f} MB" + (", until the draw" if trace.name == topics.SAMPLER else ""),
        ).append(given.json)
    sampler = next(trace for trace in traces if trace.name == topics.SAMPLER)
    grew = sampler.largest() - sampler.at(drawn_from_s)
    Figure(
        name="memory, draw",
        command="python tests/bench/memory.py",
        against="what the sampler grew by during an exact draw, for each item",
        value=grew / count,
        unit=" bytes",
        note=f"24 bytes an item are kept by design; {grew / _MB:.0f} MB for {count:,} items",
    ).append(given.json)


async def slow_critic(services: RealServices, folder: Path, urls: tuple[str, str], given: argparse.Namespace) -> None:
    """An annotator with a critic behind it that is ten times slower."""
    settings = make_settings(folder, stream=services.stream, database=services.postgres.create_database())
    count = given.items
    async with system(folder, settings) as arena:
        slow = {"criticizer__endpoint": urls[1], "annotator__calls_in_flight": 32, "criticizer__calls_in_flight": 32}
        campaign = await arena.apply("slow", urls[0], **slow)
        watch = Watch(arena, campaign, await arena.fleet.start_all(topics.ANNOTATOR, topics.CRITICIZER))
        rows = write_rows(folder / "rows.jsonl", count, texts=count)
        async with watch.watching():
            await take_in(arena, rows, campaign, watch)
            await watch.until(topics.ANNOTATOR, count, within_s=given.minutes * 60)
            behind = count - await watch.done(topics.CRITICIZER)
    for stage, trace in watch.traces.items():
        print(f"  {trace.rows()}", flush=True)
        # the annotator after a tenth; the critic when the annotator was there, so with a backlog a tenth as long
        tenth_s = next(at_s for at_s, done, _ in watch.traces[topics.ANNOTATOR].samples if done >= count // 10)
        early = trace.largest(until_s=tenth_s)
        Figure(
            name=f"memory, slow critic, {stage}",
            command="python tests/bench/memory.py --slow-critic",
            against=f"largest resident memory until {behind:,} items waited for the critic, against that until a tenth of them did",
            value=trace.largest() / early,
            target="≤ 1.1",
            note=f"{count:,} items, the critic ten times slower; {early / _MB:.0f} MB, then {trace.largest() / _MB:.0f} MB",
        ).append(given.json)


def main() -> None:
    """Start what is needed, run, report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, help="1,000,000; 20,000 with --slow-critic")
    parser.add_argument("--slow-critic", action="store_true")
    parser.add_argument("--minutes", type=float, default=30.0, help="give up after so long without reaching the next step")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    given.items = given.items or (20_000 if given.slow_critic else 1_000_000)
    if not given.slow_critic and given.items < 2 * EARLY:
        parser.error(f"--items: at least {2 * EARLY:,}, or there is nothing to compare with")
    with tempfile.TemporaryDirectory(prefix="actlabel-memory-") as name, real_services() as services:
        folder = Path(name)
        if given.slow_critic:
            with endpoint(50) as fast, endpoint(500) as slow:
                uvloop.run(slow_critic(services, folder, (fast.url, slow.url), given))
        else:
            with endpoint() as server:
                uvloop.run(flat(services, folder, server.url, given))


if __name__ == "__main__":
    main()
