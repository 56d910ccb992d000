"""Which columns of a person's data mean what."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Fields:
    """Names of columns (or JSON keys); ``order.text`` is the key ``text`` inside ``order``, unless a column has that very name.

    What is named nowhere here becomes metadata, which no model sees.
    """

    id: str = "id"
    text: tuple[str, ...] = ("text",)  # parts in reading order; those that a record lacks are left out
    image: tuple[str, ...] = ("image",)
    gold: str | None = None  # the true label, for evaluation only
    generate_ids: bool = False  # the content's hash is the id, so equal items become one

    @property
    def named(self) -> frozenset[str]:
        """Every name."""
        return frozenset({self.id, *self.text, *self.image} | ({self.gold} if self.gold is not None else set()))


def value_at(columns: Mapping[str, Any], name: str) -> Any:
    """Return what a record holds under a name; None where it holds nothing."""
    if name in columns:
        return columns[name]
    head, dot, rest = name.partition(".")
    inner = columns.get(head)
    return value_at(inner, rest) if dot and isinstance(inner, Mapping) else None


def without(columns: Mapping[str, Any], names: Collection[str]) -> dict[str, Any]:
    """Return a record without what lies under these names: a nested gold label must not stay behind in its neighbours."""
    kept = {key: value for key, value in columns.items() if key not in names}
    nested = {name.partition(".")[0] for name in names if name not in columns and "." in name}
    for head in nested & kept.keys():
        if isinstance(kept[head], Mapping):
            inner = without(kept[head], {name.partition(".")[2] for name in names if name.startswith(f"{head}.")})
            kept[head] = inner or None
    return kept
