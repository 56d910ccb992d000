"""A real run, looked at: separate processes on Kafka and PostgreSQL, a Prometheus that scrapes them, a collector that gets their spans.

Every query of the dashboards returns data and every metric is produced (those of training are seen in ``test_train_command.py``), one
trace follows an item through all processes, and no log line tells what an item says.
"""

import asyncio
import json
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from prometheus_client.metrics import MetricWrapperBase
from pydantic import SecretStr

from actlabel.contracts.v1.item_pb2 import Item
from actlabel.core import topics
from actlabel.host.campaign_life import delete_campaign
from actlabel.runtime import metrics
from actlabel.runtime.campaigns import Campaign
from actlabel.runtime.settings import Settings
from actlabel.runtime.tracing import trace_id_of
from actlabel.standin.faults import Faults
from actlabel.standin.recorded import RecordedAnswers
from actlabel.standin.server import Standin
from tests.acceptance.data import Recording, synthetic
from tests.acceptance.fleet import Fleet, Member, eventually
from tests.acceptance.pipeline import System, system, working
from tests.services.dashboard_queries import dashboard_queries, dashboards, filled_in
from tests.services.nursery import Nursery
from tests.services.otlp_collector import Collector, running_collector
from tests.services.processes import free_port
from tests.services.prometheus_server import PrometheusServer

ITEMS = 200
TRAINING = "actlabel-training"
ELSEWHERE = ("actlabel_train_", "actlabel_model_")
"""No run trains here, and no model of ours is served."""
PRICE = {"input_usd_per_million_tokens": 1.0, "output_usd_per_million_tokens": 1.0}
MODEL = {"price": PRICE, "calls_in_flight": 8, "requests_per_minute": 6_000, "tokens_per_minute": 60_000_000, "max_output_tokens": 64}
STEP_S = 0.5
REVIEWS = 20


@pytest.fixture
def nursery(tmp_path: Path) -> Iterator[Nursery]:
    """What the processes are forked from, so that starting seven costs the imports of one."""
    made = Nursery(tmp_path)
    yield made
    made.close()


async def test_everything_can_be_seen(tmp_path: Path, kafka_settings: Settings, prometheus: PrometheusServer, nursery: Nursery):
    recording = synthetic(tmp_path, ITEMS)
    faults = Faults(latency_ms=40, rate_limit=0.03, nonsense=0.2, retry_after_s=0.2)
    async with running_collector() as collector, Standin(RecordedAnswers.load(recording.answers), faults) as endpoint:
        settings = kafka_settings.model_copy(update={"otlp_endpoint": SecretStr(collector.endpoint), "trace_ratio": 1.0})
        traced = {"ACTLABEL_OTLP_ENDPOINT": collector.endpoint, "ACTLABEL_TRACE_RATIO": "1", "ACTLABEL_LOG_FORMAT": "json"}
        async with system(tmp_path, settings, **traced) as arena:
            arena.fleet.launch = nursery.start
            begun_s = time.time()
            campaign, deleted = await _run(arena, recording, endpoint.endpoint, prometheus)
            await _every_query_has_data(prometheus, begun_s)
            await eventually(lambda: _is_forgotten(prometheus, deleted), what="no series of the deleted campaign", within_s=20)
            merged = await arena.merged(campaign)
            await _end(arena.fleet)
        assert sum(item.HasField("review") for item in merged.values()) == REVIEWS
        _one_trace_follows_an_item(collector, campaign, merged)
        _logs_name_items_and_tell_nothing(arena.fleet, recording)


async def _run(arena: System, recording: Recording, endpoint: str, prometheus: PrometheusServer) -> tuple[Campaign, Campaign]:
    """Let a campaign be labelled and reviewed, another reach its spend cap, a third be deleted.

    The gateway is replaced when the reviews have arrived, so that the next one publishes answers to what it never took in.
    """
    models: dict[str, Any] = {f"{block}__{name}": value for block in ("annotator", "criticizer") for name, value in MODEL.items()}
    campaign = await arena.apply("seen", endpoint, sampler__budget=REVIEWS, mirror={}, **models)
    capped = await arena.apply("capped", endpoint, spend_cap_usd=0.0001, **models)
    deleted = await arena.apply("deleted", endpoint, sampler__budget=5, **models)
    members = [arena.fleet.start(role) for role in (*topics.READS, topics.MIRROR)]
    later = free_port()
    prometheus.scrape({"later": later} | {member.name: member.http_port for member in members})
    await asyncio.gather(*(member.ready() for member in members))
    spent = f'max(actlabel_campaign_spend_usd{{campaign="{campaign.uid}", state="spent"}})'
    await eventually(lambda: _is_so(prometheus, f"{spent} == 0"), what="the campaign seen before its first item")
    few = recording.items.with_name("few.jsonl")
    few.write_text("".join(recording.items.read_text().splitlines(keepends=True)[:40]))
    await arena.ingest(deleted, few)
    await arena.ingest(capped, few)
    await arena.ingest(campaign, recording.items)
    await arena.at_rest(campaign, reviewed=False)
    await arena.at_rest(deleted, reviewed=False)
    await eventually(lambda: _is_paused(arena, capped), what="paused at its spend cap")
    await eventually(lambda: _is_so(prometheus, f"{spent} > 0"), what="its cost seen")
    gateway = next(member for member in members if member.role == topics.REVIEW_GATEWAY)
    assert await asyncio.to_thread(gateway.terminate) == 0  # the collector of its last spans is in this process
    gateway = arena.fleet.start(topics.REVIEW_GATEWAY, ACTLABEL_HTTP_PORT=str(later))
    gateway.http_port = later
    await gateway.ready()
    reviewer = arena.reviewer(recording, campaign.name)
    reviewer._think_s = STEP_S / 4
    async with working(reviewer):
        await arena.at_rest(campaign, reviewed=True)
    answered = f'max(actlabel_review_queue_items{{campaign="{campaign.uid}", state="answered"}}) == {REVIEWS}'
    await eventually(lambda: _is_so(prometheus, answered), what="its answers seen")
    await delete_campaign(arena.host, deleted.name)
    return campaign, deleted


