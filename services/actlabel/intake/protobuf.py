"""Protobuf records of other people: read by a descriptor set, without generated code."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from google.protobuf import descriptor_pb2, json_format, message_factory
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError, Message

from actlabel.core.errors import DeadLetter, UserError
from actlabel.intake.wire import UNDECODABLE, is_enveloped, message_place, opened

# Descriptors are Any here: their C and Python classes have no type in common.
_REMEDY: Final = "make it with protoc --include_imports --descriptor_set_out=FILE"


class ProtobufDecoder:
    """One message type, bare or in Confluent's envelope. See ``decoders.Decoder``."""

    def __init__(self, kind: type[Message]) -> None:
        """``kind``: the class of the message."""
        self._kind = kind
        self._place = _place(kind.DESCRIPTOR)

    @classmethod
    def load(cls, path: Path, message: str) -> "ProtobufDecoder":
        """Read a descriptor set. Raises ``UserError`` when it cannot be used or has no such message."""
        pool = DescriptorPool()
        try:
            files = descriptor_pb2.FileDescriptorSet.FromString(path.read_bytes()).file
            for file in files:
                pool.AddSerializedFile(file.SerializeToString())
            return cls(message_factory.GetMessageClass(pool.FindMessageTypeByName(message)))
        except OSError as error:
            raise UserError(f"source.descriptor_file: {path} cannot be read ({error.strerror})") from error
        except (DecodeError, TypeError) as error:
            raise UserError(f"source.descriptor_file: {path} is no complete descriptor set ({error}); {_REMEDY}") from error
        except KeyError as error:
            raise UserError(f"source.message: {message!r} is not in {path}; write its full name, package included") from error

    async def decode(self, value: bytes) -> Mapping[str, Any]:
        """See ``decoders.Decoder``."""
        body = self._opened(value) if is_enveloped(value) else value
        try:
            return _columns(self._kind.FromString(body))
        except (DecodeError, UnicodeDecodeError, RecursionError, ValueError) as error:
            raise DeadLetter(UNDECODABLE, f"is no {self._kind.DESCRIPTOR.full_name} ({type(error).__name__})") from error

    def _opened(self, value: bytes) -> bytes:
        place, body = message_place(opened(value).body)
        if place != self._place:
            raise DeadLetter(UNDECODABLE, f"is message {place} of its file; {self._kind.DESCRIPTOR.full_name} is {self._place}")
        return body


def _place(descriptor: Any) -> tuple[int, ...]:
    """Count where a message stands in its file, outermost message first."""
    outer = descriptor.containing_type
    if outer is None:
        return (list(descriptor.file.message_types_by_name).index(descriptor.name),)
    return (*_place(outer), list(outer.nested_types_by_name).index(descriptor.name))


def _columns(message: Message) -> dict[str, Any]:
    """Return the fields by name. One that can be absent and is, is left out; one that cannot has its default."""
    return {
        field.name: _value(field, getattr(message, field.name))
        for field in message.DESCRIPTOR.fields
        if not field.has_presence or message.HasField(field.name)
    }


def _value(field: Any, value: Any) -> Any:
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        inner = field.message_type.fields_by_name["value"]
        return {str(key): _single(inner, each) for key, each in value.items()}
    return [_single(field, each) for each in value] if field.is_repeated else _single(field, value)


def _single(field: Any, value: Any) -> Any:
    if field.message_type is not None:
        well_known = field.message_type.full_name.startswith("google.protobuf.")
        return json_format.MessageToDict(value) if well_known else _columns(value)
    if field.enum_type is not None:
        known = field.enum_type.values_by_number.get(value)
        return value if known is None else known.name
    return value
