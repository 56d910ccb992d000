"""Locks and keys of a real Kafka: what an address can say, what each mistake says, rotated files, and access rules."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from actlabel.contracts.v1.item_pb2 import CampaignRef, Item
from actlabel.core import topics
from actlabel.core.errors import RetryLater, UserError
from actlabel.runtime.campaign_file import parse_campaign
from actlabel.runtime.campaigns import Campaign, Campaigns
from actlabel.runtime.clock import SystemClock
from actlabel.runtime.database.open import open_database
from actlabel.runtime.database.port import Database
from actlabel.stream import kafka_client
from actlabel.stream.dead_letters import DeadLetters
from actlabel.stream.kafka_producer import KafkaProducer
from actlabel.stream.kafka_stream import KafkaStream, open_kafka_stream
from actlabel.stream.limits import Limits
from actlabel.stream.outgoing import Outgoing
from actlabel.stream.port import Partition, TopicSettings
from actlabel.stream.stage import Stage
from tests.services.secured_kafka import SecuredKafka

_PATIENCE_S = 40.0
_STAGE_RIGHTS: Mapping[str, tuple[str, ...]] = {"topics": ("Describe", "Read", "Write"), "groups": ("Describe", "Read")}
_FAST = Limits(learn_s=0.05, poll_s=0.05, commit_interval_s=0.05, retry_first_s=0.1, retry_most_s=0.2, drain_deadline_s=5.0)
_FILE = """
name: birds
task: {question: "Which?", labels: [bird, plane]}
annotator: {endpoint: "http://127.0.0.1:1", model: m}
criticizer: {endpoint: "http://127.0.0.1:1", model: m}
sampler: {budget: 10}
spend_cap_usd: 1
partitions: 2
"""


@asynccontextmanager
async def _open(address: str) -> AsyncIterator[KafkaStream]:
    stream = await open_kafka_stream(address, session_timeout_s=6.0)
    try:
        yield stream
    finally:
        await stream.close()


_RIGHT: Mapping[str, Callable[[SecuredKafka], str]] = {
    "SCRAM-SHA-512 over TLS": lambda kafka: kafka.scram(),
    "SCRAM-SHA-256 over TLS": lambda kafka: kafka.scram() + "&mechanism=SCRAM-SHA-256",
    "PLAIN over TLS": lambda kafka: kafka.scram() + "&mechanism=PLAIN",
    "SCRAM-SHA-512 without TLS": lambda kafka: kafka.clear(),
    "client certificate": lambda kafka: kafka.cert(),
}


@pytest.mark.parametrize("address", _RIGHT.values(), ids=_RIGHT)
async def test_every_client_gets_in(secured_kafka: SecuredKafka, address: Callable[[SecuredKafka], str], request: pytest.FixtureRequest):
    """Admin, producer, scan and the client of offsets; members of groups are the contract suite's on the same listener."""
    topic = f"actlabel.items.{abs(hash(request.node.name))}"
    async with _open(address(secured_kafka)) as stream:
        await stream.create_topics({topic: TopicSettings(partitions=1)})
        await stream.producer().send(topic, key=b"k", value=b"v")
        await stream.commit_start(f"g.{topic}", topic)
        assert await stream.end_offsets(topic) == {Partition(topic, 0): 1}
        assert await stream.committed(f"g.{topic}", topic) == {Partition(topic, 0): 0}
        assert [r.value async for batch in stream.scan(Partition(topic, 0), start=0, end=1) for r in batch] == [b"v"]
        await stream.delete_topics([topic])


