"""Bytes of other people's topics: JSON, Avro and protobuf are read as they are written in the field; all else is put aside by name."""

import asyncio
import io
import json
import struct
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import fastavro
import pytest
from google.protobuf import descriptor_pb2, json_format, timestamp_pb2
from google.protobuf.message_factory import GetMessages
from hypothesis import given
from hypothesis import strategies as st

from actlabel.core.errors import DeadLetter, RetryLater, UserError
from actlabel.intake.decoders import AvroDecoder, Decoder, JsonDecoder, open_decoder
from actlabel.intake.protobuf import ProtobufDecoder
from actlabel.intake.schema_registry import RegisteredSchema, SchemaRegistry
from actlabel.runtime.campaign_streams import Source
from tests.services.schema_registry import SchemaRegistryServer

PERSON = {"type": "record", "name": "Person", "namespace": "shop", "fields": [{"name": "name", "type": "string"}]}
ORDER = {
    "type": "record",
    "name": "Order",
    "namespace": "shop",
    "fields": [
        {"name": "id", "type": "long"},
        {"name": "text", "type": ["null", "string"], "default": None},
        {"name": "state", "type": {"type": "enum", "name": "State", "symbols": ["NEW", "PAID"]}},
        {"name": "photo", "type": ["null", "bytes"], "default": None},
    ],
}


def enveloped(number: int, body: bytes) -> bytes:
    return struct.pack(">bi", 0, number) + body


def avro(schema: object, value: object, *more: object) -> bytes:
    named: dict[str, dict] = {}
    for each in more:
        fastavro.parse_schema(each, named_schemas=named)
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(schema, named_schemas=named), value)
    return out.getvalue()


@pytest.fixture
async def registry() -> AsyncIterator[SchemaRegistryServer]:
    async with SchemaRegistryServer() as server:
        yield server


async def reason(decoder: Decoder, value: bytes) -> str:
    with pytest.raises(DeadLetter) as caught:
        await decoder.decode(value)
    return caught.value.reason


async def test_avro_by_its_schema_which_is_asked_for_once(registry: SchemaRegistryServer) -> None:
    registry.register(7, ORDER)
    async with SchemaRegistry(registry.address) as client:
        decoder = AvroDecoder(client)
        order = {"id": 5, "text": "tea", "state": "PAID", "photo": b"\x89PNG"}
        for _ in range(3):
            assert await decoder.decode(enveloped(7, avro(ORDER, order))) == order
    assert registry.requests == ["/schemas/ids/7"]


async def test_avro_schemas_may_refer_to_others(registry: SchemaRegistryServer) -> None:
    sale = {"type": "record", "name": "Sale", "namespace": "shop", "fields": [{"name": "buyer", "type": "shop.Person"}]}
    registry.register(1, PERSON, subject="shop.Person")
    registry.register(2, sale, references=("shop.Person",))
    async with SchemaRegistry(registry.address) as client:
        assert await AvroDecoder(client).decode(enveloped(2, avro(sale, {"buyer": {"name": "Ann"}}, PERSON))) == {"buyer": {"name": "Ann"}}
    assert registry.requests == ["/schemas/ids/2", "/subjects/shop.Person/versions/1"]


async def test_a_schema_that_evolves_keeps_its_name_and_both_are_read(registry: SchemaRegistryServer) -> None:
    newer = {**PERSON, "fields": [*PERSON["fields"], {"name": "city", "type": "string", "default": ""}]}
    registry.register(1, PERSON, subject="old")
    registry.register(2, newer, subject="new")
    async with SchemaRegistry(registry.address) as client:
        decoder = AvroDecoder(client)
        for _ in range(2):
            assert await decoder.decode(enveloped(1, avro(PERSON, {"name": "Ann"}))) == {"name": "Ann"}
            assert await decoder.decode(enveloped(2, avro(newer, {"name": "Bo", "city": "Rome"}))) == {"name": "Bo", "city": "Rome"}


