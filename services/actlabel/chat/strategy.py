"""What a strategy is: how an item becomes a question, and how the answer is read.

Naive and chain of thought are there. The others of the method fit the same two steps: multiple choice reads a graded word as a number,
devil's advocate renders the annotator's reasoning to attack it, logit and perplexity read token probabilities once ``ChatAnswer``
carries them, several critics are several strategies whose readings a handler combines. A new one is a class and a row in the
table of its room's ``domain.py``.
"""

from typing import Protocol, TypeVar

from actlabel.chat.port import AnswerSchema, ChatAnswer, Message
from actlabel.contracts.v1.item_pb2 import Item
from actlabel.core.values import value

T_co = TypeVar("T_co", covariant=True)


@value
class Question:
    """What a model is asked about one item."""

    messages: tuple[Message, ...]
    schema: AnswerSchema


class Strategy(Protocol[T_co]):
    """One way to ask. Pure, made once per campaign version; the same item always gives the same question, byte for byte."""

    @property
    def name(self) -> str:
        """As campaign files write it."""

    def render(self, item: Item) -> Question:
        """Ask about an item. Raises ``DeadLetter`` when the item lacks what the question needs."""

    def read(self, answer: ChatAnswer, item: Item) -> T_co:
        """Read the answer into the label set. Raises ``BadAnswer`` with what is wrong."""
