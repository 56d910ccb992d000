"""Existing JSON and Avro topics → campaigns → merged → JSON mirror and followed export, with both ends killed in the middle.

The oracle is what was written to the topics: source records = registered ⊎ duplicates ⊎ tombstones ⊎ dead by reason; merged = registered;
mirror and export = merged.
"""

import asyncio
import json
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from actlabel.core import topics
from actlabel.dataset.flat import MergedRecord
from actlabel.dataset.follow import FollowedExport, Rotation
from actlabel.dataset.followed_files import FollowedFiles
from actlabel.dataset.merged import final_label
from actlabel.runtime.campaigns import Campaign
from actlabel.runtime.settings import Settings
from actlabel.standin.faults import Faults
from actlabel.standin.recorded import RecordedAnswers
from actlabel.standin.server import Standin
from actlabel.stream.dead_records import DeadRecords
from actlabel.stream.kafka_stream import open_kafka_stream
from tests.acceptance.data import Recording, synthetic
from tests.acceptance.fleet import Fleet, Member, eventually
from tests.acceptance.foreign_topic import SCHEMA, SCHEMA_NUMBER, ForeignTopic, answers_of, as_avro, as_json, source_of
from tests.acceptance.pipeline import System, make_settings, one_process, system, working
from tests.services.kafka_broker import KafkaBroker
from tests.services.processes import start
from tests.services.schema_registry import SchemaRegistryServer

ITEMS = 700
PER_SECOND = 100
STREAMING = {"rule": "threshold", "budget": "10%", "audit_share": 0.1, "mode": "streaming", "block_items": 64, "block_seconds": 2}
ENDS = ("source", "source", "mirror")


async def test_topics_in_and_out_with_kills_at_both_ends(tmp_path: Path, kafka_settings: Settings, killable_kafka: KafkaBroker) -> None:
    in_json, in_avro = synthetic(tmp_path, ITEMS, name="json"), synthetic(tmp_path, ITEMS, name="avro", seed=2)
    answers = RecordedAnswers.load(answers_of(tmp_path, in_json, in_avro))
    far, near = ForeignTopic("shop.posts"), ForeignTopic("shop-posts-avro")
    tuning = {"ACTLABEL_WINDOW_ITEMS": "300"}
    async with (
        SchemaRegistryServer() as registry,
        Standin(answers, Faults(latency_ms=100)) as model,
        system(tmp_path, kafka_settings, **tuning) as arena,
    ):
        registry.register(SCHEMA_NUMBER, SCHEMA)
        elsewhere = await open_kafka_stream(killable_kafka.address, session_timeout_s=6.0)
        await far.create(elsewhere)
        await near.create(arena.host.stream)
        far.compose(in_json, as_json, seed=1)
        near.compose(in_avro, as_avro, seed=2)
        bounds = {"annotator__calls_in_flight": 40, "sampler": STREAMING, "mirror": {}}
        first = await arena.apply("json", model.endpoint, source=source_of(far.topic, servers=killable_kafka.address), **bounds)
        avro = {"format": "avro", "schema_registry": registry.address}
        second = await arena.apply("avro", model.endpoint, source=source_of(near.topic, **avro), **bounds)
        members = await arena.fleet.start_all(*topics.READS, *ENDS)
        exports = [export(arena.fleet, campaign, tmp_path) for campaign in (first, second)]
        async with (
            writing(far.write(elsewhere, per_second=PER_SECOND)),
            writing(near.write(arena.host.stream, per_second=PER_SECOND)),
            working(arena.reviewer(in_json, first.name)),
            working(arena.reviewer(in_avro, second.name)),
        ):
            await kill_in_the_middle(arena, members, exports, [first, second], tmp_path)
            for campaign, topic in ((first, far), (second, near)):
                await settled(arena, campaign, topic, tmp_path)
        await elsewhere.close()
        for campaign, topic, recording in ((first, far, in_json), (second, near, in_avro)):
            await ledger_is_exact(arena, campaign, topic, recording)
            await mirror_is_merged(arena, campaign)
            await export_is_merged(arena, campaign, tmp_path)
        assert [member.terminate() for member in (*exports, *(m for m in arena.fleet.members if m.alive and m.role in ENDS))] == [0] * 5


