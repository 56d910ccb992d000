"""The stage loop alone under a kill, a stop and joins, on the real broker: ``python tests/bench/soak.py [ROUNDS]``.

Three processes of one stage, 150 calls in flight each, 12 partitions, 15,000 records, calls of about 0.2 s (lognormal), no result store:
what is called again here is what a store would have to answer. At 20 % of the records one process gets SIGKILL and another starts, at 50 %
one gets SIGTERM, at 70 % one more starts. Prints what was lost, called again and produced twice. The schedule is that of the soak with a
bare consumer loop that the design rests on.
"""

import asyncio
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import uvloop

sys.path.insert(0, str(Path(__file__).parents[2]))

from actlabel.contracts.v1.item_pb2 import CampaignRef, Item
from actlabel.core import topics
from actlabel.runtime.campaign_file import parse_campaign
from actlabel.runtime.campaigns import Campaign, Campaigns
from actlabel.runtime.clock import SystemClock
from actlabel.runtime.database.open import open_database
from actlabel.runtime.log import configure_logs
from actlabel.stream.dead_letters import DeadLetters
from actlabel.stream.kafka_stream import KafkaStream, open_kafka_stream
from actlabel.stream.limits import Limits
from actlabel.stream.outgoing import Outgoing
from actlabel.stream.port import TopicSettings
from actlabel.stream.stage import Stage
from tests.services.kafka_broker import KafkaBroker
from tests.services.processes import start

ITEMS = 15_000
PARTITIONS = 12
LIMITS = Limits(calls_in_flight=225, window_items=400, drain_deadline_s=10.0)  # 225: one campaign gets two thirds of it
_FILE = """
name: soak
task: {question: "Which?", labels: [bird, plane]}
annotator: {endpoint: "http://127.0.0.1:1", model: m}
criticizer: {endpoint: "http://127.0.0.1:1", model: m}
sampler: {budget: 10}
spend_cap_usd: 1
"""


async def work(address: str, database_address: str, log: Path) -> None:
    """Run one process of the stage until SIGTERM; every call is a line of ``log`` before it begins."""
    configure_logs(level="warning", json=False)
    database, clock = await open_database(database_address), SystemClock()
    stream = await open_kafka_stream(address, session_timeout_s=6.0)
    campaigns, stop = Campaigns(database, clock), asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    with log.open("ab", buffering=0) as calls:

        async def handle(item: Item, campaign: Campaign) -> Sequence[Outgoing]:
            calls.write(item.id.encode() + b"\n")
            await asyncio.sleep(random.lognormvariate(-1.7, 0.5))
            topic = topics.topic(topics.ANNOTATED, campaign.uid)
            return [Outgoing(topic=topic, key=item.id.encode(), value=item.SerializeToString())]

        stage = Stage(
            name=topics.ANNOTATOR,
            stream=stream,
            source_kind=topics.ITEMS,
            handle=handle,
            campaigns=campaigns,
            dead_letters=DeadLetters(database=database, stream=stream, campaigns=campaigns, clock=clock, per_minute=100),
            limits=LIMITS,
            clock=clock,
        )
        await stage.run(stop)
    await stream.close()
    await database.close()


class Soak:
    """One round: a campaign, its records, the processes, and what became of it all."""

    def __init__(self, folder: Path, stream: KafkaStream, address: str) -> None:
        self._folder = folder
        self._stream = stream
        self._address = address
        self._database = f"sqlite:///{folder}/actlabel.db"
        self._processes: list[subprocess.Popen[bytes]] = []

    def join(self) -> None:
        """Start one more process."""
        number = len(self._processes)
        command = [sys.executable, __file__, "work", self._address, self._database, str(self._folder / f"calls-{number}")]
        self._processes.append(start(command, log=self._folder / f"log-{number}"))

    async def run(self) -> str:
        """Return a line about the round."""
        database = await open_database(self._database)
        campaign = await Campaigns(database, SystemClock()).apply(parse_campaign(_FILE, where="soak"))
        await database.close()
        kinds = {topics.topic(kind, campaign.uid): TopicSettings(partitions=PARTITIONS) for kind in topics.KINDS}
        await self._stream.create_topics(kinds)
        await self._fill(campaign)
        for _ in range(3):
            self.join()
        began = time.monotonic()
        await self._schedule(campaign)
        took_s = time.monotonic() - began
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            process.wait()
        return await self._count(campaign, took_s)

    async def _fill(self, campaign: Campaign) -> None:
        topic, producer = topics.topic(topics.ITEMS, campaign.uid), self._stream.producer()
        ref = CampaignRef(uid=campaign.uid, version=campaign.version)
        items = [Item(id=f"item-{number}", campaign=ref) for number in range(ITEMS)]
        await asyncio.gather(*(producer.send(topic, key=item.id.encode(), value=item.SerializeToString()) for item in items))

    async def _schedule(self, campaign: Campaign) -> None:
        await self._produced(campaign, 0.2)
        self._processes[0].kill()
        self.join()
        await self._produced(campaign, 0.5)
        self._processes[1].terminate()
        await self._produced(campaign, 0.7)
        self.join()
        topic, group = topics.topic(topics.ITEMS, campaign.uid), topics.group(topics.ANNOTATOR)
        async with asyncio.timeout(180):
            while sum(offset or 0 for offset in (await self._stream.committed(group, topic)).values()) < ITEMS:  # noqa: ASYNC110
                await asyncio.sleep(0.1)

    async def _produced(self, campaign: Campaign, share: float) -> None:
        topic = topics.topic(topics.ANNOTATED, campaign.uid)
        async with asyncio.timeout(180):
            while sum((await self._stream.end_offsets(topic)).values()) < share * ITEMS:  # noqa: ASYNC110
                await asyncio.sleep(0.2)

    async def _count(self, campaign: Campaign, took_s: float) -> str:
        ends = await self._stream.end_offsets(topics.topic(topics.ANNOTATED, campaign.uid))
        out = Counter([r.key async for batch in _all(self._stream, ends) for r in batch])
        calls = sum(len(log.read_bytes().splitlines()) for log in self._folder.glob("calls-*"))
        lost, doubled = ITEMS - len(out), sum(out.values()) - len(out)
        return f"{took_s:.0f} s: lost {lost}, called again {calls - ITEMS}, produced twice {doubled}"


async def _all(stream: KafkaStream, ends):
    for partition, end in ends.items():
        async for batch in stream.scan(partition, start=0, end=end):
            yield batch


async def main(rounds: int) -> None:
    """Run the rounds on one broker."""
    configure_logs(level="warning", json=False)
    with tempfile.TemporaryDirectory(prefix="actlabel-") as place:
        broker = KafkaBroker(Path(place))
        broker.start()
        try:
            stream = await open_kafka_stream(broker.address, session_timeout_s=6.0)
            for _ in range(rounds):
                with tempfile.TemporaryDirectory(prefix="actlabel-") as folder:
                    print(await Soak(Path(folder), stream, broker.address).run(), flush=True)
            await stream.close()
        finally:
            broker.kill()


if __name__ == "__main__":
    if sys.argv[1:2] == ["work"]:
        uvloop.run(work(sys.argv[2], sys.argv[3], Path(sys.argv[4])))
    else:
        uvloop.run(main(int(sys.argv[1]) if sys.argv[1:] else 1))
