"""The content of one item as a model reads it."""

from typing import NamedTuple

from actlabel.core.errors import UserError


class Content(NamedTuple):
    """One item, with the name by which messages call it."""

    name: str
    text: str  # all text parts, one below the other; empty where there is none
    image: bytes | None  # the first image, as it came


def need_image(content: Content) -> bytes:
    """Return the image of an item. Raises ``UserError`` when it has none."""
    if content.image is None:
        raise UserError(f"item {content.name!r} has no image; choose a text model (--model ngrams), or leave such items out")
    return content.image
