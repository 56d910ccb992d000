"""Annotator and criticizer over real gRPC and over the stream, against a real HTTP endpoint; the same handler behind both."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import grpc
import orjson
import pytest
import yaml
from aiohttp import web
from aiohttp.test_utils import TestServer
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from actlabel.annotator import main as annotator_main
from actlabel.annotator import rpc as annotator_rpc
from actlabel.annotator.handle import AnnotateItem
from actlabel.chat.open import open_asker
from actlabel.contracts.v1.annotator_pb2 import AnnotateRequest
from actlabel.contracts.v1.annotator_pb2_grpc import AnnotatorStub, add_AnnotatorServicer_to_server
from actlabel.contracts.v1.campaign_pb2 import CampaignChoice
from actlabel.contracts.v1.criticizer_pb2 import CriticizeRequest
from actlabel.contracts.v1.criticizer_pb2_grpc import CriticizerStub, add_CriticizerServicer_to_server
from actlabel.contracts.v1.item_pb2 import Item
from actlabel.core import topics
from actlabel.criticizer import main as criticizer_main
from actlabel.criticizer import rpc as criticizer_rpc
from actlabel.criticizer.handle import CriticizeItem
from actlabel.host.host import Host, open_host
from actlabel.runtime.campaign_file import CampaignFile
from actlabel.runtime.campaigns import Campaign
from actlabel.runtime.health import Health
from actlabel.runtime.rpc import serve_rpc
from actlabel.runtime.settings import Settings
from actlabel.stream.port import Partition, Stream, TopicSettings


class Model:
    """An endpoint that calls everything a cat, and doubts it by .25. A text may ask it to misbehave."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.url = ""
        self.may_answer: dict[str, asyncio.Event] = {}

    async def handle(self, request: web.Request) -> web.Response:
        body = orjson.loads(await request.read())
        parts = body["messages"][1]["content"]
        text = parts[1]["text"]
        self.asked.append(text)
        if text in self.may_answer:
            await self.may_answer[text].wait()
        if text == "no key":
            return web.json_response({"error": {"message": "no such key"}}, status=401)
        answer = {"label": "cow" if text == "nonsense" else "cat"}
        if parts[-1]["text"].startswith("Label under review: "):
            answer = {"error_probability": 0.25, "suggested_label": "dog", "reason": "It barks.", "evidence": [text]}
        content = orjson.dumps(answer).decode()
        usage = {"prompt_tokens": 50, "completion_tokens": 5}
        return web.json_response({"choices": [{"message": {"content": content}, "finish_reason": "stop"}], "usage": usage})


@pytest.fixture
async def model() -> AsyncIterator[Model]:
    scripted = Model()
    app = web.Application()
    app.router.add_post("/v1/chat/completions", scripted.handle)
    server = TestServer(app)
    await server.start_server()
    scripted.url = str(server.make_url("/v1"))
    yield scripted
    for event in scripted.may_answer.values():
        event.set()
    await server.close()


@pytest.fixture
async def host(database_address: str, tmp_path: Path) -> AsyncIterator[Host]:
    settings = Settings(database=database_address, stream=f"sqlite:///{tmp_path / 's.db'}", storage=str(tmp_path / "media"))
    async with open_host(settings, runs_stages=True) as opened:
        yield opened


def document(model: Model, **fields: Any) -> dict[str, Any]:
    paid = {"input_usd_per_million_tokens": 1.0, "output_usd_per_million_tokens": 4.0}
    return {
        "name": "animals",
        "task": {"question": "Which animal?", "labels": ["cat", "dog"]},
        "annotator": {"endpoint": model.url, "model": "m", "price": paid, "retries": 0},
        "criticizer": {"endpoint": model.url, "model": "n", "price": paid, "retries": 0},
        "sampler": {"budget": "10%"},
        "spend_cap_usd": 10,
        "partitions": 2,
        **fields,
    }


@pytest.fixture
async def campaign(host: Host, model: Model) -> Campaign:
    return await host.campaigns.apply(CampaignFile.model_validate(document(model)))


