"""A small convolutional net for images of any size. Legend: B items, H = W = 32 pixels, C classes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor, nn

from actlabel.classifiers.content import Content, need_image
from actlabel.classifiers.contents import Contents
from actlabel.classifiers.pictures import decode
from actlabel.classifiers.port import Defaults, Encoded, Ints
from actlabel.classifiers.saving import save_weights

SIDE_PIXELS: Final = 32


class ConvNet(nn.Module):
    """Three strided convolutions and a linear head. Group norm, not batch norm: how a batch is split must not matter."""

    def __init__(self, classes: int) -> None:
        """Make fresh weights from torch's random state."""
        super().__init__()
        self.body = nn.Sequential(
            *(nn.Conv2d(3, 16, 5, stride=2, padding=2), nn.GroupNorm(4, 16), nn.ReLU()),
            *(nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.GroupNorm(4, 32), nn.ReLU()),
            *(nn.Conv2d(32, 64, 3, stride=2, padding=1), nn.GroupNorm(8, 64), nn.ReLU()),
        )
        self.head = nn.Linear(64 * 4 * 4, classes)

    def forward(self, pixels: Tensor) -> Tensor:
        """Map uint8 [B, 3, H, W] to logits, float32 [B, C]."""
        hidden = self.body(pixels.float() / 127.5 - 1)
        logits: Tensor = self.head(hidden.flatten(1))
        return logits


class PixelFeatures:
    """Resized images, uint8 [N, 3, H, W]."""

    def __init__(self, folder: Path) -> None:
        """Map the file that ``ConvNetKind.encode`` wrote."""
        self._pixels: npt.NDArray[np.uint8] = np.load(folder / "pixels.npy", mmap_mode="r")

    def __len__(self) -> int:
        """See ``Features``."""
        return len(self._pixels)

    def batch(self, rows: Ints) -> dict[str, Tensor]:
        """See ``Features``."""
        return {"pixels": torch.from_numpy(self._pixels[rows])}


class ConvNetKind:
    """See ``ModelKind``."""

    defaults = Defaults(epochs=20, batch_items=64, learning_rate=2e-3, threads=1)

    def encode(self, contents: Contents, folder: Path) -> None:
        """See ``ModelKind``."""
        shape = (len(contents), 3, SIDE_PIXELS, SIDE_PIXELS)
        pixels = np.lib.format.open_memmap(folder / "pixels.npy", mode="w+", dtype=np.uint8, shape=shape)
        for number, content in enumerate(contents):
            pixels[number] = self.row(content)
        pixels.flush()

    def row(self, content: Content) -> Encoded:
        """See ``ModelKind``: uint8 [3, H, W]."""
        image = decode(need_image(content), content.name).resize((SIDE_PIXELS, SIDE_PIXELS), Image.Resampling.BILINEAR)
        return np.asarray(image, dtype=np.uint8).transpose(2, 0, 1)

    def collate(self, rows: Sequence[Encoded]) -> dict[str, Tensor]:
        """See ``ModelKind``."""
        return {"pixels": torch.from_numpy(np.stack(rows))}

    def features(self, folder: Path) -> PixelFeatures:
        """See ``ModelKind``."""
        return PixelFeatures(folder)

    def build(self, labels: tuple[str, ...]) -> nn.Module:
        """See ``ModelKind``."""
        return ConvNet(len(labels))

    def save(self, model: nn.Module, folder: Path, /) -> None:
        """See ``ModelKind``."""
        save_weights(model, self.describe(), folder)

    def describe(self) -> dict[str, Any]:
        """See ``ModelKind``."""
        return {"kind": "cnn", "input": f"RGB image, resized to {SIDE_PIXELS}x{SIDE_PIXELS}, uint8 channels first", "version": 1}
