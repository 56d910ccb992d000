"""Which model a word means."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from actlabel.classifiers.cnn import ConvNetKind
from actlabel.classifiers.huggingface import huggingface_kind
from actlabel.classifiers.ngrams import NgramKind
from actlabel.classifiers.port import ModelKind
from actlabel.core.errors import UserError

BUILT_IN: Final[Mapping[str, Callable[[], ModelKind]]] = {"cnn": ConvNetKind, "ngrams": NgramKind}
"""Kinds that need nothing but torch."""


def choose_model(word: str, columns: Sequence[tuple[str, str]]) -> ModelKind:
    """Open ``auto``, ``cnn``, ``ngrams`` or ``hf:<name or path>`` for these content columns. Raises ``UserError``."""
    images = any(kind == "image" for _, kind in columns)
    if word == "cnn" and not images:
        raise UserError("--model cnn: the items have no image; use ngrams, or hf: with a text classifier")
    if word == "ngrams" and not any(kind == "text" for _, kind in columns):
        raise UserError("--model ngrams: the items have no text; use cnn, or hf: with an image classifier")
    if word.startswith("hf:"):
        return huggingface_kind(word.removeprefix("hf:"), images=images)
    if word not in {"auto", "cnn", "ngrams"}:
        raise UserError(f"--model: {word!r} is not cnn, ngrams or hf:<name or path of a Hugging Face classifier>")
    return ConvNetKind() if word == "cnn" or (word == "auto" and images) else NgramKind()
