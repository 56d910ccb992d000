"""How large a record may be, the same on every backend."""

from actlabel.core.errors import DeadLetter
from actlabel.stream.port import MAX_RECORD_BYTES, Headers


def check_size(topic: str, *, key: bytes, value: bytes, headers: Headers) -> None:
    """Raise ``DeadLetter('too-large', …)`` for a record that no log will ever take."""
    size = len(key) + len(value) + sum(len(name) + len(content) for name, content in headers)
    if size > MAX_RECORD_BYTES:
        raise DeadLetter("too-large", f"{size} bytes for {topic}; a record holds at most {MAX_RECORD_BYTES}")
