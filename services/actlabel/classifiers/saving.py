"""Writing the weights of the built-in models."""

import json
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import nn


def save_weights(model: nn.Module, config: dict[str, Any], folder: Path) -> None:
    """Write ``model.safetensors`` (float32, on the CPU) and ``config.json``."""
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in model.state_dict().items()}
    safetensors.torch.save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config, indent=1, sort_keys=True) + "\n", encoding="utf-8")
