"""How decisions spread over inclusion probabilities, counted a cell at a time: an item costs nothing."""

from typing import Final

import numpy as np

from actlabel.core.designs import Design
from actlabel.runtime import metrics

BOUNDS: Final = (0.0, 0.001, 0.01, 0.1, 0.5, 0.999999, 1.0)
"""What is below 1 by less than a millionth would be counted as 1; no cell is that large and that full."""
_NAMES: Final = ("0", "0.001", "0.01", "0.1", "0.5", "below 1", "1")


def count_decisions(uid: str, design: Design) -> None:
    """Count the items of a draw or block whose decisions are stored."""
    bound = np.searchsorted(BOUNDS, design.selected / design.size)
    for index in np.unique(bound).tolist():
        cells = bound == index
        selected = int(design.selected[cells].sum())
        metrics.DECISIONS.labels(uid, _NAMES[index], "yes").inc(selected)
        metrics.DECISIONS.labels(uid, _NAMES[index], "no").inc(int(design.size[cells].sum()) - selected)
