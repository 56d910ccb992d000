"""What a handler wants produced."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """One record to append; the loop produces it and waits for its acknowledgement before the input counts as done."""

    topic: str
    key: bytes
    value: bytes
