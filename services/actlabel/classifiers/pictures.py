"""Decoding images that strangers made."""

import io
import warnings
from typing import Final

from PIL import Image, UnidentifiedImageError

from actlabel.core.errors import UserError

FORMATS: Final = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
"""What is decoded; other decoders of Pillow are never tried."""


_REFUSALS = (OSError, SyntaxError, ValueError, UnidentifiedImageError, Image.DecompressionBombError, Image.DecompressionBombWarning)


def decode(data: bytes, name: str) -> Image.Image:
    """Return an image as RGB. Raises ``UserError`` that names the item when it is none, or absurdly large."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            return Image.open(io.BytesIO(data), formats=FORMATS).convert("RGB")
    except (
        OSError,
        SyntaxError,
        ValueError,
        UnidentifiedImageError,
        Image.DecompressionBombError,
        Image.DecompressionBombWarning,
    ) as error:
        raise UserError(f"item {name!r}: its image cannot be read ({error}); leave it out, or make it a PNG or JPEG") from error
