"""Bytes of a topic into named columns, by the format that the campaign file says."""

import io
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final, Protocol

import fastavro
from fastavro.types import Schema

from actlabel.core.errors import DeadLetter
from actlabel.intake.protobuf import ProtobufDecoder
from actlabel.intake.schema_registry import RegisteredSchema, SchemaRegistry
from actlabel.intake.wire import UNDECODABLE, is_enveloped, opened
from actlabel.runtime.campaign_streams import Source

_ENVELOPE_BYTES: Final = 5


class Decoder(Protocol):
    """One format."""

    async def decode(self, value: bytes) -> Mapping[str, Any]:
        """Return the record's columns.

        Raises ``DeadLetter``: ``'undecodable'`` or ``'unknown-schema'``; ``RetryLater`` when a registry that is needed is out of reach.
        """


class JsonDecoder:
    """JSON objects, bare or in the envelope of a JSON Schema serialiser."""

    async def decode(self, value: bytes) -> Mapping[str, Any]:
        """See ``Decoder``."""
        try:
            found = json.loads(value[_ENVELOPE_BYTES:] if is_enveloped(value) else value)
        except (ValueError, RecursionError) as error:
            raise DeadLetter(UNDECODABLE, f"is not JSON ({type(error).__name__}: {error})") from error
        if not isinstance(found, dict):
            raise DeadLetter(UNDECODABLE, "is not a JSON object with named fields")
        return found


class AvroDecoder:
    """Avro in Confluent's envelope; the writer's schema comes from the registry."""

    def __init__(self, registry: SchemaRegistry) -> None:
        """``registry`` is open."""
        self._registry = registry
        self._parsed: dict[int, Schema] = {}

    async def decode(self, value: bytes) -> Mapping[str, Any]:
        """See ``Decoder``."""
        number, body = opened(value)
        schema = self._parsed.get(number)
        if schema is None:
            schema = self._parsed[number] = _parsed(await self._registry.schema(number), number)
        return _read_avro(body, schema, number)


def _parsed(registered: RegisteredSchema, number: int) -> Schema:
    if registered.kind != "AVRO":
        raise DeadLetter(UNDECODABLE, f"schema {number} is {registered.kind}, not AVRO; the campaign file says format avro")
    try:
        named: dict[str, dict[Any, Any]] = {}
        for text in registered.references:
            fastavro.parse_schema(json.loads(text), named_schemas=named)
        return fastavro.parse_schema(json.loads(registered.text), named_schemas=named)
    except Exception as error:  # many kinds: whatever it is, records of this schema cannot be read
        raise DeadLetter(UNDECODABLE, f"schema {number} is no Avro schema ({type(error).__name__})") from error


def _read_avro(body: bytes, schema: Schema, number: int) -> Mapping[str, Any]:
    stream = io.BytesIO(body)
    try:
        found = fastavro.schemaless_reader(stream, schema, None)
    except Exception as error:  # the reader meets hostile bytes with many kinds of errors
        raise DeadLetter(UNDECODABLE, f"is not what Avro schema {number} describes ({type(error).__name__})") from error
    if stream.tell() != len(body):
        raise DeadLetter(UNDECODABLE, f"has {len(body) - stream.tell()} bytes more than Avro schema {number} describes")
    if not isinstance(found, dict):
        raise DeadLetter(UNDECODABLE, f"Avro schema {number} is no record with named fields")
    return found


@asynccontextmanager
async def open_decoder(source: Source) -> AsyncIterator[Decoder]:
    """Open what decodes a source. Raises ``UserError`` for files that cannot be used."""
    if source.format == "json":
        yield JsonDecoder()
    elif source.format == "protobuf":
        assert source.descriptor_file is not None, "the campaign file was checked"
        yield ProtobufDecoder.load(source.descriptor_file, source.message or "")
    else:
        async with SchemaRegistry(source.schema_registry or "", auth_file=source.schema_registry_auth_file) as registry:
            yield AvroDecoder(registry)
