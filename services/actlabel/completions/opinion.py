"""What a model thinks of an item."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Opinion:
    """An answer before it is cut to the schema of the request."""

    label: str  # the one that the answerer would give
    error_probability: float  # that the label under review is wrong; for an annotation, that its own label is
    reason: str
