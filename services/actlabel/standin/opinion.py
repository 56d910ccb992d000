"""The port of those who answer, and several of them on one server."""

from collections.abc import Mapping
from typing import Protocol

from actlabel.completions.opinion import Opinion
from actlabel.completions.protocol import Question, Refused


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
