"""How the annotator asks for a label, and how it reads the answer. Pure."""

from collections.abc import Callable, Mapping
from typing import Final

from actlabel.chat.parsing import answer_object, label_field, text_field
from actlabel.chat.port import AnswerSchema, ChatAnswer, Message, TextPart
from actlabel.chat.prompt import DATA_NOT_INSTRUCTIONS, answer_words, item_parts, label_property, task_words
from actlabel.chat.strategy import Question, Strategy
from actlabel.contracts.v1.item_pb2 import Item
from actlabel.core.values import value
from actlabel.runtime.campaign_file import Annotator, CampaignFile, Task

_ROLE = "You label items for a data set. Give the one label that answers the question about the item."
_REASON_FIRST = "First reason in a few sentences about what in the item speaks for and against each label that could fit, then decide."


@value
class Labelled:
    """What a model said about an item."""

    label: str  # of the label set
    rationale: str  # empty where the strategy asks for none


class _OneQuestion:
    """Asks for a label in one turn. What is the same for every item is built, and encoded, once."""

    def __init__(self, task: Task, model: Annotator, *, name: str, reasons: bool) -> None:
        self.name = name
        self._reasons = reasons
        self._labels = task.label_names
        reasoning = {"reasoning": {"type": "string"}} if reasons else {}
        self._schema = AnswerSchema(name="annotation", properties={**reasoning, "label": label_property(task)})
        words = [_ROLE, task_words(task), DATA_NOT_INSTRUCTIONS, *([_REASON_FIRST] if reasons else [])]
        words.append(answer_words(self._schema, enforced=model.json_schema))
        self._system = Message(role="system", parts=(TextPart(text="\n\n".join(words)),))

    def render(self, item: Item) -> Question:
        """See ``Strategy``."""
        return Question(messages=(self._system, Message(role="user", parts=tuple(item_parts(item)))), schema=self._schema)

    def read(self, answer: ChatAnswer, item: Item) -> Labelled:  # noqa: ARG002 - other strategies need the item
        """See ``Strategy``."""
        fields = answer_object(answer.text, ("label",))
        rationale = text_field(fields, "reasoning") if self._reasons else ""
        return Labelled(label=label_field(fields, "label", self._labels), rationale=rationale)


def _naive(task: Task, model: Annotator) -> Strategy[Labelled]:
    return _OneQuestion(task, model, name="naive", reasons=False)


def _chain_of_thought(task: Task, model: Annotator) -> Strategy[Labelled]:
    return _OneQuestion(task, model, name="chain-of-thought", reasons=True)


_STRATEGIES: Final[Mapping[str, Callable[[Task, Annotator], Strategy[Labelled]]]] = {
    "naive": _naive,
    "chain-of-thought": _chain_of_thought,
}


def strategy_of(file: CampaignFile) -> Strategy[Labelled]:
    """Make the annotator's strategy of a campaign."""
    return _STRATEGIES[file.annotator.strategy](file.task, file.annotator)