async def test_the_same_in_one_process_without_any_server(tmp_path: Path) -> None:
    """`actlabel up` follows and mirrors too; the topic lies in the embedded log."""
    recording, topic = synthetic(tmp_path, 120, name="small"), ForeignTopic("my-own")
    files = {"stream": f"sqlite:///{tmp_path}/stream.db", "database": f"sqlite:///{tmp_path}/actlabel.db"}
    async with (
        Standin(RecordedAnswers.load(recording.answers)) as model,
        one_process(tmp_path, make_settings(tmp_path, **files)) as arena,
    ):
        await topic.create(arena.host.stream)
        topic.compose(recording, as_json, seed=3)
        campaign = await arena.apply("small", model.endpoint, source=source_of(topic.topic), sampler=STREAMING, mirror={})
        out = FollowedFiles(tmp_path / "out-small", campaign_uid=campaign.uid, file_format="jsonl")
        following = FollowedExport(
            stream=arena.host.stream, campaigns=arena.host.campaigns, campaign=campaign, files=out,
            rotation=Rotation(items=50, seconds=0.5), clock=arena.host.clock,
        )  # fmt: skip
        stop = asyncio.Event()
        async with (
            writing(following.run(stop)),
            writing(topic.write(arena.host.stream, per_second=300)),
            working(arena.reviewer(recording, campaign.name)),
        ):
            await settled(arena, campaign, topic, tmp_path)
            stop.set()
        out.close()
        await ledger_is_exact(arena, campaign, topic, recording)
        await mirror_is_merged(arena, campaign)
        await export_is_merged(arena, campaign, tmp_path)


