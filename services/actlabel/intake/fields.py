"""Which columns of a person's data mean what."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Fields:
    """Names of columns (or JSON keys). What is named nowhere here becomes metadata, which no model sees."""

    id: str = "id"
    text: tuple[str, ...] = ("text",)  # parts in reading order; those that a record lacks are left out
    image: tuple[str, ...] = ("image",)
    gold: str | None = None  # the true label, for evaluation only
    generate_ids: bool = False  # the content's hash is the id, so equal items become one