async def _is_paused(arena: System, campaign: Campaign) -> bool:
    return bool((await arena.host.campaigns.status(campaign.uid)).pauses)


async def _is_so(prometheus: PrometheusServer, expr: str) -> bool:
    return bool(await asyncio.to_thread(prometheus.now, expr))


async def _every_query_has_data(prometheus: PrometheusServer, begun_s: float) -> None:
    empty, said = [], 0
    for name in dashboards().keys() - {TRAINING}:
        for query in dashboard_queries(name):
            expr = filled_in(query.expr, rate="5s")
            if any(prefix in expr for prefix in ELSEWHERE):
                continue
            found = await asyncio.to_thread(prometheus.over, expr, begun_s, time.time(), STEP_S)
            said += len(found)
            empty += [query.where] if not any(value != "NaN" for series in found for _, value in series["values"]) else []
    print(f"the dashboards show {said} series")
    assert not empty, "\n".join(["no data for", *sorted(empty)])
    for metric in vars(metrics).values():
        if isinstance(metric, MetricWrapperBase) and not metric._name.startswith(ELSEWHERE):
            suffix = {"counter": "_total", "gauge": "", "histogram": "_count"}[metric._type]
            assert await asyncio.to_thread(prometheus.over, metric._name + suffix, begun_s, time.time(), STEP_S), (
                f"nobody exports {metric._name}"
            )


async def _is_forgotten(prometheus: PrometheusServer, campaign: Campaign) -> bool:
    assert await asyncio.to_thread(prometheus.over, f'count({{campaign="{campaign.uid}"}})', time.time() - 60, time.time(), 1.0), (
        "it was there"
    )
    return not await asyncio.to_thread(prometheus.now, f'{{campaign="{campaign.uid}"}}')


async def _end(fleet: Fleet) -> None:
    """Let every process send its last spans."""
    codes = await asyncio.gather(*(asyncio.to_thread(member.terminate) for member in fleet.members if member.alive))
    assert set(codes) == {0}


def _one_trace_follows_an_item(collector: Collector, campaign: Campaign, merged: dict[str, Item]) -> None:
    """Through the processes of all stages; the review is linked from a gateway that never took it in, as it would be after days."""
    reviewed = next(item_id for item_id, item in merged.items() if item.HasField("review"))
    spans = {span.name: span for span in collector.traces[trace_id_of(campaign.uid, reviewed)]}
    assert set(spans) - {"sampler"} == {"ingest", "annotator", "criticizer", "emission", "review-gateway", "publish"}
    way = ["ingest", "annotator", "criticizer", "emission", "review-gateway"]
    for parent, child in pairwise(way):
        assert spans[child].parent_span_id == spans[parent].span_id, f"{child} after {parent}"
    processes = [collector.instances[spans[name].span_id] for name in (*way, "publish")]
    assert "" not in processes
    assert len(set(processes)) == len(processes), "every step was taken by another process"
    assert [link.span_id for link in spans["publish"].links] == [spans["review-gateway"].span_id]
    dead = [span for trace in collector.traces.values() for span in trace if _outcome(span) == "dead"]
    assert dead, "what was put aside has a trace that says so"


def _outcome(span: Span) -> str:
    return next((attribute.value.string_value for attribute in span.attributes if attribute.key == "actlabel.outcome"), "")


def _logs_name_items_and_tell_nothing(fleet: Fleet, recording: Recording) -> None:
    lines = [line for member in fleet.members for line in _lines(member)]
    assert len(lines) > len(fleet.members)
    texts = {json.loads(line)["text"] for line in recording.items.read_text().splitlines()}
    for line in lines:
        whole = json.dumps(line)
        assert not any(text in whole for text in texts), whole
        assert ("item_id" in line) == ("trace_id" in line), whole


def _lines(member: Member) -> list[dict[str, Any]]:
    return [json.loads(line) for line in member.log.read_text().splitlines()]
