"""What a handler wants produced."""

from actlabel.core.values import value


@value
class Outgoing:
    """One record to append; the loop produces it and waits for its acknowledgement before the input counts as done."""

    topic: str
    key: bytes
    value: bytes
