"""The whole pipeline on a Kafka with locks: an operator makes campaigns, the stages have the rights of stages and no more."""

from dataclasses import replace
from pathlib import Path

from actlabel.core import topics
from actlabel.host.host import open_host
from actlabel.runtime.tracing import root_headers
from actlabel.standin.recorded import RecordedAnswers
from actlabel.standin.server import Standin
from tests.acceptance.data import synthetic
from tests.acceptance.pipeline import make_settings, one_process, working
from tests.services.secured_kafka import SecuredKafka

_RIGHTS = {"topics": ("Describe", "Read", "Write"), "groups": ("Describe", "Read")}


async def test_every_stage_works_with_login_over_tls_and_the_rights_of_a_stage(
    tmp_path: Path, secured_kafka: SecuredKafka, postgres_address: str
) -> None:
    recording = synthetic(tmp_path, 60)
    settings = make_settings(tmp_path, stream=secured_kafka.scram("stage"), database=postgres_address)
    await secured_kafka.allow("stage", **_RIGHTS)
    try:
        async with (
            Standin(RecordedAnswers.load(recording.answers)) as endpoint,
            open_host(settings.model_copy(update={"stream": secured_kafka.cert()}), runs_stages=False) as operator,
            one_process(tmp_path, settings) as arena,
        ):
            boss = replace(arena, host=operator)
            campaign = await boss.apply("locked", endpoint.endpoint, sampler__budget=12, partitions=3)
            await boss.ingest(campaign, recording.items)
            async with working(arena.reviewer(recording, campaign.name)) as reviewer:
                await arena.at_rest(campaign, reviewed=True)
            merged = await boss.merged(campaign)
            topic = topics.topic(topics.MERGED, campaign.uid)
            ends = await boss.host.stream.end_offsets(topic)
            records = [r for p, end in ends.items() async for batch in boss.host.stream.scan(p, start=0, end=end) for r in batch]
    finally:
        await secured_kafka.forbid("stage", **_RIGHTS)
    assert set(merged) == set(recording.truth)
    assert {item_id: item.review.label for item_id, item in merged.items() if item.HasField("review")} == reviewer.acknowledged
    assert len(reviewer.acknowledged) == 12
    assert [record.headers for record in records] == [root_headers(campaign.uid, record.key) for record in records]