@pytest.fixture
async def channel(host: Host) -> AsyncIterator[grpc.aio.Channel]:
    async with AsyncExitStack() as stack:
        pieces = {"settings": host.settings, "database": host.database, "campaigns": host.campaigns, "clock": host.clock}
        annotate = AnnotateItem(await stack.enter_async_context(open_asker(stage=topics.ANNOTATOR, **pieces)))
        criticize = CriticizeItem(await stack.enter_async_context(open_asker(stage=topics.CRITICIZER, **pieces)))

        def register(server: grpc.aio.Server) -> None:
            add_AnnotatorServicer_to_server(annotator_rpc.AnnotatorService(annotate, host.campaigns), server)
            add_CriticizerServicer_to_server(criticizer_rpc.CriticizerService(criticize, host.campaigns), server)

        names = [annotator_rpc.SERVICE, criticizer_rpc.SERVICE]
        port = await stack.enter_async_context(
            serve_rpc(host="127.0.0.1", port=0, health_checks=Health(), services=names, register=register)
        )
        yield await stack.enter_async_context(grpc.aio.insecure_channel(f"127.0.0.1:{port}"))


def item(text: str, item_id: str = "") -> Item:
    made = Item(id=item_id or text)
    made.content.parts.add(name="text", text=text)
    return made


BY_NAME = CampaignChoice(name="animals")


async def test_annotate_by_name(campaign: Campaign, channel: grpc.aio.Channel) -> None:
    answer = (await AnnotatorStub(channel).Annotate(AnnotateRequest(campaign=BY_NAME, item=item("miaow")))).item
    assert (answer.id, answer.annotation.label, answer.annotation.usage.calls) == ("miaow", "cat", 1)
    assert answer.annotation.usage.cost_usd == pytest.approx((50 * 1 + 5 * 4) / 1e6)


async def test_criticize_by_name(campaign: Campaign, channel: grpc.aio.Channel) -> None:
    barking = item("woof")
    barking.annotation.label = "cat"
    critique = (await CriticizerStub(channel).Criticize(CriticizeRequest(campaign=BY_NAME, item=barking))).item.critique
    assert (critique.error_probability, critique.suggested_label, list(critique.evidence)) == (0.25, "dog", ["woof"])
    assert (critique.model, critique.strategy) == ("n", "chain-of-thought")


async def test_document_is_tried_as_it_is_and_paid_once(host: Host, model: Model, channel: grpc.aio.Channel) -> None:
    request = AnnotateRequest(campaign=CampaignChoice(document_yaml=yaml.safe_dump(document(model))), item=item("miaow"))
    answers = [await AnnotatorStub(channel).Annotate(request) for _ in range(2)]
    assert answers[0] == answers[1]
    assert model.asked == ["miaow"]
    assert not await host.campaigns.list()


@pytest.mark.parametrize(
    ("request_of", "status", "words"),
    [
        (lambda _: AnnotateRequest(campaign=CampaignChoice(name="none"), item=item("x")), "INVALID_ARGUMENT", "does not exist"),
        (lambda _: AnnotateRequest(item=item("x")), "INVALID_ARGUMENT", "give the name"),
        (lambda _: AnnotateRequest(campaign=CampaignChoice(document_yaml="a: ["), item=item("x")), "INVALID_ARGUMENT", "document_yaml:1"),
        (lambda _: AnnotateRequest(campaign=CampaignChoice(document_yaml="name: x"), item=item("x")), "INVALID_ARGUMENT", "task: is"),
        (lambda _: AnnotateRequest(campaign=BY_NAME, item=Item(id="x")), "FAILED_PRECONDITION", "empty-item"),
        (lambda _: AnnotateRequest(campaign=BY_NAME, item=item("nonsense")), "FAILED_PRECONDITION", "not one of the labels"),
        (lambda _: AnnotateRequest(campaign=BY_NAME, item=item("no key")), "RESOURCE_EXHAUSTED", "no such key"),
        (
            lambda url: AnnotateRequest(campaign=CampaignChoice(document_yaml=url), item=item("no key")),
            "INVALID_ARGUMENT",
            "no such key",
        ),
    ],
)
async def test_errors_become_statuses_with_one_line(
    campaign: Campaign, model: Model, channel: grpc.aio.Channel, request_of: Callable[[str], AnnotateRequest], status: str, words: str
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await AnnotatorStub(channel).Annotate(request_of(yaml.safe_dump(document(model))))
    assert raised.value.code() is grpc.StatusCode[status]
    assert words in (raised.value.details() or "")


async def test_stream_answers_as_items_finish(campaign: Campaign, model: Model, channel: grpc.aio.Channel) -> None:
    model.may_answer["slow"] = asyncio.Event()
    call = AnnotatorStub(channel).AnnotateStream(AnnotateRequest(campaign=BY_NAME, item=item(text)) for text in ("slow", "a", "b"))
    arrived = [(await call.read()).item.id for _ in range(2)]
    model.may_answer["slow"].set()
    assert sorted(arrived) == ["a", "b"]
    assert (await call.read()).item.id == "slow"
    assert await call.read() is grpc.aio.EOF


async def test_stream_takes_many_and_answers_each(campaign: Campaign, channel: grpc.aio.Channel) -> None:
    call = AnnotatorStub(channel).AnnotateStream(AnnotateRequest(campaign=BY_NAME, item=item(f"t{n}")) for n in range(100))
    assert sorted([answer.item.id async for answer in call]) == sorted(f"t{n}" for n in range(100))


async def test_stream_names_the_item_that_failed(campaign: Campaign, channel: grpc.aio.Channel) -> None:
    barking = item("woof")
    barking.annotation.label = "cat"
    requests = [CriticizeRequest(campaign=BY_NAME, item=each) for each in (barking, item("no label", "i7"))]
    call = CriticizerStub(channel).CriticizeStream(iter(requests))
    with pytest.raises(grpc.aio.AioRpcError, match="item 'i7': no-annotation"):
        [answer async for answer in call]


async def test_health_of_every_service(channel: grpc.aio.Channel) -> None:
    for service in ("", annotator_rpc.SERVICE, criticizer_rpc.SERVICE):
        answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service=service))
        assert answer.status == health_pb2.HealthCheckResponse.SERVING


