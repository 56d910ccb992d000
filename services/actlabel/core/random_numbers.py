"""Permanent random numbers: one per item, from a secret key, the same wherever and whenever they are computed.

A number that followed from a public seed could be steered: whoever chooses the ids would choose ids that evade review.
"""

import hashlib
import hmac
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_BYTES = 8


def random_number(key: bytes, item_id: str) -> int:
    """Return the number of one item, 0 to 2^64 - 1: the first 8 bytes, big-endian, of HMAC-SHA256 (RFC 2104) over the id's UTF-8."""
    return int.from_bytes(hmac.digest(key, item_id.encode(), hashlib.sha256)[:_BYTES], "big")


def random_numbers(key: bytes, ids: Sequence[str]) -> NDArray[np.uint64]:
    """Return the numbers (n,) of many items, in their order."""
    numbers = bytearray()
    for item_id in ids:  # joined as they come: a million byte strings at once would weigh more than all numbers
        numbers += hmac.digest(key, item_id.encode(), hashlib.sha256)[:_BYTES]
    return np.frombuffer(numbers, dtype=">u8").astype(np.uint64)
