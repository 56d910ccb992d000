"""One file of a followed export while it is written, as columns."""

from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from actlabel.dataset.rows import Row

_ROW_GROUP: Final = 1024
_TEXT, _INT, _FLOAT = pa.string(), pa.int64(), pa.float64()
_PART: Final = pa.struct(
    [(name, _INT if name == "size_bytes" else _TEXT)
     for name in ("name", "kind", "text", "mime_type", "sha256", "size_bytes", "uri", "data_base64")]
)  # fmt: skip
_SCHEMA: Final = pa.schema(
    [
        *((name, _TEXT) for name in ("id", "campaign", "campaign_uid", "label", "label_source", "model_label", "human_label")),
        *((name, _INT) for name in ("schema_version", "campaign_version", "draw", "revision", "content_revision", "batch")),
        *((name, _FLOAT) for name in ("p_error", "p_error_calibrated", "pi", "weight", "cost_usd")),
        *((name, _TEXT) for name in ("suggested_label", "outcome", "rule", "annotator_model", "critic_model", "reviewer")),
        *((name, _INT) for name in ("block", "cell", "cell_selected", "cell_size")),
        ("sampled", pa.bool_()),
        *((name, pa.timestamp("us", tz="UTC")) for name in ("created_at", "reviewed_at")),
        ("metadata", pa.list_(pa.struct([("key", _TEXT), ("value", _TEXT)]))),
        ("parts", pa.list_(_PART)),
    ]
)


class ParquetPart:
    """The same records as columns; metadata is a list of pairs, as in the exported data set."""

    def __init__(self, path: Path) -> None:
        """Open the file."""
        self._writer = pq.ParquetWriter(path, _SCHEMA, compression="zstd")
        self._rows: list[Row] = []

    def write(self, row: Row, /) -> None:
        """See ``PartFile``."""
        pairs = [{"key": key, "value": value} for key, value in row["metadata"].items()]
        self._rows.append({**row, "metadata": pairs})
        if len(self._rows) == _ROW_GROUP:
            self._flush()

    def _flush(self) -> None:
        self._writer.write_table(pa.Table.from_pylist(self._rows, schema=_SCHEMA))
        self._rows = []

    def close(self) -> None:
        """See ``PartFile``."""
        if self._rows:
            self._flush()
        self._writer.close()
