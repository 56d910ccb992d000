"""The content of all items of a data set, as the models read it, in the order of the files."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from actlabel.classifiers.content import Content

_BATCH_ITEMS: Final = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """The content columns of Parquet files."""

    files: tuple[Path, ...]
    texts: tuple[str, ...]  # columns
    image: str | None  # column

    def __len__(self) -> int:
        """Return the number of items."""
        return sum(pq.read_metadata(file).num_rows for file in self.files)

    def __iter__(self) -> Iterator[Content]:
        """Read the files in pieces; memory holds one piece."""
        columns = ["id", *self.texts, *([self.image] if self.image else [])]
        for file in self.files:
            for batch in pq.ParquetFile(file).iter_batches(_BATCH_ITEMS, columns=columns):
                yield from self._of(batch)

    def _of(self, batch: pa.RecordBatch) -> Iterator[Content]:
        texts = [batch.column(name).to_pylist() for name in self.texts]
        images: list[Any] = batch.column(self.image).to_pylist() if self.image else [None] * len(batch)
        for row, name in enumerate(batch.column("id").to_pylist()):
            text = "\n".join(column[row] for column in texts if column[row])
            yield Content(name, text, images[row]["bytes"] if images[row] else None)


def contents_of(files: Sequence[Path], columns: Sequence[tuple[str, str]]) -> Contents:
    """Choose among content columns: all texts, and the first image."""
    images = [name for name, kind in columns if kind == "image"]
    return Contents(
        files=tuple(files),
        texts=tuple(name for name, kind in columns if kind == "text"),
        image=images[0] if images else None,
    )
