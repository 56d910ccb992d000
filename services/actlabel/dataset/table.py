"""The columns of a merged data set as Arrow types, readable by Hugging Face datasets as they are."""

import json
from collections.abc import Sequence
from typing import Any, Final

import pyarrow as pa

from actlabel.dataset.layout import SCHEMA_VERSION, Layout
from actlabel.dataset.rows import Row

IMAGE: Final = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
"""An image as Hugging Face datasets stores it."""

_TIME: Final = pa.timestamp("us", tz="UTC")
_LABELS: Final[list[tuple[str, Any]]] = [
    ("label", pa.string()),
    ("label_id", pa.int64()),
    ("label_source", pa.string()),
    ("model_label", pa.string()),
    ("human_label", pa.string()),
]
_DECISION: Final[list[tuple[str, Any]]] = [
    ("p_error", pa.float64()),
    ("p_error_calibrated", pa.float64()),
    ("pi", pa.float64()),
    ("sampled", pa.bool_()),
    ("draw", pa.int64()),
    ("block", pa.int64()),
    ("cell", pa.int64()),
    ("cell_selected", pa.int64()),
    ("cell_size", pa.int64()),
    ("rule", pa.string()),
    ("outcome", pa.string()),
    ("suggested_label", pa.string()),
]
_ORIGIN: Final[list[tuple[str, Any]]] = [
    ("annotator_model", pa.string()),
    ("critic_model", pa.string()),
    ("campaign_version", pa.int64()),
    ("batch", pa.int64()),
    ("cost_usd", pa.float64()),
    ("created_at", _TIME),
    ("reviewed_at", _TIME),
    ("reviewer", pa.string()),
    # not a map: Hugging Face datasets has no such type
    ("metadata", pa.list_(pa.struct([("key", pa.string()), ("value", pa.string())]))),
]


def schema(layout: Layout, labels: Sequence[str], facts: dict[str, Any]) -> pa.Schema:
    """Return the schema: id, content, labels, decision, origin. ``facts`` go into the file's metadata under ``actlabel``."""
    content = [(name, pa.string() if key.kind == "text" else IMAGE) for key, name in layout.columns.items()]
    fields = pa.schema([("id", pa.string()), *content, *_LABELS, *_DECISION, *_ORIGIN])
    about = {"schema_version": SCHEMA_VERSION, "labels": list(labels), **facts}
    return fields.with_metadata({"actlabel": json.dumps(about, sort_keys=True), "huggingface": _features(layout, labels)})


def _features(layout: Layout, labels: Sequence[str]) -> str:
    """Name what Arrow types do not say: which columns are images, and the classes behind ``label_id``."""
    images: dict[str, Any] = {name: {"_type": "Image"} for key, name in layout.columns.items() if key.kind == "image"}
    classes = {"label_id": {"names": list(labels), "_type": "ClassLabel"}}
    return json.dumps({"info": {"features": {**images, **classes}}})


def table(rows: Sequence[Row], form: pa.Schema) -> pa.Table:
    """Turn rows into a table; content that an item lacks is null."""
    return pa.Table.from_pylist(list(rows), schema=form)
