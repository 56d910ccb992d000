"""Parquet shards of bounded size."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from actlabel.dataset.rows import Row
from actlabel.dataset.table import table


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardLimits:
    """How large the pieces are, in bytes of uncompressed columns."""

    row_group_bytes: int = 32 * 2**20
    shard_bytes: int = 256 * 2**20


class ParquetSink:
    """Writes ``part-00000.parquet`` and so on; a row group holds the rows of as many ``write`` calls as fit."""

    def __init__(self, folder: Path, form: pa.Schema, limits: ShardLimits | None = None) -> None:
        """Nothing is written before the first row group is full."""
        self._folder = folder
        self._form = form
        self._limits = limits or ShardLimits()
        self._waiting: list[pa.Table] = []
        self._writer: pq.ParquetWriter | None = None
        self._shards = 0
        self._shard_bytes = 0

    def write(self, rows: Sequence[Row]) -> None:
        """Take rows; raises ``OSError`` when the disk refuses."""
        self._waiting.append(table(rows, self._form))
        if sum(part.nbytes for part in self._waiting) >= self._limits.row_group_bytes:
            self._flush()

    def close(self) -> None:
        """Write what waits and end the last shard. An empty data set has one shard without rows."""
        self._flush()
        if not self._shards:
            self._open()
        self._end()

    def abandon(self) -> None:
        """Release the file that is open; its folder is about to be removed."""
        self._end()

    def _flush(self) -> None:
        if not self._waiting:
            return
        group = pa.concat_tables(self._waiting)
        self._waiting = []
        writer = self._writer or self._open()
        writer.write_table(group)
        self._shard_bytes += group.nbytes
        if self._shard_bytes >= self._limits.shard_bytes:
            self._end()

    def _open(self) -> pq.ParquetWriter:
        path = self._folder / f"part-{self._shards:05}.parquet"
        self._shards += 1
        self._shard_bytes = 0
        self._writer = pq.ParquetWriter(path, self._form, compression="zstd", write_page_index=True)
        return self._writer

    def _end(self) -> None:
        if self._writer is not None:
            self._writer.close()
        self._writer = None
