"""What the audit knows of one id: facts of a fixed size, one per record of a topic and one per row of the database.

An id is its 128-bit digest. Facts travel through files, so that memory does not grow with the campaign.
"""

import hashlib
import struct
from enum import IntEnum
from typing import Any, Final, NamedTuple

import numpy as np

from actlabel.core import topics


class Place(IntEnum):
    """Where a fact was found; the first five are topics, in the order in which an item passes them."""

    ITEMS = 0
    ANNOTATED = 1
    CRITIQUED = 2
    REVIEW = 3
    MERGED = 4
    LETTER = 5  # a message on the dead topic
    REGISTER = 6  # from here on rows of the database
    DEAD = 7
    QUEUE = 8  # of the review gateway
    CANDIDATE = 9
    DECISION = 10
    ANSWER = 11


TOPICS: Final = {
    topics.ITEMS: Place.ITEMS,
    topics.ANNOTATED: Place.ANNOTATED,
    topics.CRITIQUED: Place.CRITIQUED,
    topics.REVIEW: Place.REVIEW,
    topics.MERGED: Place.MERGED,
    topics.DEAD: Place.LETTER,
}
"""Kind of topic → place."""

_NO_TOPIC: Final = Place.LETTER
"""Stands for a topic that is none of ours, where a dead letter says where it was read."""

KINDS: Final = {place: kind for kind, place in TOPICS.items()}


class Flag:
    """What a fact says yes to: bits of its ``flags``. Plain numbers, for an ``IntFlag`` costs a microsecond at every ``&``."""

    EARLY: Final = 1  # the record was there before anything else was looked at
    UNREADABLE: Final = 2  # the record is no item of this id and campaign
    HUMAN: Final = 4  # it carries a review
    SELECTED: Final = 8  # its decision sends it to review
    UNCALIBRATED: Final = 16  # its decision takes the critic's number as it is
    PRODUCED: Final = 32  # registered, and said to be on the items topic
    REPLAYING: Final = 64  # a replay of the dead letter has begun
    PURGED: Final = 128  # given up for good
    OPEN: Final = 256  # waits for a reviewer
    PENDING: Final = 512  # an answer waits to be published
    ANSWERED: Final = 1024
    EXACT: Final = 2048  # a candidate of the exact mode


class Fact(NamedTuple):
    """One record or row. A field that a place has no use for is 0."""

    place: int
    flags: int
    partition: int
    revision: int  # of the content
    draw: int
    review: int  # revision of the answer
    offset: int  # of the record; of a letter and a dead row: where the record was read
    source: int  # the place that `offset` of a letter or a dead row is of; published draw of a queue row
    annotation: int  # 32-bit digest of what the annotator said
    critique: int  # the same of the critic
    epsilon: int  # in units of 2^-16: the critic's number on `critiqued` and of a candidate, after that the decision's
    human: int  # 32-bit digest of what the reviewer said
    decision: int  # 64-bit digest of the decision's numbers


_PACKED: Final = struct.Struct("<16sBHHIIIqIIIIIQ")
DTYPE: Final = np.dtype(
    [
        ("hi", "<u8"),
        ("lo", "<u8"),
        ("place", "u1"),
        ("flags", "<u2"),
        ("partition", "<u2"),
        ("revision", "<u4"),
        ("draw", "<u4"),
        ("review", "<u4"),
        ("offset", "<i8"),
        ("source", "<u4"),
        ("annotation", "<u4"),
        ("critique", "<u4"),
        ("epsilon", "<u4"),
        ("human", "<u4"),
        ("decision", "<u8"),
    ]
)
"""A packed fact with its id's digest as two integers."""

FACT_BYTES: Final = DTYPE.itemsize


def source_of(topic: str) -> Place:
    """Name the place of a topic by its name; a dead letter may come from one that is none of ours."""
    stage_first, _, _ = topic.removeprefix("actlabel.").partition(".")
    return TOPICS.get(stage_first, _NO_TOPIC) if topic.startswith("actlabel.") else _NO_TOPIC


def digest_of(key: bytes) -> bytes:
    """Return the 16 bytes that stand for an id: BLAKE2b of the record key as the dead letters write it, plain text."""
    return hashlib.blake2b(_plain(key), digest_size=16).digest()


def _plain(key: bytes) -> bytes:
    """A dead letter replaces what is no UTF-8, and NUL; both names of such a key must be one id here."""
    try:
        key.decode()
    except UnicodeDecodeError:
        key = key.decode(errors="replace").encode()
    return key.replace(b"\0", "\ufffd".encode()) if b"\0" in key else key


def packed(digest: bytes, fact: Fact) -> bytes:
    """Return the ``FACT_BYTES`` of a fact."""
    return _PACKED.pack(digest, *fact)


def short_digest(*values: Any) -> int:
    """Return 32 bits that tell values apart within this process; never written anywhere that outlives it."""
    return hash(values) & 0xFFFFFFFF


def decision_digest(*, draw: int, block: int, cell: int, cell_selected: int, cell_size: int, epsilon_q16: int, selected: bool) -> int:
    """Return 64 bits of a decision's numbers, π among them (``cell_selected / cell_size``). 0 stands for no decision."""
    return (hash((draw, block, cell, cell_selected, cell_size, epsilon_q16, bool(selected))) & 0xFFFFFFFFFFFFFFFF) or 1
