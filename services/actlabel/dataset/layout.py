"""Which columns hold the content: the Hugging Face names ``text`` and ``image`` first, further parts under their own names."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple

from actlabel.contracts.v1.item_pb2 import Content, Part

Kind = Literal["text", "image"]

SCHEMA_VERSION: Final = 1
"""Of the data set; it goes into the manifest and into every Parquet file."""

FIXED: Final = (
    *("id", "label", "label_id", "label_source", "model_label", "human_label", "p_error", "p_error_calibrated", "pi", "sampled"),
    *("draw", "block", "cell", "cell_selected", "cell_size", "rule", "outcome", "suggested_label", "annotator_model", "critic_model"),
    *("campaign_version", "batch", "cost_usd", "created_at", "reviewed_at", "reviewer", "metadata"),
)
"""The columns that every data set has, beside its content."""


class ContentKey(NamedTuple):
    """Which part of an item a column holds: the first of its kind (``name`` is empty) or a further one."""

    kind: Kind
    name: str
    copy: int  # of parts of the same kind and name within one item, from 0


def content_keys(content: Content) -> Iterator[tuple[ContentKey, Part]]:
    """Yield every part of an item with its key, in reading order; parts without any content are left out."""
    seen: dict[tuple[Kind, str], int] = {}
    for part in content.parts:
        kind = _kind(part)
        if kind is None:
            continue
        name = "" if not any(taken == kind for taken, _ in seen) else part.name
        copy = seen.get((kind, name), 0)
        seen[kind, name] = copy + 1
        yield ContentKey(kind, name, copy), part


def _kind(part: Part) -> Kind | None:
    which = part.WhichOneof("kind")
    return None if which is None else "text" if which == "text" else "image"


@dataclass(frozen=True, slots=True)
class Layout:
    """The content columns of one data set."""

    columns: dict[ContentKey, str] = field(default_factory=dict)


def layout_of(keys: Collection[ContentKey]) -> Layout:
    """Name a column for every key that occurs in the data set; a name that is taken gets its kind in front, then a number behind."""
    columns: dict[ContentKey, str] = {}
    taken = {*FIXED, "text", "image"}
    for key in sorted(keys, key=lambda key: (bool(key.name), key)):
        first = not key.name and key.copy == 0
        columns[key] = name = key.kind if first else _free(key, taken)
        taken.add(name)
    return Layout(columns)


def _free(key: ContentKey, taken: Collection[str]) -> str:
    plain = [key.name, f"{key.kind}_{key.name}"] if key.name else []
    numbered = (f"{key.kind}_{key.name}_{number}" for number in range(2, len(taken) + 3))
    return next(name for name in (*plain, *numbered) if name not in taken)