_WRONG: Mapping[str, tuple[Callable[[SecuredKafka], str], str]] = {
    "wrong password": (lambda k: k.scram(password="wrong-password"), r"does not let operator in with SCRAM-SHA-512 .*wrong-password holds"),
    "wrong password, PLAIN": (lambda k: k.scram(password="wrong-password") + "&mechanism=PLAIN", r"not let operator in with PLAIN"),
    "unknown user": (lambda k: k.scram("mallory"), r"does not let mallory in"),
    "no password file": (lambda k: k.scram(password="nothing"), r"a file .* cannot be used: .*No such file.*nothing"),
    "empty password file": (lambda k: k.scram(password="empty"), r"a file .* cannot be used: .*empty is empty"),
    "mechanism that is off": (
        lambda k: k.clear() + "&mechanism=SCRAM-SHA-256",
        r"not let operator in .*UnsupportedSaslMechanism.*mechanism=",
    ),
    "login where there is none": (
        lambda k: f"kafka+sasl_plaintext://operator@{k.address}?password_file={k.file('password')}",
        r"check \?mech",
    ),
    "CA of somebody else": (
        lambda k: k.scram(ca="other-ca.crt"),
        r"not to be trusted \(unable to get local issuer .*ca_file= .*other-ca.crt",
    ),
    "CA that is none": (lambda k: k.scram(ca="user.key"), r"user.key holds no certificate"),
    "CA of the system": (lambda k: k.scram().partition("&ca_file")[0], r"not to be trusted .*now the system's list"),
    "another host": (lambda k: k.scram(host="localhost"), r"is for another host .*localhost"),
    "no client certificate": (lambda k: k.cert(None), r"no TLS with .*certificate_file= and \?key_file="),
    "certificate of another CA": (lambda k: k.cert("stranger"), r"no TLS with .*may not accept .*stranger.crt"),
    "key of another certificate": (lambda k: k.cert().replace("user.key", "stranger.key"), r"user.crt and its key cannot be used \(KEY"),
    "plain at a TLS port": (lambda k: f"kafka://127.0.0.1:{k.port('scram')}", r"closes the connection: it may speak TLS"),
    "plain at a port with login": (lambda k: f"kafka://127.0.0.1:{k.port('clear')}", r"closes the connection: .*want a login"),
    "TLS at a plain port": (lambda k: f"kafka+ssl://{k.address}?ca_file={k.file('ca.crt')}", r"may not speak TLS"),
    "TLS without login": (lambda k: f"kafka+ssl://127.0.0.1:{k.port('scram')}?ca_file={k.file('ca.crt')}", r"want a login"),
}


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # aiokafka forgets the socket of a login that breaks off
@pytest.mark.parametrize(("address", "message"), _WRONG.values(), ids=_WRONG)
async def test_every_mistake_is_one_clear_line(secured_kafka: SecuredKafka, address: Callable[[SecuredKafka], str], message: str):
    secured_kafka.file("empty").write_text("\n")
    with pytest.raises(UserError, match=message) as said:
        async with _open(address(secured_kafka)):
            pass
    assert str(said.value).startswith("ACTLABEL_STREAM: ")
    assert "\n" not in str(said.value)
    assert "sesame" not in str(said.value)


async def _until_sent(producer: KafkaProducer, topic: str, value: bytes) -> None:
    async with asyncio.timeout(_PATIENCE_S):
        while True:
            try:
                return await producer.send(topic, key=b"k", value=value)
            except RetryLater:
                continue


_ROTATED: Mapping[str, tuple[Callable[[SecuredKafka, Path], str], tuple[tuple[str, str], ...], str]] = {
    # address with files in a folder of ours; what lies there first and then; what the first says
    "password": (
        lambda k, f: f"kafka+sasl_ssl://operator@127.0.0.1:{k.port('scram')}?password_file={f}/password&ca_file={f}/ca.crt",
        (("wrong-password", "password"),),
        "does not let operator in",
    ),
    "CA": (
        lambda k, f: f"kafka+sasl_ssl://operator@127.0.0.1:{k.port('scram')}?password_file={f}/password&ca_file={f}/ca.crt",
        (("other-ca.crt", "ca.crt"),),
        "not to be trusted",
    ),
    "certificate": (
        lambda k, f: f"kafka+ssl://127.0.0.1:{k.port('cert')}?ca_file={f}/ca.crt&certificate_file={f}/user.crt&key_file={f}/user.key",
        (("stranger.crt", "user.crt"), ("stranger.key", "user.key")),
        "no TLS with Kafka",
    ),
}


@pytest.mark.parametrize(("address", "wrong", "message"), _ROTATED.values(), ids=_ROTATED)
async def test_a_rotated_file_counts_from_the_next_connect_on(
    secured_kafka: SecuredKafka,
    tmp_path: Path,
    address: Any,
    wrong: Any,
    message: str,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
):
    """The files turn bad and good again under clients that were made before; each connects anew every time."""
    for name in ("password", "ca.crt", "user.crt", "user.key"):
        shutil.copy(secured_kafka.file(name), tmp_path)
    topic = f"actlabel.items.{abs(hash(request.node.name))}"
    async with _open(address(secured_kafka, tmp_path)) as stream:
        await stream.create_topics({topic: TopicSettings(partitions=1)})
        producer = KafkaProducer(stream._cluster, stream._topics, timeout_s=1.5)
        monkeypatch.setattr(kafka_client, "_ANSWER_TIMEOUT_S", 1.0)
        for bad, good in wrong:
            shutil.copy(secured_kafka.file(bad), tmp_path / good)
        with pytest.raises(RetryLater, match=message):  # its first connection
            await producer.send(topic, key=b"k", value=b"0")
        for connection in list(stream._topics._admin._client._conns.values()):
            connection.close()
        with pytest.raises(RetryLater, match=message):  # one that was connected before, too
            await stream.topics("actlabel.")
        for _, good in wrong:
            shutil.copy(secured_kafka.file(good), tmp_path)
        assert topic in await stream.topics("actlabel.")
        await _until_sent(producer, topic, b"1")
        await producer.close()
        assert await stream.end_offsets(topic) == {Partition(topic, 0): 1}


