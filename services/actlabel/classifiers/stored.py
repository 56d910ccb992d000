"""A trained model from its folder: weights from safetensors, nothing that could run."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import nn

from actlabel.classifiers.choose import BUILT_IN
from actlabel.classifiers.huggingface import huggingface_kind
from actlabel.classifiers.port import ModelKind
from actlabel.core.errors import UserError

WEIGHTS: Final = "model.safetensors"
CARD: Final = "model_card.json"
LABELS: Final = "labels.json"
_HUGGING_FACE: Final = {"hf-text": False, "hf-image": True}  # kind → reads images


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredModel:
    """A model that can be asked."""

    kind: ModelKind
    model: nn.Module  # in evaluation mode, on the CPU
    labels: tuple[str, ...]  # in the order of its logits
    reads_images: bool


def load_model(folder: Path) -> StoredModel:
    """Load what training left in ``models/<loss>/``. Raises ``UserError`` that names the file which does not fit."""
    description, labels = _description(folder), _labels(folder)
    name = str(description.get("kind"))
    if name in _HUGGING_FACE:
        kind = huggingface_kind(str(folder), images=_HUGGING_FACE[name])
        model = kind.build(labels)
    elif name in BUILT_IN:
        kind = BUILT_IN[name]()
        if description != kind.describe():
            raise UserError(f"{folder / CARD}: was trained as {description}, this version has {kind.describe()}; train it again")
        model = _with_weights(kind.build(labels), folder / WEIGHTS)
    else:
        raise UserError(f"{folder / CARD}: model: kind {name!r} is not one of {', '.join((*BUILT_IN, *_HUGGING_FACE))}")
    return StoredModel(kind=kind, model=model.eval(), labels=labels, reads_images=name in {"cnn", "hf-image"})


def _with_weights(model: nn.Module, file: Path) -> nn.Module:
    try:
        model.load_state_dict(safetensors.torch.load_file(file, device="cpu"))
    except (OSError, SafetensorError, RuntimeError, ValueError) as error:
        first = str(error).strip().partition("\n")[0]
        raise UserError(f"{file}: holds no weights of this model ({first})") from error
    if not all(bool(torch.isfinite(tensor).all()) for tensor in model.state_dict().values()):
        raise UserError(f"{file}: has weights that are no numbers: its training diverged")
    return model


def _description(folder: Path) -> dict[str, Any]:
    card = _json(folder / CARD)
    description = card.get("model") if isinstance(card, dict) else None
    if not isinstance(description, dict):
        raise UserError(f"{folder / CARD}: names no model")
    return description


def _labels(folder: Path) -> tuple[str, ...]:
    labels = _json(folder / LABELS)
    if not isinstance(labels, list) or len(labels) < 2 or not all(isinstance(label, str) for label in labels):
        raise UserError(f"{folder / LABELS}: is no list of two or more labels")
    return tuple(labels)


def _json(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{file}: cannot be read as JSON ({error})") from error
