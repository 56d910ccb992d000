"""What counts as an image: one that Pillow decodes whole, of a kind that every endpoint takes."""

import io
import warnings

from PIL import Image

from actlabel.core.errors import UserError

KINDS = {"PNG": "image/png", "JPEG": "image/jpeg", "GIF": "image/gif", "WEBP": "image/webp"}
SUFFIXES = (".png", ".jpg", ".jpeg", ".gif", ".webp")
PIXEL_LIMIT = 64_000_000
SIZE_LIMIT_BYTES = 20 * 2**20


def mime_type(data: bytes, *, where: str) -> str:
    """Return the type that the bytes show. Raises ``UserError`` for what is no image, too large, or of another kind."""
    if len(data) > SIZE_LIMIT_BYTES:
        raise UserError(f"{where}: {len(data)} bytes, more than {SIZE_LIMIT_BYTES}; scale the image down")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data), formats=tuple(KINDS)) as image:
                kind, pixels = image.format, image.width * image.height
                if pixels <= PIXEL_LIMIT:
                    image.load()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise UserError(f"{where}: is no image that can be decoded (PNG, JPEG, GIF or WebP)") from error
    if pixels > PIXEL_LIMIT or kind is None:
        raise UserError(f"{where}: {pixels} pixels, more than {PIXEL_LIMIT}; scale the image down")
    return KINDS[kind]
