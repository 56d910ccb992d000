"""What the server needs from a model."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from actlabel.classifiers.content import Content
from actlabel.core.errors import UserError

Answer = Sequence[float] | UserError
"""The probability of every label, or what is wrong with this one item."""


class Predictor(Protocol):
    """A loaded model. ``predict`` is called by one thread at a time."""

    @property
    def labels(self) -> Sequence[str]:
        """What it can answer."""

    @property
    def reads_images(self) -> bool:
        """Say whether it looks at the image; else at the text."""

    def predict(self, contents: Sequence[Content], /) -> Sequence[Answer]:
        """Answer for every content, in order. Blocks. An item that cannot be read is an answer of its own; anything raised is a defect."""


Open = Callable[[Path], Predictor]
"""Loads a predictor from a model's folder. Blocks; raises ``UserError``."""
