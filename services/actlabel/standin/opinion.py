"""What a stand-in thinks of an item, and the port of those who think."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from actlabel.standin.protocol import Question, Refused


@dataclass(frozen=True, slots=True, kw_only=True)
class Opinion:
    """An answer before it is cut to the schema of the request."""

    label: str  # the one that the answerer would give
    error_probability: float  # that the label under review is wrong; for an annotation, that its own label is
    reason: str


class Answerer(Protocol):
    """Answers questions at once: it neither waits nor does input or output."""

    def answer(self, question: Question) -> Opinion:
        """Judge an item. Raises ``Refused`` for an item that it knows nothing about."""


class ByModel:
    """Several answerers on one server, told apart by the ``model`` of the request."""

    def __init__(self, answerers: Mapping[str, Answerer]) -> None:
        """``answerers``: model name → who answers."""
        self.answerers = answerers

    def answer(self, question: Question) -> Opinion:
        """See ``Answerer``; another model is refused with 404."""
        answerer = self.answerers.get(question.model)
        if answerer is None:
            raise Refused(404, "model_not_found", f"model {question.model!r} is not served here; there is {', '.join(self.answerers)}")
        return answerer.answer(question)
