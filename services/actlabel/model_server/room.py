"""How many bytes of requests are held at once: a flood of large images gets 429 instead of our memory."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from actlabel.completions.protocol import Refused

LARGEST_BODY_BYTES: Final = 32 * 2**20  # an image of 20 MiB in base64, and words
MOST_BYTES: Final = 256 * 2**20


class Room:
    """Bytes of requests between their first and their answer."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        """Begin empty."""
        self._left = most_bytes

    @contextmanager
    def taken(self, declared_bytes: int | None) -> Iterator[None]:
        """Hold room for a body of the declared size. Raises ``Refused``: 411 undeclared, 413 too large, 429 no room now."""
        if declared_bytes is None:
            raise Refused(411, "length_required", "send the body with Content-Length")
        if declared_bytes > LARGEST_BODY_BYTES:
            raise Refused(413, "body_too_large", f"the body has {declared_bytes} bytes, more than {LARGEST_BODY_BYTES}")
        if declared_bytes > self._left:
            raise Refused(429, "rate_limit_exceeded", "too many large requests at once; wait as Retry-After says")
        self._left -= declared_bytes
        try:
            yield
        finally:
            self._left += declared_bytes