class Bed:
    """A campaign on the secured Kafka, made by the operator, and a stage that runs as the user ``stage``."""

    def __init__(self, kafka: SecuredKafka, operator: KafkaStream, database: Database) -> None:
        self.kafka = kafka
        self.operator = operator
        self.database = database
        self.campaigns = Campaigns(database, SystemClock())

    async def campaign(self) -> Campaign:
        made = await self.campaigns.apply(parse_campaign(_FILE, where="birds"))
        await self.operator.create_topics({topics.topic(kind, made.uid): TopicSettings(partitions=2) for kind in topics.KINDS})
        return made

    async def send(self, campaign: Campaign, ids: list[str]) -> None:
        for item_id in ids:
            item = Item(id=item_id, campaign=CampaignRef(uid=campaign.uid, version=1))
            topic = topics.topic(topics.ITEMS, campaign.uid)
            await self.operator.producer().send(topic, key=item_id.encode(), value=item.SerializeToString())

    async def out(self, campaign: Campaign, count: int) -> None:
        topic = topics.topic(topics.ANNOTATED, campaign.uid)
        async with asyncio.timeout(_PATIENCE_S):
            while sum((await self.operator.end_offsets(topic)).values()) < count:  # noqa: ASYNC110
                await asyncio.sleep(0.05)

    async def committed(self, campaign: Campaign, count: int) -> None:
        topic = topics.topic(topics.ITEMS, campaign.uid)
        async with asyncio.timeout(_PATIENCE_S):
            while sum(n or 0 for n in (await self.operator.committed(topics.group(topics.ANNOTATOR), topic)).values()) < count:  # noqa: ASYNC110
                await asyncio.sleep(0.05)

    @asynccontextmanager
    async def running(self, **limits: Any) -> AsyncIterator[Stage]:
        clock = SystemClock()
        stream = await open_kafka_stream(self.kafka.scram("stage"), session_timeout_s=6.0)
        dead = DeadLetters(database=self.database, stream=stream, campaigns=self.campaigns, clock=clock, per_minute=1000)
        stage = Stage(
            name=topics.ANNOTATOR,
            stream=stream,
            source_kind=topics.ITEMS,
            handle=_handle,
            campaigns=self.campaigns,
            dead_letters=dead,
            limits=replace(_FAST, **limits),
            clock=clock,
        )
        stop = asyncio.Event()
        task = asyncio.create_task(stage.run(stop))
        try:
            while not stream._consumers:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            self.consumer = stream._consumers[0]
            yield stage
            assert not task.done(), "the stage ended by itself"
        finally:
            stop.set()
            await task
            await stream.close()


async def _handle(item: Item, campaign: Campaign) -> list[Outgoing]:
    return [Outgoing(topic=topics.topic(topics.ANNOTATED, campaign.uid), key=item.id.encode(), value=item.SerializeToString())]


@pytest.fixture
async def bed(secured_kafka: SecuredKafka) -> AsyncIterator[Bed]:
    """The user ``stage`` has exactly the rights of a stage."""
    await secured_kafka.allow("stage", **_STAGE_RIGHTS)
    database = await open_database("sqlite:///:memory:")
    async with _open(secured_kafka.scram()) as operator:
        yield Bed(secured_kafka, operator, database)
    await database.close()
    await secured_kafka.forbid("stage", **_STAGE_RIGHTS)


async def _unready(stage: Stage, why: str) -> None:
    async with asyncio.timeout(_PATIENCE_S):
        while why not in (stage.readiness() or ""):  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.02)
    assert stage.liveness() is None, "a right that is missing asks for no restart"


async def test_a_stage_works_with_exactly_its_prefix_rights(bed: Bed):
    campaign = await bed.campaign()
    await bed.send(campaign, ["a", "b", "c"])
    async with bed.running() as stage:
        await bed.out(campaign, 3)
        await bed.committed(campaign, 3)
        assert stage.readiness() is None


