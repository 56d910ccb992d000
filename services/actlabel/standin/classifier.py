"""Small real models: any classifier with scikit-learn's ``predict_proba`` and ``classes_``."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from actlabel.completions.opinion import Opinion
from actlabel.completions.protocol import Question


class Classifier(Protocol):
    """The part of scikit-learn's classifiers that is used."""

    classes_: NDArray[Any]

    def predict_proba(self, rows: Any, /) -> NDArray[np.float64]:
        """Return (rows, classes) probabilities."""


class ClassifierAnswers:
    """Annotates with the most probable class; criticizes with one minus the probability of the label under review."""

    def __init__(self, classifier: Classifier, *, features: Callable[[Question], Any], labels: Sequence[str] | None = None) -> None:
        """``features``: question → one row for the classifier. ``labels``: names of its classes, in their order; default: themselves."""
        self._classifier = classifier
        self._features = features
        self._labels = tuple(labels if labels is not None else map(str, classifier.classes_))

    def answer(self, question: Question) -> Opinion:
        """See ``Answerer``. A label under review that the classifier does not know is wrong with probability 1."""
        row = self._classifier.predict_proba([self._features(question)])[0]
        chances = dict(zip(self._labels, map(float, row), strict=True))
        best = max(chances, key=chances.__getitem__)
        judged = best if question.label_under_review is None else question.label_under_review
        wrong = min(max(1.0 - chances.get(judged, 0.0), 0.0), 1.0)
        return Opinion(label=best, error_probability=wrong, reason=_reason(judged, best, chances))


def _reason(judged: str, best: str, chances: dict[str, float]) -> str:
    if judged == best:
        return f"It looks like {best} with probability {chances[best]:.2f}."
    return f"It looks like {best} ({chances[best]:.2f}) rather than {judged} ({chances.get(judged, 0.0):.2f})."
