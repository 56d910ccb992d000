"""The review queue on real databases and real streams: several replicas, several reviewers, kills in between."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from actlabel.contracts.v1.item_pb2 import Item
from actlabel.core import topics
from actlabel.review_gateway.domain import Caller
from actlabel.review_gateway.outbox import Outbox
from actlabel.review_gateway.refusals import LeaseLost
from actlabel.runtime.clock import FakeClock, SystemClock
from actlabel.runtime.database.open import open_database
from actlabel.runtime.database.port import Database
from actlabel.runtime.settings import Settings
from actlabel.stream.open import open_stream
from actlabel.stream.port import Stream, TopicSettings
from tests.unit.review_gateway.gateway import running_gateway
from tests.unit.review_gateway.records import ANN, BOB, ControlledProducer, Desk, campaign_file, open_desk, text_item


@pytest.fixture
async def replicas(database_address: str) -> AsyncIterator[list[Database]]:
    """The databases of three gateway processes; on SQLite there is one process, and its one database."""
    count = 1 if database_address.startswith("sqlite") else 3
    opened = [await open_database(database_address) for _ in range(count)]
    yield opened
    for database in opened:
        await database.close()


async def desks_of(replicas: list[Database], clock: FakeClock) -> list[Desk]:
    return [await open_desk(database, clock) for database in replicas]


async def test_two_reviewers_never_hold_the_same_item(replicas: list[Database]) -> None:
    clock = FakeClock()
    desks = await desks_of(replicas, clock)
    ids = {f"item-{number}" for number in range(120)}
    await desks[0].put(*ids)
    holder: dict[str, str] = {}
    answered: list[str] = []

    async def work(number: int) -> None:
        desk, caller = desks[number % len(desks)], Caller(name=f"reviewer-{number}", is_lead=False)
        while held := await desk.take(caller, 3):
            for item_id in held:
                assert item_id not in holder, f"{item_id} is with {holder[item_id]} and with {caller.name}"
                holder[item_id] = caller.name
            for item_id, token in held.items():
                await desk.say(caller, item_id, token)
                answered.append(item_id)

    await asyncio.gather(*(work(number) for number in range(8)))
    assert len(set(holder.values())) > 1, "several reviewers took part"
    assert sorted(answered) == sorted(ids)


async def test_of_two_answers_at_once_one_wins_and_the_other_hears_of_it(replicas: list[Database]) -> None:
    clock = FakeClock()
    desks = await desks_of(replicas, clock)
    await desks[0].put(*(f"i{number}" for number in range(20)))
    old = await desks[0].take(ANN, 20)
    clock.advance(61)
    new = await desks[-1].take(BOB, 20)
    assert set(new) == set(old)

    async def answer(desk: Desk, caller: Caller, item_id: str, token: str) -> str:
        try:
            await desk.say(caller, item_id, token)
        except LeaseLost:
            return "refused"
        return "taken"

    late = await asyncio.gather(
        *(answer(desks[0], ANN, *one) for one in old.items()), *(answer(desks[-1], BOB, *one) for one in new.items())
    )
    assert late == ["refused"] * 20 + ["taken"] * 20


async def test_several_outboxes_publish_every_answer_once(replicas: list[Database]) -> None:
    clock = FakeClock()
    desks = await desks_of(replicas, clock)
    ids = [f"i{number}" for number in range(40)]
    await desks[0].put(*ids)
    for item_id, token in (await desks[0].take(ANN, 40)).items():
        await desks[0].say(ANN, item_id, token)
    clock.advance(11)
    await asyncio.gather(*(desk.outbox.drain() for desk in desks))
    sent = [item.id for desk in desks for item in desk.producer.merged()]
    assert sorted(sent) == sorted(ids)


async def test_an_undo_on_one_replica_cannot_overtake_a_produce_of_another(replicas: list[Database]) -> None:
    clock = FakeClock()
    desks = await desks_of(replicas, clock)
    here, there = desks[0], desks[-1]
    await here.put("a")
    await here.say(ANN, "a", (await here.take(ANN))["a"], "con")
    clock.advance(11)
    here.producer.is_held = True
    publishing = asyncio.create_task(here.outbox.publish_due())
    await asyncio.wait_for(here.producer.until_sent(1), 20)
    undone = await there.answers.undo(there.campaign, ANN, "a")
    assert undone.is_published
    assert await there.say(ANN, "a", undone.lease.token, "pro") == 2
    clock.advance(11)
    other = ControlledProducer()
    elsewhere = Outbox(database=replicas[-1], producer=other, clock=clock)
    assert await elsewhere.publish_due() == 0, "the older revision is still on its way"
    here.producer.acknowledge()
    await publishing
    await elsewhere.drain()
    assert [(item.review.revision, item.review.label) for item in other.merged()] == [(2, "pro")]


async def test_undo_and_publication_at_the_same_moment_agree(replicas: list[Database]) -> None:
    """For every item either the undo came first and nothing of it is on the topic, or it came second and knew."""
    clock = FakeClock()
    desks = await desks_of(replicas, clock)
    ids = [f"i{number}" for number in range(30)]
    await desks[0].put(*ids)
    for item_id, token in (await desks[0].take(ANN, 30)).items():
        await desks[0].say(ANN, item_id, token, "con")
    clock.advance(11)

    async def undo(number: int, item_id: str) -> bool:
        desk = desks[number % len(desks)]
        return (await desk.answers.undo(desk.campaign, ANN, item_id)).is_published

    knew, _ = await asyncio.gather(
        asyncio.gather(*(undo(number, item_id) for number, item_id in enumerate(ids))),
        asyncio.gather(*(desk.outbox.publish_due() for desk in desks)),
    )
    await asyncio.gather(*(desk.outbox.drain() for desk in desks))
    sent = {item.id for desk in desks for item in desk.producer.merged()}
    assert sent == {item_id for item_id, published in zip(ids, knew, strict=True) if published}


async def test_from_the_sampler_to_merged_on_real_backends(database: Database, stream: Stream, tmp_path: Path) -> None:
    async with running_gateway(database=database, stream=stream, folder=tmp_path) as gateway:
        campaign = await gateway.apply(campaign_file(undo_seconds=0))
        items = [text_item(campaign, f"letter-{number}") for number in range(25)]
        await asyncio.wait_for(gateway.send(campaign, items), 60)
        desk = await open_desk(database, SystemClock())
        answers = {}
        for item_id, token in (await desk.take(ANN, 25)).items():
            answers[item_id] = "pro" if hash(item_id) % 2 else None
            await desk.say(ANN, item_id, token, answers[item_id])
        merged = await asyncio.wait_for(gateway.until_merged(campaign, 25), 60)
        again = [text_item(campaign, f"letter-{number}") for number in range(25)]
        producer = gateway.host.stream.producer()
        topic = topics.topic(topics.REVIEW, campaign.uid)
        await asyncio.gather(*(producer.send(topic, key=item.id.encode(), value=item.SerializeToString()) for item in again))
        await gateway.stop()
        assert {item.id: item.review.label or None for item in merged} == answers
        assert len(await gateway.merged(campaign)) == 25, "a redelivery leads to nothing"


_DYING = """
import asyncio, os, sys
from actlabel.host.host import open_host
from actlabel.review_gateway.outbox import Outbox
from actlabel.runtime.settings import load_settings