async def test_reflection_lists_the_services(channel: grpc.aio.Channel) -> None:
    call = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(
        iter([reflection_pb2.ServerReflectionRequest(list_services="")])
    )
    listed = {service.name for service in (await call.read()).list_services_response.service}
    assert {"actlabel.contracts.v1.Annotator", "actlabel.contracts.v1.Criticizer", "grpc.health.v1.Health"} <= listed


async def _put_items(stream: Stream, campaign: Campaign, texts: list[str]) -> None:
    kinds = (topics.ITEMS, topics.ANNOTATED, topics.CRITIQUED, topics.DEAD)
    await stream.create_topics({topics.topic(kind, campaign.uid): TopicSettings(partitions=2) for kind in kinds})
    for text in texts:
        made = item(text)
        made.campaign.uid, made.campaign.version = campaign.uid, campaign.version
        await stream.producer().send(topics.topic(topics.ITEMS, campaign.uid), key=text.encode(), value=made.SerializeToString())


async def _records(stream: Stream, topic: str) -> list[bytes]:
    found = []
    for partition, end in (await stream.end_offsets(topic)).items():
        async for batch in stream.scan(Partition(topic, partition.number), start=0, end=end):
            found += [record.value for record in batch]
    return found


async def _until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Look until it is so: what is waited for happens in other tasks, which tell nobody."""
    async with asyncio.timeout(60):
        while not await condition():  # noqa: ASYNC110 - see above
            await asyncio.sleep(0.02)


async def test_items_flow_through_both_stages_and_the_bad_one_is_put_aside(host: Host, campaign: Campaign, model: Model) -> None:
    await _put_items(host.stream, campaign, ["one", "two", "nonsense"])
    stages = [asyncio.create_task(main.run(host)) for main in (annotator_main, criticizer_main)]
    critiqued = topics.topic(topics.CRITIQUED, campaign.uid)
    dead = topics.topic(topics.DEAD, campaign.uid)

    async def done() -> bool:
        return len(await _records(host.stream, critiqued)) == 2 and len(await _records(host.stream, dead)) == 1

    await _until(done)
    host.stop.set()
    await asyncio.gather(*stages)
    items = {made.id: made for made in map(Item.FromString, await _records(host.stream, critiqued))}
    assert sorted(items) == ["one", "two"]
    assert {(made.annotation.label, made.critique.error_probability) for made in items.values()} == {("cat", 0.25)}
    spent = (await host.database.fetch("SELECT SUM(spent_usd) AS s, SUM(reserved_usd) AS r FROM spend WHERE uid = $1", campaign.uid))[0]
    assert spent["s"] == pytest.approx(6 * 70 / 1e6)  # two items twice, the bad one twice at the first stage
    assert spent["r"] == 0


async def test_refusing_endpoint_pauses_the_stage_and_loses_nothing(host: Host, campaign: Campaign) -> None:
    await _put_items(host.stream, campaign, ["no key"])
    stage = asyncio.create_task(annotator_main.run(host, serve_grpc=False))

    async def paused() -> bool:
        return topics.ANNOTATOR in (await host.campaigns.status(campaign.uid)).pauses

    await _until(paused)
    host.stop.set()
    await stage
    assert not await _records(host.stream, topics.topic(topics.DEAD, campaign.uid))
    committed = await host.stream.committed(topics.group(topics.ANNOTATOR), topics.topic(topics.ITEMS, campaign.uid))
    assert not sum(offset or 0 for offset in committed.values())