async def test_a_schema_may_be_long_but_not_endless(registry: SchemaRegistryServer) -> None:
    registry.register(7, {**PERSON, "doc": "x" * 1_500_000})
    registry.register(8, {**PERSON, "doc": "x" * 5_000_000})
    async with SchemaRegistry(registry.address) as client:
        assert await AvroDecoder(client).decode(enveloped(7, avro(PERSON, {"name": "Ann"}))) == {"name": "Ann"}
        assert await reason(AvroDecoder(client), enveloped(8, avro(PERSON, {"name": "Ann"}))) == "undecodable"


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (b"", "undecodable"),
        (b"\0\0\0", "undecodable"),  # shorter than the envelope
        (b'{"id": 1}', "undecodable"),  # no envelope at all
        (enveloped(8, b""), "unknown-schema"),  # a number that the registry does not know
        (enveloped(9, b"\x02"), "undecodable"),  # a JSON schema
        (enveloped(7, b"\x0a"), "undecodable"),  # cut off
        (enveloped(7, avro(ORDER, {"id": 1, "text": "x", "state": "NEW", "photo": None}) + b"!"), "undecodable"),  # bytes left over
        (enveloped(7, b"\x02\x02\x09abc"), "undecodable"),  # a length below zero
        (enveloped(7, b"\x02\x02\xfe\xff\xff\xff\x0fabc"), "undecodable"),  # a length of gigabytes
        (enveloped(7, b"\x02\x02\x02\xff\x00\x00"), "undecodable"),  # text that is not UTF-8
        (enveloped(7, b"\x02\x00\x0e\x00"), "undecodable"),  # an enum symbol that does not exist
    ],
)
async def test_bad_avro_is_put_aside(registry: SchemaRegistryServer, value: bytes, why: str) -> None:
    registry.register(7, ORDER)
    registry.register(9, {"type": "object"}, kind="JSON")
    async with SchemaRegistry(registry.address) as client:
        assert await reason(AvroDecoder(client), value) == why


async def test_a_registry_that_is_down_or_refuses_is_waited_for(registry: SchemaRegistryServer) -> None:
    registry.register(7, ORDER)
    body = enveloped(7, avro(ORDER, {"id": 1, "text": None, "state": "NEW", "photo": None}))
    async with SchemaRegistry(registry.address) as client:
        registry.down = True
        with pytest.raises(RetryLater, match="status 503"):
            await AvroDecoder(client).decode(body)
        registry.down = False
        assert (await AvroDecoder(client).decode(body))["id"] == 1
    async with SchemaRegistry("http://127.0.0.1:9") as client:
        with pytest.raises(RetryLater, match="out of reach"):
            await AvroDecoder(client).decode(body)


async def test_a_registry_with_a_password(tmp_path: Path) -> None:
    auth = tmp_path / "auth"
    auth.write_text("reader:secret\n")
    async with SchemaRegistryServer(password="secret") as registry:
        registry.register(7, PERSON)
        source = Source(topic="t", format="avro", schema_registry=registry.address, schema_registry_auth_file=auth)
        async with open_decoder(source) as decoder:
            assert await decoder.decode(enveloped(7, avro(PERSON, {"name": "Ann"}))) == {"name": "Ann"}
        async with SchemaRegistry(registry.address) as client:
            with pytest.raises(RetryLater, match="status 401"):
                await client.schema(7)
    auth.write_text("no colon")
    with pytest.raises(UserError, match="does not hold user:password"):
        SchemaRegistry("http://x", auth_file=auth)


async def test_json_bare_and_in_an_envelope() -> None:
    decoder = JsonDecoder()
    assert await decoder.decode(b'{"id": 18446744073709551616}') == {"id": 2**64}, "large numbers keep every digit"
    assert await decoder.decode(enveloped(3, b'{"a": {"b": 1}}')) == {"a": {"b": 1}}


@pytest.mark.parametrize("value", [b"nope", b"[1]", b"3", b"\xff{}", b"[" * 100_000, b'{"a": ' * 50_000, b"1" * 5000, b"\0\0\0\0\1"])
async def test_bad_json_is_put_aside(value: bytes) -> None:
    assert await reason(JsonDecoder(), value) == "undecodable"


def descriptors() -> descriptor_pb2.FileDescriptorSet:
    """``shop.proto``: Note, and Order with a nested Line, an enum, a map, bytes and a timestamp."""
    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="shop.proto", package="shop", syntax="proto3")
    file.dependency.append("google/protobuf/timestamp.proto")
    file.message_type.add(name="Note").field.add(name="text", number=1, type=field.TYPE_STRING, label=field.LABEL_OPTIONAL)
    order = file.message_type.add(name="Order")
    file.enum_type.add(name="State").value.extend(
        [descriptor_pb2.EnumValueDescriptorProto(name=name, number=number) for number, name in enumerate(("NEW", "PAID"))]
    )
    for number, (name, kind, type_name) in enumerate(
        [
            ("id", field.TYPE_INT64, ""),
            ("text", field.TYPE_STRING, ""),
            ("photo", field.TYPE_BYTES, ""),
            ("state", field.TYPE_ENUM, ".shop.State"),
            ("note", field.TYPE_MESSAGE, ".shop.Note"),
            ("at", field.TYPE_MESSAGE, ".google.protobuf.Timestamp"),
        ],
        1,
    ):
        order.field.add(name=name, number=number, type=kind, label=field.LABEL_OPTIONAL, **({"type_name": type_name} if type_name else {}))
    order.field.add(name="tags", number=7, type=field.TYPE_STRING, label=field.LABEL_REPEATED)
    order.field.add(name="sizes", number=8, type=field.TYPE_MESSAGE, label=field.LABEL_REPEATED, type_name=".shop.Order.SizesEntry")
    entry = order.nested_type.add(name="SizesEntry")
    entry.options.map_entry = True
    entry.field.add(name="key", number=1, type=field.TYPE_STRING, label=field.LABEL_OPTIONAL)
    entry.field.add(name="value", number=2, type=field.TYPE_INT32, label=field.LABEL_OPTIONAL)
    stamp = descriptor_pb2.FileDescriptorProto()
    timestamp_pb2.DESCRIPTOR.CopyToProto(stamp)
    return descriptor_pb2.FileDescriptorSet(file=[stamp, file])


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    path = tmp_path / "shop.desc"
    path.write_bytes(descriptors().SerializeToString())
    return path


