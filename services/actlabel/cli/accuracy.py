"""How a table says how good a trained model is."""

from collections.abc import Mapping
from typing import Any


def accuracy_cells(metrics: Mapping[str, Any]) -> tuple[str, str, str]:
    """Write accuracy, its 95 % interval, and on what it was measured; where nothing measured it, only why."""
    if metrics["test_accuracy"] is None:
        return "unknown", "", str(metrics["evaluation"])
    interval = f"{metrics['low']:.3f} to {metrics['high']:.3f}"
    return f"{metrics['test_accuracy']:.3f}", interval, f"{metrics['test_items']} {metrics['evaluation']}"
