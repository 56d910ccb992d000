"""Any Hugging Face image or text classifier. Code from a model's repository is never run, and only safetensors are loaded."""

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn

from actlabel.classifiers.content import Content, need_image
from actlabel.classifiers.contents import Contents
from actlabel.classifiers.pictures import decode
from actlabel.classifiers.port import Defaults, Encoded, Features, Ints, ModelKind
from actlabel.classifiers.ragged import Ragged, write_ragged
from actlabel.core.errors import UserError

MAX_TOKENS: Final = 512


def _transformers() -> Any:
    try:
        return importlib.import_module("transformers")
    except ImportError as error:
        raise UserError("--model hf:… needs the extra hf: pip install 'actlabel[hf]'") from error


def _load(auto_class: str, name: str, **options: Any) -> Any:
    """Load a part of a model. Raises ``UserError`` when it is not there, or not of this kind."""
    try:
        return getattr(_transformers(), auto_class).from_pretrained(name, trust_remote_code=False, **options)
    except (OSError, ValueError, KeyError, ImportError, RuntimeError) as error:
        first = str(error).strip().partition("\n")[0]
        raise UserError(f"--model hf:{name}: cannot be loaded with {auto_class} ({first})") from error


class Logits(nn.Module):
    """A classifier that returns its logits alone."""

    def __init__(self, inner: nn.Module) -> None:
        """Wrap a model of transformers."""
        super().__init__()
        self.inner = inner

    def forward(self, **batch: Tensor) -> Tensor:
        """Map what the tokenizer or image processor made to logits [B, C]."""
        logits: Tensor = self.inner(**batch).logits
        return logits


def _classifier(auto_class: str, name: str, labels: tuple[str, ...]) -> Logits:
    return Logits(
        _load(
            auto_class,
            name,
            num_labels=len(labels),
            id2label=dict(enumerate(labels)),
            label2id={label: number for number, label in enumerate(labels)},
            ignore_mismatched_sizes=True,
            use_safetensors=True,
        )
    )


def _save(model: nn.Module, reader: Any, folder: Path) -> None:
    assert isinstance(model, Logits), "these kinds build no other model"
    inner: Any = model.inner
    inner.save_pretrained(folder)
    reader.save_pretrained(folder)


class TokenFeatures:
    """Token ids of every text, padded per batch."""

    def __init__(self, folder: Path, pad_id: int) -> None:
        """Map the files that ``TextKind.encode`` wrote."""
        self._rows = Ragged(folder)
        self._pad_id = pad_id

    def __len__(self) -> int:
        """See ``Features``."""
        return len(self._rows)

    def batch(self, rows: Ints) -> dict[str, Tensor]:
        """See ``Features``."""
        return _padded([self._rows[int(row)] for row in rows], self._pad_id)


def _padded(texts: Sequence[Encoded], pad_id: int) -> dict[str, Tensor]:
    ids = np.full((len(texts), max(len(text) for text in texts)), pad_id, dtype=np.int64)
    mask = np.zeros_like(ids)
    for row, text in enumerate(texts):
        ids[row, : len(text)] = text
        mask[row, : len(text)] = 1
    return {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(mask)}


