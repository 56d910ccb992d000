"""Is this an image that may be sent to a model? Records are hostile input, and some images are bombs."""

import io
import warnings

from PIL import Image

from actlabel.core.errors import DeadLetter

MOST_PIXELS = 64_000_000
LARGEST_BYTES = 20 * 2**20
_KINDS = {"PNG": "image/png", "JPEG": "image/jpeg", "GIF": "image/gif", "WEBP": "image/webp"}


def check_image(data: bytes, mime_type: str) -> None:
    """Raise ``DeadLetter('bad-media', …)`` unless the bytes are an intact image of that type and of a sane size. Decodes no pixels."""
    if len(data) > LARGEST_BYTES:
        raise DeadLetter("bad-media", f"the image has {len(data)} bytes, more than {LARGEST_BYTES}")
    kind, pixels = _looked_at(data)
    if kind != mime_type:
        raise DeadLetter("bad-media", f"the record says {mime_type[:60]!r}, the bytes are {kind}")
    if pixels > MOST_PIXELS:
        raise DeadLetter("bad-media", f"the image has {pixels} pixels, more than {MOST_PIXELS}")


def _looked_at(data: bytes) -> tuple[str, int]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our own limit is lower
            with Image.open(io.BytesIO(data), formats=tuple(_KINDS)) as image:
                kind, pixels = _KINDS[image.format or ""], image.width * image.height
                image.verify()
    except Exception as error:  # decoders raise anything on hostile bytes
        raise DeadLetter("bad-media", f"the bytes are no intact image ({type(error).__name__})") from error
    return kind, pixels
