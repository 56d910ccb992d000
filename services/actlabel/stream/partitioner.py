"""Which partition a key belongs to: murmur2, as Kafka's own clients do it, so that every backend puts a record in the same place."""

import struct
from typing import Final

_SEED: Final = 0x9747B28C
_M: Final = 0x5BD1E995
_MASK: Final = 0xFFFFFFFF


def partition_of(key: bytes, partitions: int) -> int:
    """Return the partition number of a key in a topic of ``partitions`` (``DefaultPartitioner`` of Kafka's Java client)."""
    return (murmur2(key) & 0x7FFFFFFF) % partitions


def murmur2(data: bytes) -> int:
    """Hash to 32 bits (Austin Appleby's MurmurHash2 with the seed of ``org.apache.kafka.common.utils.Utils.murmur2``)."""
    whole = len(data) & ~3
    h = _SEED ^ len(data)
    for (k,) in struct.iter_unpack("<I", data[:whole]):
        k = k * _M & _MASK  # noqa: PLW2901 - the algorithm mixes the word in place
        k = (k ^ k >> 24) * _M & _MASK  # noqa: PLW2901
        h = h * _M & _MASK ^ k
    if tail := data[whole:]:
        h = (h ^ int.from_bytes(tail, "little")) * _M & _MASK
    h = (h ^ h >> 13) * _M & _MASK
    return h ^ h >> 15