async def main():
    async with open_host(load_settings(), runs_stages=True) as host:
        producer = host.stream.producer()
        class Dying:
            async def send(self, topic, *, key, value, headers=()):
                await producer.send(topic, key=key, value=value)
                await producer.flush()
                os.kill(os.getpid(), 9)
        await Outbox(database=host.database, producer=Dying(), clock=host.clock).publish_due()

asyncio.run(main())
"""


async def test_a_process_killed_between_produce_and_mark_leaves_one_record_of_the_same_bytes_more(
    database: Database, database_address: str, tmp_path: Path
) -> None:
    stream_address = f"sqlite:///{tmp_path / 'stream.db'}"
    clock = SystemClock()
    desk = await open_desk(database, clock, campaign_file(undo_seconds=0))
    topic = topics.topic(topics.MERGED, desk.campaign.uid)
    await desk.put("a")
    await desk.say(ANN, "a", (await desk.take(ANN))["a"], "con")

    stream = await open_stream(Settings(stream=stream_address), runs_stages=True)
    await stream.create_topics({topic: TopicSettings(partitions=1)})
    await stream.close()
    environment = {**os.environ, "ACTLABEL_STREAM": stream_address, "ACTLABEL_DATABASE": database_address}
    died = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", _DYING], env=environment, capture_output=True, timeout=60, check=False
    )
    assert died.returncode == -signal.SIGKILL, died.stderr.decode()

    undone = await desk.answers.undo(desk.campaign, ANN, "a")
    assert undone.is_published, "the dead process may have published it, and did"
    stream = await open_stream(Settings(stream=stream_address), runs_stages=True)
    await Outbox(database=database, producer=stream.producer(), clock=clock).drain()
    await desk.say(ANN, "a", undone.lease.token, "pro")
    await Outbox(database=database, producer=stream.producer(), clock=clock).drain()
    values = []
    for partition, end in (await stream.end_offsets(topic)).items():
        async for batch in stream.scan(partition, start=0, end=end):
            values += [record.value for record in batch]
    await stream.close()
    assert [Item.FromString(value).review.label for value in values] == ["con", "con", "pro"]
    assert values[0] == values[1]
