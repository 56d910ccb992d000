"""Facts on disk, in buckets by the id's digest: all facts of one id are in one bucket, and a bucket fits into memory."""

from collections.abc import Iterator
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, Final

import numpy as np

from actlabel.audit.facts import DTYPE, FACT_BYTES, Fact, packed
from actlabel.core.errors import UserError

BUCKET_FACTS: Final = 2**18
"""How many facts a bucket is meant to have."""

_MOST_BUCKETS: Final = 4096
_BUFFER_BYTES: Final = 16 * 1024
_SLICE: Final = 4096
_SLICE_BYTES: Final = 4 * 2**20
_ORDER_BYTES: Final = 8 + 16  # of the order, and of the keys while they are sorted
_ID: Final = itemgetter(0, 1)


def bucket_count(facts: int) -> int:
    """Return how many buckets so many facts get: a power of two."""
    return int(min(_MOST_BUCKETS, 1 << max(0, (max(facts, 1) - 1) // BUCKET_FACTS).bit_length()))


class Buckets:
    """Files in a folder of the audit's own."""

    def __init__(self, folder: Path, *, facts: int) -> None:
        """``facts``: about how many will come."""
        self._folder = folder
        self._mask = bucket_count(facts) - 1
        self._buffers = [bytearray() for _ in range(self._mask + 1)]
        self._sizes = [0] * (self._mask + 1)  # facts per bucket
        self.facts = 0

    def add(self, digest: bytes, fact: Fact) -> None:
        """Keep a fact of the id with this digest. Raises ``UserError`` when the disk is full."""
        number = int.from_bytes(digest[:2], "little") & self._mask
        buffer = self._buffers[number]
        buffer += packed(digest, fact)
        self.facts += 1
        self._sizes[number] += 1
        if len(buffer) >= _BUFFER_BYTES:
            self._flush(number)

    @property
    def memory_bytes(self) -> int:
        """The most that facts take in memory: the buffers, and the largest bucket with its sorted copy and a slice of it as objects."""
        return len(self._buffers) * _BUFFER_BYTES + max(self._sizes) * (2 * FACT_BYTES + _ORDER_BYTES) + _SLICE_BYTES

    def _flush(self, number: int) -> None:
        buffer = self._buffers[number]
        try:
            with self._path(number).open("ab") as file:
                file.write(buffer)
        except OSError as error:
            raise UserError(
                f"{self._folder}: the audit cannot write its working files ({error.strerror}); name another with --work"
            ) from error
        buffer.clear()

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:04}.facts"

    def ids(self) -> Iterator[tuple[bytes, list[Fact]]]:
        """Yield every id's digest with all facts of it, a bucket at a time; each file is removed when it was read."""
        for number in range(self._mask + 1):
            self._flush(number)
            rows = np.fromfile(self._path(number), dtype=DTYPE)
            self._path(number).unlink()
            yield from _groups(rows[np.lexsort((rows["lo"], rows["hi"]))])


def _groups(rows: "np.ndarray[Any, Any]") -> Iterator[tuple[bytes, list[Fact]]]:
    flat = (row for start in range(0, len(rows), _SLICE) for row in rows[start : start + _SLICE].tolist())
    for (high, low), group in groupby(flat, key=_ID):
        digest = int(high).to_bytes(8, "little") + int(low).to_bytes(8, "little")
        yield digest, [Fact._make(row[2:]) for row in group]
