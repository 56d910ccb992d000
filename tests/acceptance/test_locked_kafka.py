"""The whole pipeline on a Kafka with locks: every stage is a user of its own, with the rights of its KafkaUser in k8s/ and no other."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final

import yaml

from actlabel.annotator.main import run as run_annotator
from actlabel.core import topics
from actlabel.criticizer.main import run as run_criticizer
from actlabel.dataset.merged import read_merged
from actlabel.host.host import open_host
from actlabel.mirror.main import run as run_mirror
from actlabel.review_gateway.main import run as run_review_gateway
from actlabel.runtime.settings import Settings
from actlabel.runtime.tracing import root_headers
from actlabel.sampler.main import run as run_sampler
from actlabel.source.main import run as run_source
from actlabel.standin.recorded import RecordedAnswers
from actlabel.standin.server import Standin
from actlabel.stream.kafka_stream import open_kafka_stream
from actlabel.stream.port import TopicSettings
from tests.acceptance.data import Recording, synthetic
from tests.acceptance.fleet import Fleet, eventually
from tests.acceptance.pipeline import System, make_settings, working
from tests.services.secured_kafka import CLUSTER_USERS, SecuredKafka

_USERS: Final = Path(__file__).parents[2] / "k8s/components/kafka/users.yaml"
_FOREIGN: Final = "posts.of.others"
_STAGES: Final = {
    topics.ANNOTATOR: run_annotator,
    topics.CRITICIZER: run_criticizer,
    topics.SAMPLER: run_sampler,
    topics.REVIEW_GATEWAY: run_review_gateway,
    topics.SOURCE: run_source,
    topics.MIRROR: run_mirror,
}


def _rights() -> dict[str, set[tuple[str, str, str, str]]]:
    found = {}
    for user in yaml.safe_load_all(_USERS.read_text(encoding="utf-8")):
        rules = user["spec"]["authorization"]["acls"]
        found[user["metadata"]["name"]] = {
            (rule["resource"]["type"], rule["resource"].get("name", ""), rule["resource"].get("patternType", "literal"), operation)
            for rule in rules
            for operation in rule["operations"]
        }
    return found


@asynccontextmanager
async def _stages(kafka: SecuredKafka, settings: Settings) -> AsyncIterator[None]:
    """Run every stage as its own user; the first that fails ends the test."""
    test = asyncio.current_task()
    async with AsyncExitStack() as stack:
        hosts, tasks = [], []
        for stage, run in _STAGES.items():
            own = settings.model_copy(update={"stream": kafka.scram(f"{stage}-kafka")})
            hosts.append(await stack.enter_async_context(open_host(own, runs_stages=True)))
            tasks.append(asyncio.create_task(run(hosts[-1]), name=stage))
            tasks[-1].add_done_callback(lambda ended: ended.exception() and test and test.cancel())
        try:
            yield
            for host in hosts:
                assert not host.health.ready(), "every stage is ready with what it may do"
        finally:
            for host in hosts:
                host.stop.set()
            await asyncio.gather(*tasks)


async def _looked_at_by_keda(kafka: SecuredKafka, group: str) -> dict[str, int]:
    """Read a group's offsets as KEDA does, without naming topics; (topic → committed)."""
    stream = await open_kafka_stream(kafka.scram("keda-kafka"), session_timeout_s=6.0)
    try:
        offsets = await stream._topics._admin.list_consumer_group_offsets(group)
        await stream.end_offsets(next(place.topic for place in offsets))
    finally:
        await stream.close()
    committed: dict[str, int] = {}
    for place, at in offsets.items():
        committed[place.topic] = committed.get(place.topic, 0) + at.offset
    return committed


async def test_every_stage_works_with_login_over_tls_and_exactly_its_rights(
    tmp_path: Path, secured_kafka: SecuredKafka, postgres_address: str
) -> None:
    recording = synthetic(tmp_path, 60)
    settings = make_settings(tmp_path, stream=secured_kafka.scram("operator-kafka"), database=postgres_address)
    rights = _rights()
    assert rights.keys() == set(CLUSTER_USERS)
    for user, own in rights.items():
        await secured_kafka.allow_exactly(user, own)
    followed = {("topic", _FOREIGN, "literal", operation) for operation in ("Describe", "Read")}
    await secured_kafka.allow_exactly("source-kafka", followed)  # k8s/README.md: whoever follows a topic adds it
    async with (
        Standin(RecordedAnswers.load(recording.answers)) as endpoint,
        open_host(settings, runs_stages=False) as host,
        open_host(settings.model_copy(update={"stream": secured_kafka.cert()}), runs_stages=False) as owner,
    ):
        await owner.stream.create_topics({_FOREIGN: TopicSettings(partitions=1)})
        gateway = f"http://127.0.0.1:{settings.review_port}"
        boss = System(host=host, gateway=lambda: gateway, fleet=Fleet(folder=tmp_path, settings=settings))
        campaign = await boss.apply("locked", endpoint.endpoint, sampler__budget=12, partitions=3, mirror={})
        await boss.ingest(campaign, recording.items)
        streaming = {"budget": "20%", "mode": "streaming", "block_items": 8, "block_seconds": 1}
        fed = await boss.apply(
            "fed", endpoint.endpoint, partitions=1, source={"topic": _FOREIGN, "fields": {"id": "id"}}, sampler=streaming
        )
        await _write(owner.stream.producer(), recording, count=5)
        async with _stages(secured_kafka, settings), working(boss.reviewer(recording, campaign.name)) as reviewer:
            await boss.at_rest(campaign, reviewed=True)
            await eventually(lambda: _at_end(host, topics.MERGED_JSON, campaign.uid, 60), what="the mirror has all", within_s=60)
            await eventually(lambda: _at_end(host, topics.ANNOTATED, fed.uid, 5), what="the source has all", within_s=60)
        merged = await boss.merged(campaign)
        topic = topics.topic(topics.MERGED, campaign.uid)
        ends = await host.stream.end_offsets(topic)
        records = [r for p, end in ends.items() async for batch in host.stream.scan(p, start=0, end=end) for r in batch]
        seen = await _looked_at_by_keda(secured_kafka, topics.group(topics.ANNOTATOR))
    async with open_host(settings.model_copy(update={"stream": secured_kafka.scram("trainer-kafka")}), runs_stages=False) as trainer:
        assert len(await read_merged(trainer.stream, campaign.uid)) == 60, "the trainer reads what is merged, and that alone"
        assert set(await trainer.stream.topics("actlabel.")) == {t for t in await trainer.stream.topics("actlabel.") if ".merged." in t}
    assert set(merged) == set(recording.truth)
    assert {item_id: item.review.label for item_id, item in merged.items() if item.HasField("review")} == reviewer.acknowledged
    assert len(reviewer.acknowledged) == 12
    assert [record.headers for record in records] == [root_headers(campaign.uid, record.key) for record in records]
    assert seen[topics.topic(topics.ITEMS, campaign.uid)] == 60


async def _write(producer: object, recording: Recording, *, count: int) -> None:
    for line in recording.items.read_text().splitlines()[:count]:
        row = json.loads(line)
        await producer.send(_FOREIGN, key=row["id"].encode(), value=json.dumps(row).encode())


async def _at_end(host: object, kind: str, uid: str, count: int) -> bool:
    return sum((await host.stream.end_offsets(topics.topic(kind, uid))).values()) >= count
