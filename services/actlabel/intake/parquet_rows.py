"""Rows of a Parquet file."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from actlabel.core.errors import UserError


def parquet_rows(path: Path) -> Iterator[Mapping[str, Any]]:
    """Read one after the other, in bounded memory. Raises ``UserError`` when it is no Parquet file."""
    try:
        for batch in pq.ParquetFile(path).iter_batches(batch_size=1024):
            yield from batch.to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{path}: cannot be read as Parquet ({error})") from error
