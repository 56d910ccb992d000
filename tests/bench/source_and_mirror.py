"""What following a topic and mirroring cost per record, on Kafka and PostgreSQL: ``python tests/bench/source_and_mirror.py``.

Against a bare loop on the same topic that polls, parses the JSON and commits. CPU seconds of this process and the wall clock; the broker
and the database are processes of their own. Prints microseconds per record and the ratios.
"""

import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import uvloop

sys.path.insert(0, str(Path(__file__).parents[2]))

from actlabel.contracts.v1.item_pb2 import CampaignRef, Content, Item, Part
from actlabel.core import topics
from actlabel.host.campaign_life import apply_campaign
from actlabel.host.host import Host, open_host
from actlabel.mirror.main import run as run_mirror
from actlabel.runtime.campaign_file import parse_campaign
from actlabel.runtime.campaigns import Campaign
from actlabel.source.main import run as run_source
from actlabel.stream.port import TopicSettings, only
from tests.acceptance.pipeline import make_settings
from tests.contract.stream_bench import Owner
from tests.services.kafka_broker import KafkaBroker
from tests.services.postgres_server import PostgresServer

RECORDS = 20_000
TOPIC = "bench.posts"
FILE = """
name: bench
task: {question: "Which?", labels: [good, bad]}
annotator: {endpoint: "http://127.0.0.1:1", model: m}
criticizer: {endpoint: "http://127.0.0.1:1", model: m}
sampler: {budget: 10%, mode: streaming}
spend_cap_usd: 1
source: {topic: bench.posts, fields: {id: id, text: text}}
mirror: {}
"""


async def main() -> None:
    """Start both servers, measure, print."""
    with tempfile.TemporaryDirectory(prefix="actlabel-") as folder:
        broker, server = KafkaBroker(Path(folder) / "kafka"), PostgresServer(Path(folder) / "postgres")
        for place in ("kafka", "postgres"):
            (Path(folder) / place).mkdir()
        broker.start()
        server.start()
        try:
            settings = make_settings(Path(folder), stream=f"kafka://{broker.address}", database=server.create_database())
            async with open_host(settings, runs_stages=True) as host:
                await measure(host)
        finally:
            broker.kill()
            server.stop()


async def measure(host: Host) -> None:
    """Fill the topics, then run each way over them."""
    await host.stream.create_topics({TOPIC: TopicSettings(partitions=12)})
    campaign = await apply_campaign(host, parse_campaign(FILE, where="bench"))
    for number in range(RECORDS):
        text = f"A post of some length about the number {number}, " * 4
        host.stream.producer().send(
            TOPIC, key=b"%d" % number, value=json.dumps({"id": f"post-{number}", "text": text, "shop": "e"}).encode()
        )
        merged = merged_item(campaign, number, text)
        topic = topics.topic(topics.MERGED, campaign.uid)
        host.stream.producer().send(topic, key=merged.id.encode(), value=merged.SerializeToString())
    await host.stream.producer().flush()

    bare = await cost("bare loop", lambda: bare_loop(host))
    for name, role, out in (("source", run_source, topics.ITEMS), ("mirror", run_mirror, topics.MERGED_JSON)):
        used = await cost(name, lambda role=role, out=out: run_until(host, role, topics.topic(out, campaign.uid)))
        print(f"{name} / bare loop: {used / bare:.1f} of its CPU")


def merged_item(campaign: Campaign, number: int, text: str) -> Item:
    """A decided item."""
    item = Item(id=f"post-{number}", campaign=CampaignRef(uid=campaign.uid, version=1), revision=1, batch=1)
    item.content.CopyFrom(Content(parts=[Part(name="text", text=text)]))
    item.annotation.label, item.critique.error_probability = "good", 0.5
    item.decision.draw, item.decision.cell_selected, item.decision.cell_size = 1, 1, 4
    return item


async def bare_loop(host: Host) -> None:
    """Poll, parse, commit."""
    owner, read = Owner(), 0
    consumer = await host.stream.consumer("actlabel.bench", topic_prefix=only(TOPIC), rebalance=owner)
    while read < RECORDS:
        records = await consumer.poll(consumer.assignment(), max_records=500, timeout_s=0.5)
        read += len([json.loads(record.value) for record in records])
        await consumer.commit({record.partition: record.offset + 1 for record in records})
    await host.stream.close_consumer(consumer)


async def run_until(host: Host, role: Callable[[Host], Awaitable[None]], topic: str) -> None:
    """Run a role until its topic holds everything."""
    host.stop.clear()
    task = asyncio.ensure_future(role(host))
    while sum((await host.stream.end_offsets(topic)).values()) < RECORDS:  # noqa: ASYNC110 - what is waited for has no event
        await asyncio.sleep(0.2)
    host.stop.set()
    await task


async def cost(name: str, work: Callable[[], Awaitable[None]]) -> float:
    """Print and return CPU microseconds per record."""
    cpu, wall = time.process_time(), time.monotonic()
    await work()
    used = (time.process_time() - cpu) / RECORDS * 1e6
    print(f"{name}: {used:.0f} us CPU a record, {RECORDS / (time.monotonic() - wall):.0f} records a second")
    return used


if __name__ == "__main__":
    uvloop.run(main())
