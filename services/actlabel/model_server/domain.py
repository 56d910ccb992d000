"""What a classifier's probabilities mean as an answer. Pure."""

from collections.abc import Mapping, Sequence

from actlabel.completions.completion import allowed_labels
from actlabel.completions.opinion import Opinion
from actlabel.completions.protocol import Question, Refused


def judge(question: Question, labels: Sequence[str], probabilities: Sequence[float]) -> Opinion:
    """Annotate with the most probable label that the request allows; criticize with one minus the probability of the label under review.

    A label under review that the model does not know is wrong with probability 1. Raises ``Refused`` (422) when the request allows no
    label of the model.
    """
    chances = dict(zip(labels, probabilities, strict=True))
    best = max(_within(question, chances), key=chances.__getitem__)
    judged = best if question.label_under_review is None else question.label_under_review
    wrong = min(max(1.0 - chances.get(judged, 0.0), 0.0), 1.0)
    return Opinion(label=best, error_probability=wrong, reason=_reason(judged, best, chances))


def _within(question: Question, chances: Mapping[str, float]) -> Sequence[str]:
    allowed = allowed_labels(question)
    if allowed is None or question.task == "criticize":
        return tuple(chances)
    known = [label for label in chances if label in allowed]
    if not known:
        named = ", ".join(list(chances)[:10])
        raise Refused(422, "labels_unknown", f"the model knows none of the labels of the request; it was trained on {named}")
    return known


def _reason(judged: str, best: str, chances: Mapping[str, float]) -> str:
    if judged == best:
        return f"The model gives {best} the probability {chances[best]:.3f}."
    return f"The model gives {best} the probability {chances[best]:.3f} and {judged} {chances.get(judged, 0.0):.3f}."
