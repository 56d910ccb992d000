"""Dead letters of a source, sent round again once what was wrong has been put right."""

import asyncio

from actlabel.core import topics
from actlabel.host.host import Host
from actlabel.runtime.campaign_file import parse_campaign
from actlabel.runtime.campaigns import Campaign
from actlabel.runtime.clock import SystemClock
from actlabel.runtime.health import Health
from actlabel.runtime.settings import Settings
from actlabel.source.replay import replay_source
from actlabel.stream.dead_records import DeadRecords
from tests.unit.source.test_source_take import FILE, Bed, bed, order, records

__all__ = ["bed"]


def host_of(bed: Bed) -> Host:
    return Host(
        settings=Settings(storage=str(bed.folder / "storage")), clock=SystemClock(), database=bed.database, stream=bed.stream,
        campaigns=bed.campaigns, health=Health(), stop=asyncio.Event(),
    )  # fmt: skip


async def applied(bed: Bed, source: str) -> Campaign:
    return await bed.campaigns.apply(parse_campaign(FILE.replace("{topic: orders}", source), where="orders.yaml"))


async def test_what_can_be_read_now_is_taken_and_the_rest_stays(bed: Bed) -> None:
    """The mapping was wrong; two records are good under the new one, one is not."""
    await bed.taker(id="no.such", text=("order.text",)).take(records(order("a"), order("b"), b"nope"))
    dead = DeadRecords(database=bed.database, stream=bed.stream, clock=SystemClock())
    assert len(await bed.dead()) == 3
    fixed = await applied(bed, "{topic: orders, fields: {id: order.id, text: order.text}}")
    assert await replay_source(host_of(bed), fixed, await bed.dead()) == 2
    assert [item.id for item in await bed.items()] == ["a", "b"]
    assert [each.reason for each in await dead.list(bed.campaign.uid)] == ["undecodable"]
    assert await replay_source(host_of(bed), fixed, await bed.dead()) == 0, "repeating it is harmless"
    assert len(await bed.items()) == 2


async def test_the_place_stays_the_id(bed: Bed) -> None:
    await bed.taker(id="no.such").take(records(order("a"), start=9))
    fixed = await applied(bed, "{topic: orders, fields: {text: order.text}}")
    assert await replay_source(host_of(bed), fixed, await bed.dead()) == 1
    assert [item.id for item in await bed.items()] == ["orders-3-9"]


async def test_the_other_replay_leaves_a_source_alone(bed: Bed) -> None:
    """It would append to a topic that is not ours."""
    await bed.taker().take(records(b"nope"))
    dead = DeadRecords(database=bed.database, stream=bed.stream, clock=SystemClock())
    assert await dead.replay(bed.campaign.uid) == 0
    assert len(await bed.dead()) == 1
    assert (await dead.show((await bed.dead())[0])).value == b"nope"
    assert set(await bed.stream.topics("")) == {topics.topic(kind, bed.campaign.uid) for kind in topics.KINDS}