@asynccontextmanager
async def writing(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Let somebody write while the block runs."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        await task


def export(fleet: Fleet, campaign: Campaign, folder: Path) -> Member:
    """Start ``actlabel export --follow`` as a process of the fleet."""
    environment = dict(fleet.members[0].environment)
    out, log = folder / f"out-{campaign.name}", folder / f"export-{campaign.name}-{len(fleet.members)}.log"
    command = ["export", campaign.name, "--follow", "--format", "jsonl", "--out", str(out), "--rotate-items", "50", "--rotate-seconds", "1"]
    process = start([sys.executable, "-m", "actlabel", *command], log=log, environment=environment)
    member = Member(role=f"export-{campaign.name}", environment=environment, log=log, http_port=9, review_port=9, process=process)
    fleet.members.append(member)
    return member


async def kill_in_the_middle(arena: System, members: list[Member], exports: list[Member], campaigns: list[Campaign], folder: Path) -> None:
    """Kill sources, mirror and exports, each between a tenth and all of its work, and start them again."""
    for member in [member for member in members if member.role == "source"]:
        await between(lambda: registered(arena, campaigns), 0.05, what="sources in the middle")
        member.kill()
        arena.fleet.start("source")
    await between(lambda: mirrored(arena, campaigns), 0.1, what="mirror in the middle")
    next(member for member in members if member.role == "mirror").kill()
    arena.fleet.start("mirror")
    for number, campaign in enumerate(campaigns):
        await between(lambda: exported(campaigns, folder), 0.1, what="export in the middle")
        exports[number].kill()
        exports[number] = export(arena.fleet, campaign, folder)


async def between(count: Callable[[], Awaitable[int]], least: float, *, what: str) -> None:
    total = 2 * ITEMS
    await eventually(lambda: _at_least(count, least * total), what=what)
    assert await count() < total, f"{what}: it was done before it could be killed"


async def _at_least(count: Callable[[], Awaitable[int]], least: float) -> bool:
    return await count() >= least


async def registered(arena: System, campaigns: list[Campaign]) -> int:
    rows = [await arena.host.database.fetch("SELECT COUNT(*) AS n FROM item WHERE uid = $1", each.uid) for each in campaigns]
    return sum(row[0]["n"] for row in rows)


async def mirrored(arena: System, campaigns: list[Campaign]) -> int:
    rows = [await arena.host.database.fetch("SELECT COUNT(*) AS n FROM mirrored WHERE uid = $1", each.uid) for each in campaigns]
    return sum(row[0]["n"] for row in rows)


async def exported(campaigns: list[Campaign], folder: Path) -> int:
    return sum(len({row["id"] for row in rows_of(campaign, folder)}) for campaign in campaigns)


def rows_of(campaign: Campaign, folder: Path) -> list[dict]:
    parts = sorted((folder / f"out-{campaign.name}").glob("part-*.jsonl"))
    return [json.loads(line) for part in parts for line in part.read_text().split("\n") if line]


async def settled(arena: System, campaign: Campaign, topic: ForeignTopic, folder: Path) -> None:
    """Wait until nothing moves from the first topic to the last file."""

    async def all_in() -> bool:
        arena.fleet.check()
        dead = await arena.host.database.fetch("SELECT COUNT(*) AS n FROM dead WHERE uid = $1", campaign.uid)
        return await registered(arena, [campaign]) == len(topic.items) and topic.dead and dead[0]["n"] == len(topic.dead)

    await eventually(all_in, what=f"every record of {topic.topic} registered or dead")
    await arena.at_rest(campaign, reviewed=True)
    merged = {item.id: (item.decision.draw, item.review.revision) for item in (await arena.merged(campaign)).values()}

    async def all_out() -> bool:
        arena.fleet.check()
        return best(rows_of(campaign, folder)) == merged == best(await mirror_rows(arena, campaign))

    await eventually(all_out, what=f"mirror and export of {campaign.name} complete")


def best(rows: list[dict]) -> dict[str, tuple[int, int]]:
    """What a reader keeps: the highest of each id."""
    kept: dict[str, tuple[int, int]] = {}
    for row in rows:
        rank = row["draw"], row["revision"]
        kept[row["id"]] = max(kept.get(row["id"], rank), rank)
    return kept


async def mirror_rows(arena: System, campaign: Campaign) -> list[dict]:
    """Every record of the mirror, partition by partition in order."""
    rows = []
    for partition, end in (await arena.host.stream.end_offsets(topics.topic(topics.MERGED_JSON, campaign.uid))).items():
        async for records in arena.host.stream.scan(partition, start=0, end=end):
            for record in records:
                rows.append(json.loads(record.value))
                assert record.key.decode() == rows[-1]["id"]
    return rows


async def ledger_is_exact(arena: System, campaign: Campaign, topic: ForeignTopic, recording: Recording) -> None:
    merged = await arena.merged(campaign)
    assert set(merged) == set(topic.items) == set(recording.truth), "merged = registered = the good ids of the topic"
    assert {item.id: item.content.parts[0].text for item in merged.values()} == topic.items, "the content that came first"
    dead = await DeadRecords(database=arena.host.database, stream=arena.host.stream, clock=arena.host.clock).list(campaign.uid)
    assert {(each.partition.number, each.offset): each.reason for each in dead} == topic.dead, "every bad record, with its place and why"
    assert all(each.stage == "source" and each.partition.topic == topic.topic for each in dead)
    assert topic.records == len(merged) + topic.duplicates + topic.tombstones + len(dead)
    print(f"{campaign.name}: {topic.records} records = {len(merged)} merged + {topic.duplicates} duplicates + "
          f"{topic.tombstones} tombstones + {len(dead)} dead {dict(Counter(topic.dead.values()))}")  # fmt: skip


async def mirror_is_merged(arena: System, campaign: Campaign) -> None:
    rows = await mirror_rows(arena, campaign)
    merged = await arena.merged(campaign)
    last = {row["id"]: row for row in rows}  # what compaction keeps
    assert set(last) == set(merged)
    for item in merged.values():
        row = MergedRecord.model_validate(last[item.id])
        assert (row.label, row.draw, row.revision) == (final_label(item), item.decision.draw, item.review.revision)
        assert row.pi == item.decision.cell_selected / item.decision.cell_size
    ranks: dict[str, tuple[int, int]] = {}
    for row in rows:
        rank = row["draw"], row["revision"]
        assert rank >= ranks.get(row["id"], rank), "an older record never follows a newer one"
        ranks[row["id"]] = rank
    print(f"{campaign.name}: mirror {len(rows)} records for {len(merged)} items")


async def export_is_merged(arena: System, campaign: Campaign, folder: Path) -> None:
    rows = rows_of(campaign, folder)
    merged = await arena.merged(campaign)
    doubled = Counter((row["id"], row["draw"], row["revision"], row["content_revision"]) for row in rows)
    assert max(doubled.values()) == 1, "no record is in two lines"
    kept = best(rows)
    for row in rows:
        if (row["draw"], row["revision"]) == kept[row["id"]]:
            assert row["label"] == final_label(merged[row["id"]])