def order_bytes() -> bytes:
    kind = GetMessages(list(descriptors().file))["shop.Order"]
    said = {
        "id": "5", "text": "tea", "photo": "AQI=", "state": "PAID", "note": {"text": "hot"},
        "at": "2026-01-01T00:00:00Z", "tags": ["a", "b"], "sizes": {"s": 1},
    }  # fmt: skip
    return json_format.ParseDict(said, kind()).SerializeToString()


async def test_protobuf_bare_and_in_an_envelope(shop: Path) -> None:
    decoder = ProtobufDecoder.load(shop, "shop.Order")
    expected = {
        "id": 5, "text": "tea", "photo": b"\1\2", "state": "PAID", "note": {"text": "hot"},
        "at": "2026-01-01T00:00:00Z", "tags": ["a", "b"], "sizes": {"s": 1},
    }  # fmt: skip
    assert await decoder.decode(order_bytes()) == expected
    assert await decoder.decode(enveloped(4, b"\x02\x02" + order_bytes())) == expected, "one index, 1: the second message of its file"
    assert await reason(decoder, enveloped(4, b"\x00" + order_bytes())) == "undecodable", "the short form of index 0: a Note"
    assert await reason(decoder, enveloped(4, b"\xff" * 20)) == "undecodable"
    assert await reason(decoder, b"\x0a\xff") == "undecodable"
    assert await reason(decoder, b"\x12\x01\xff") == "undecodable", "text that is not UTF-8"


async def test_a_campaign_file_opens_it(shop: Path) -> None:
    async with open_decoder(Source(topic="t", format="protobuf", descriptor_file=shop, message="shop.Order")) as decoder:
        assert (await decoder.decode(order_bytes()))["note"] == {"text": "hot"}


async def test_protobuf_zero_is_an_id_and_absent_messages_are_absent(shop: Path) -> None:
    empty = await ProtobufDecoder.load(shop, "shop.Order").decode(b"")
    assert (empty["id"], empty["text"], empty["tags"]) == (0, "", [])
    assert "note" not in empty


def test_descriptor_files_are_refused_with_a_remedy(shop: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"'shop\.Nope' is not in"):
        ProtobufDecoder.load(shop, "shop.Nope")
    alone = tmp_path / "alone.desc"
    alone.write_bytes(descriptor_pb2.FileDescriptorSet(file=descriptors().file[1:]).SerializeToString())
    with pytest.raises(UserError, match="--include_imports"):
        ProtobufDecoder.load(alone, "shop.Order")
    alone.write_bytes(b"\xff\xff")
    with pytest.raises(UserError, match="is no complete descriptor set"):
        ProtobufDecoder.load(alone, "shop.Order")
    with pytest.raises(UserError, match="cannot be read"):
        ProtobufDecoder.load(tmp_path / "none.desc", "shop.Order")


class NoRegistry:
    """Knows one schema, as the client does."""

    async def schema(self, number: int) -> RegisteredSchema:
        if number % 2:
            raise DeadLetter("unknown-schema", str(number))
        return RegisteredSchema(kind="AVRO", text=json.dumps(ORDER))


@given(st.binary(max_size=200), st.sampled_from([b"", b"\0\0\0\0\2", b"\0\0\0\0\2\2\2"]))
def test_any_bytes_are_read_or_put_aside(value: bytes, head: bytes) -> None:
    orders = ProtobufDecoder(GetMessages(list(descriptors().file))["shop.Order"])
    for decoder in (JsonDecoder(), AvroDecoder(NoRegistry()), orders):
        with suppress(DeadLetter):  # and nothing else
            assert isinstance(asyncio.run(decoder.decode(head + value)), dict)
