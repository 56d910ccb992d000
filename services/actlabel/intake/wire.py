"""The envelope that Confluent's serialisers put around a record: a zero byte, the schema's number, and for protobuf the message's place."""

import struct
from typing import Final, NamedTuple

from actlabel.core.errors import DeadLetter

UNDECODABLE: Final = "undecodable"
_HEAD: Final = struct.Struct(">bi")
_MOST_INDEXES: Final = 100


class Enveloped(NamedTuple):
    """The schema's number, and the bytes that it describes."""

    schema: int
    body: bytes


def is_enveloped(value: bytes) -> bool:
    """Say whether a value begins as an envelope does; no JSON and no protobuf message begins with a zero byte."""
    return value[:1] == b"\0"


def opened(value: bytes) -> Enveloped:
    """Open the envelope. Raises ``DeadLetter('undecodable', …)`` when there is none."""
    if len(value) < _HEAD.size or not is_enveloped(value):
        raise DeadLetter(UNDECODABLE, f"the {len(value)} bytes do not begin with a zero byte and the number of a schema")
    _, number = _HEAD.unpack_from(value)
    return Enveloped(number, value[_HEAD.size :])


def message_place(body: bytes) -> tuple[tuple[int, ...], bytes]:
    """Split the place of a protobuf message within its file (indexes, outermost first) from its bytes.

    Raises ``DeadLetter('undecodable', …)``.
    """
    count, at = _zigzag(body, 0)
    if not 0 <= count <= _MOST_INDEXES:
        raise DeadLetter(UNDECODABLE, f"a place of {count} indexes is no message of a protobuf file")
    indexes = []
    for _ in range(count):
        index, at = _zigzag(body, at)
        indexes.append(index)
    return tuple(indexes) or (0,), body[at:]


def _zigzag(body: bytes, at: int) -> tuple[int, int]:
    """Read a zigzag varint (Protocol Buffers encoding); return it and where it ends."""
    value = shift = 0
    while at < len(body) and shift < 64:
        byte = body[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return (value >> 1) ^ -(value & 1), at
    raise DeadLetter(UNDECODABLE, "the place of the message within its file is cut off")