class TextKind:
    """A text classifier. See ``ModelKind``."""

    defaults = Defaults(epochs=4, batch_items=32, learning_rate=3e-5)

    def __init__(self, name: str) -> None:
        """Load the tokenizer. Raises ``UserError``."""
        self._name = name
        self._tokenizer = _load("AutoTokenizer", name)
        if self._tokenizer.pad_token_id is None:
            raise UserError(f"--model hf:{name}: its tokenizer has no padding token, so texts cannot be put into batches")
        self._max_tokens = min(int(self._tokenizer.model_max_length), MAX_TOKENS)

    def encode(self, contents: Contents, folder: Path) -> None:
        """See ``ModelKind``."""
        write_ragged(folder, (self.row(content) for content in contents), "int32")

    def row(self, content: Content) -> Encoded:
        """See ``ModelKind``: token ids, int32."""
        ids = self._tokenizer(content.text, truncation=True, max_length=self._max_tokens)["input_ids"]
        return np.asarray(ids, dtype=np.int32)

    def collate(self, rows: Sequence[Encoded]) -> dict[str, Tensor]:
        """See ``ModelKind``."""
        return _padded(rows, int(self._tokenizer.pad_token_id))

    def features(self, folder: Path) -> Features:
        """See ``ModelKind``."""
        return TokenFeatures(folder, int(self._tokenizer.pad_token_id))

    def build(self, labels: tuple[str, ...]) -> nn.Module:
        """See ``ModelKind``."""
        return _classifier("AutoModelForSequenceClassification", self._name, labels)

    def save(self, model: nn.Module, folder: Path, /) -> None:
        """See ``ModelKind``; ``from_pretrained(folder)`` reads the result."""
        _save(model, self._tokenizer, folder)

    def describe(self) -> dict[str, Any]:
        """See ``ModelKind``."""
        return {"kind": "hf-text", "name": self._name, "input": "text", "max_tokens": self._max_tokens}


class ImageFileFeatures:
    """The bytes of every image; decoded and processed per batch, since processed images are large."""

    def __init__(self, folder: Path, processor: Any) -> None:
        """Map the files that ``ImageKind.encode`` wrote."""
        self._rows = Ragged(folder)
        self._processor = processor

    def __len__(self) -> int:
        """See ``Features``."""
        return len(self._rows)

    def batch(self, rows: Ints) -> dict[str, Tensor]:
        """See ``Features``."""
        return _processed([self._rows[int(row)] for row in rows], self._processor)


def _processed(files: Sequence[Encoded], processor: Any) -> dict[str, Tensor]:
    images = [decode(file.tobytes(), f"image {number}") for number, file in enumerate(files)]
    return {"pixel_values": processor(images, return_tensors="pt")["pixel_values"]}


class ImageKind:
    """An image classifier. See ``ModelKind``."""

    defaults = Defaults(epochs=4, batch_items=32, learning_rate=5e-5)

    def __init__(self, name: str) -> None:
        """Load the image processor. Raises ``UserError``."""
        self._name = name
        self._processor = _load("AutoImageProcessor", name)

    def encode(self, contents: Contents, folder: Path) -> None:
        """See ``ModelKind``. Every image is decoded once, so that one that is none is found before training begins."""
        write_ragged(folder, (self.row(content) for content in contents), "uint8")

    def row(self, content: Content) -> Encoded:
        """See ``ModelKind``: the bytes of the image, which were decoded once to see that they can be."""
        data = need_image(content)
        decode(data, content.name)
        return np.frombuffer(data, dtype=np.uint8)

    def collate(self, rows: Sequence[Encoded]) -> dict[str, Tensor]:
        """See ``ModelKind``."""
        return _processed(rows, self._processor)

    def features(self, folder: Path) -> Features:
        """See ``ModelKind``."""
        return ImageFileFeatures(folder, self._processor)

    def build(self, labels: tuple[str, ...]) -> nn.Module:
        """See ``ModelKind``."""
        return _classifier("AutoModelForImageClassification", self._name, labels)

    def save(self, model: nn.Module, folder: Path, /) -> None:
        """See ``ModelKind``; ``from_pretrained(folder)`` reads the result."""
        _save(model, self._processor, folder)

    def describe(self) -> dict[str, Any]:
        """See ``ModelKind``."""
        return {"kind": "hf-image", "name": self._name, "input": "image"}


def huggingface_kind(name: str, *, images: bool) -> ModelKind:
    """Open a classifier by name or path for images or texts. Raises ``UserError``: extra missing, not found, not of this kind."""
    return ImageKind(name) if images else TextKind(name)