async def test_who_may_nothing_sees_nothing_and_makes_nothing(bed: Bed, secured_kafka: SecuredKafka):
    campaign = await bed.campaign()
    async with _open(secured_kafka.scram("nobody")) as stream:
        assert await stream.topics("actlabel.") == {}
        with pytest.raises(RetryLater, match=r"Kafka refuses this client's user .*Authorization.* must allow"):
            await stream.create_topics({topics.topic(topics.ITEMS, "mine"): TopicSettings(partitions=1)})
        with pytest.raises(RetryLater, match=r"GroupAuthorizationFailed.*actlabel.annotator.* must allow groups"):
            await stream._topics.committed(topics.group(topics.ANNOTATOR), [Partition(topics.topic(topics.ITEMS, campaign.uid), 0)])


_LOST: Mapping[str, tuple[dict[str, tuple[str, ...]], str]] = {
    "join and commit": ({"groups": ("Read",)}, "GroupAuthorizationFailed"),
    "group": ({"groups": ("Describe", "Read")}, "GroupAuthorizationFailed"),
    "read": ({"topics": ("Read",)}, "TopicAuthorizationFailed"),
    "write": ({"topics": ("Write",)}, "must allow"),
}


@pytest.mark.parametrize(("rights", "error"), _LOST.values(), ids=_LOST)
async def test_a_right_that_is_taken_away_is_named_and_given_back_everything_goes_on(
    bed: Bed, rights: dict[str, tuple[str, ...]], error: str
):
    campaign = await bed.campaign()
    await bed.send(campaign, ["a"])
    async with bed.running() as stage:
        await bed.committed(campaign, 1)
        await bed.kafka.forbid("stage", **rights)
        await bed.send(campaign, ["b", "c", "d", "e"])
        await _unready(stage, error)
        await _unready(stage, "Kafka refuses this client's user")
        async with asyncio.timeout(_PATIENCE_S):
            while "groups" in rights and bed.consumer._silence._trouble is None:  # noqa: ASYNC110 - its heartbeats hear it too
                await asyncio.sleep(0.02)
        await bed.kafka.allow("stage", **rights)
        await bed.out(campaign, 5)
        await bed.committed(campaign, 5)
        async with asyncio.timeout(_PATIENCE_S):
            while stage.readiness() is not None:  # noqa: ASYNC110
                await asyncio.sleep(0.05)


@pytest.mark.parametrize("rights", [{"groups": ("Read",)}, {"groups": ("Describe", "Read")}], ids=["join", "find"])
async def test_a_right_that_is_missing_at_the_start_is_named_and_once_given_everything_goes_on(
    bed: Bed, rights: dict[str, tuple[str, ...]]
):
    campaign = await bed.campaign()
    await bed.send(campaign, ["a", "b"])
    await bed.kafka.forbid("stage", **rights)
    async with bed.running() as stage:
        await _unready(stage, "GroupAuthorizationFailed")
        await bed.kafka.allow("stage", **rights)
        await bed.committed(campaign, 2)


async def test_a_running_stage_that_is_not_let_in_again_says_why_and_goes_on_with_the_new_password(killable_secured_kafka: SecuredKafka):
    """The broker restarts while the password file is wrong: aiokafka alone would knock for ever and say nothing."""
    kafka = killable_secured_kafka
    database = await open_database("sqlite:///:memory:")
    try:
        await kafka.allow("stage", **_STAGE_RIGHTS)
        async with _open(kafka.clear()) as operator:
            bed = Bed(kafka, operator, database)
            campaign = await bed.campaign()
            await bed.send(campaign, ["a"])
            async with bed.running() as stage:
                await bed.committed(campaign, 1)
                await asyncio.to_thread(kafka.kill)
                right = kafka.file("password").read_text()
                kafka.file("password").write_text("wrong")
                await asyncio.to_thread(kafka.start)
                await _unready(stage, "does not let stage in")
                kafka.file("password").write_text(right)
                await bed.send(campaign, ["b"])
                await bed.committed(campaign, 2)
                async with asyncio.timeout(_PATIENCE_S):
                    while stage.readiness() is not None:  # noqa: ASYNC110
                        await asyncio.sleep(0.05)
    finally:
        await database.close()


async def test_a_producer_that_may_not_begin_says_so_at_once(bed: Bed):
    """It needs a producer id before it can send anything, and that takes a right to write somewhere."""
    campaign = await bed.campaign()
    await bed.kafka.forbid("stage", topics=("Write",))
    said = ""
    async with _open(bed.kafka.scram("stage")) as stream, asyncio.timeout(_PATIENCE_S):
        while "ClusterAuthorizationFailed" not in said:  # the rules change a moment after they were told to
            try:
                await stream.producer().send(topics.topic(topics.ANNOTATED, campaign.uid), key=b"k", value=b"v")
            except RetryLater as error:
                said = str(error)
    assert said.startswith("Kafka refuses this client's user"), "not after the deadline of the record"
