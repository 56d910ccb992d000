"""What an item costs in processor and disk, and what that makes of a day's items: ``python tests/bench/capacity.py [--items 10000]``.

Every stage is a process of its own on Kafka and PostgreSQL; all texts differ, so that each item is two model calls. Measured for each
item: CPU of each stage's process from the first item to rest, bytes on each topic and in each table (indices included). From these comes
the table of k8s/README.md, by the formulas there. Sizes are those of this run's texts (``--text-bytes``); images by reference weigh as
little, inline ones more.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from math import ceil
from pathlib import Path

import orjson
import psutil
import uvloop

sys.path.insert(0, str(Path(__file__).parents[2]))

from actlabel.core import topics
from actlabel.runtime.campaigns import Campaign
from tests.acceptance.fleet import Member
from tests.acceptance.pipeline import System, make_settings, system
from tests.bench.endpoint import endpoint
from tests.bench.real_services import RealServices, real_services

_BUDGET = 0.1
_PRICE_USD = {"input_usd_per_million_tokens": 0.15, "output_usd_per_million_tokens": 0.6}
_CORE_SHARE = 0.6  # of a core that a stage shall use for long: the rest is for catching up
_SECONDS_A_DAY = 86_400.0
_SIZES = (10**4, 10**6, 10**8, 10**9)
_KAFKA_COPIES, _DATABASE_COPIES = 3, 3
_CALLS_IN_FLIGHT = 500


def write_rows(path: Path, count: int, size: int) -> Path:
    """Write rows whose texts all differ, of ``size`` bytes each."""
    with path.open("wb") as file:
        for number in range(count):
            text = f"Statement {number} of a day. "
            file.write(orjson.dumps({"id": f"row-{number:010d}", "text": (text * (1 + size // len(text)))[:size]}) + b"\n")
    return path


async def measure(services: RealServices, folder: Path, given: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Run a campaign to rest; return for each item microseconds of CPU by stage, bytes by topic and by table."""
    settings = make_settings(folder, stream=services.stream, database=services.postgres.create_database())
    rows = write_rows(folder / "rows.jsonl", given.items, given.text_bytes)
    with endpoint(latency_ms=given.latency_ms) as model:
        async with system(folder, settings) as arena:
            models = {f"{stage}__price": _PRICE_USD for stage in ("annotator", "criticizer")}
            campaign = await arena.apply("capacity", model.url, sampler__budget=f"{_BUDGET:.0%}", spend_cap_usd=1e6, **models)
            members = await arena.fleet.start_all(*topics.READS)
            before = _cpu_s(members)
            began_s = time.monotonic()
            await arena.ingest(campaign, rows)
            await arena.at_rest(campaign, reviewed=False, within_s=1800)
            print(f"{given.items} items in {time.monotonic() - began_s:.0f} s", flush=True)
            after = _cpu_s(members)
            return {
                "cpu_us": {stage: (after[stage] - before[stage]) / given.items * 1e6 for stage in after},
                "topic_bytes": {kind: size / given.items for kind, size in _topic_bytes(services, campaign).items()},
                "table_bytes": {name: size / given.items for name, size in (await _table_bytes(arena)).items()},
            }


def _cpu_s(members: Sequence[Member]) -> dict[str, float]:
    times = {member.role: psutil.Process(member.process.pid).cpu_times() for member in members}
    return {role: one.user + one.system for role, one in times.items()}


def _topic_bytes(services: RealServices, campaign: Campaign) -> dict[str, int]:
    """Sum the segments of every topic; what is preallocated for indices does not count."""
    sizes = dict.fromkeys(topics.KINDS, 0)
    for file in services.kafka.folder.rglob(f"*{campaign.uid}-*/*.log"):
        sizes[file.parent.name.split(".")[1]] += file.stat().st_size
    return sizes


async def _table_bytes(arena: System) -> dict[str, int]:
    rows = await arena.host.database.fetch(
        "SELECT relname AS name, pg_total_relation_size(relid) AS size FROM pg_catalog.pg_statio_user_tables"
    )
    return {str(row["name"]): int(row["size"]) for row in rows if row["size"] > 100_000}


def table(cost: Mapping[str, Mapping[str, float]], *, latency_s: float) -> list[str]:
    """Write the rows of the table: a day's items to replicas, calls in flight, partitions and disk."""
    kafka_gb, database_gb = (sum(cost[name].values()) / 1e9 for name in ("topic_bytes", "table_bytes"))
    lines = []
    for items in _SIZES:
        rate = items / _SECONDS_A_DAY
        in_flight = rate * latency_s
        pods = {
            stage: max(ceil(rate * cost["cpu_us"][stage] / 1e6 / _CORE_SHARE), ceil(in_flight / _CALLS_IN_FLIGHT))
            for stage in ("annotator", "criticizer")
        }
        sampler = max(ceil(rate * cost["cpu_us"]["sampler"] / 1e6 / _CORE_SHARE), 1)
        partitions = max(12, 2 * max(pods.values()))
        lines.append(
            f"| {items:.0e} | {rate:,.1f} | {in_flight:,.0f} | {pods['annotator']} | {pods['criticizer']} | {sampler} | {partitions} "
            f"| {items * kafka_gb * _KAFKA_COPIES:,.1f} | {items * database_gb * _DATABASE_COPIES:,.1f} |"
        )
    return lines


async def _main(given: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory(prefix="actlabel-capacity-") as folder, real_services() as services:
        cost = await measure(services, Path(folder), given)
    for name, parts in cost.items():
        shown = ", ".join(f"{part} {value:.0f}" for part, value in sorted(parts.items(), key=lambda pair: -pair[1]))
        print(f"{name} an item: {shown}; together {sum(parts.values()):.0f}")
    print(
        "| items a day | items/s | calls in flight of each | annotators | criticizers | samplers | partitions | Kafka GB | PostgreSQL GB |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    print("\n".join(table(cost, latency_s=2.0)))


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=10_000)
    parser.add_argument("--text-bytes", type=int, default=500, help="of each text")
    parser.add_argument("--latency-ms", type=float, default=100.0)
    uvloop.run(_main(parser.parse_args()))


if __name__ == "__main__":
    main()
