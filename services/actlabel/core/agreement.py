"""Agreement between reviewers, corrected for chance."""

from collections.abc import Hashable, Sequence

import numpy as np


def cohen_kappa(first: Sequence[Hashable], second: Sequence[Hashable]) -> float:
    """Return Cohen's kappa of two reviewers over the items that both labelled (Cohen, 1960): 1 agrees always, 0 as chance would.

    NaN without items, or where both gave one and the same label to everything.
    """
    names = {label: number for number, label in enumerate(dict.fromkeys([*first, *second]))}
    table = np.zeros((len(names), len(names)))
    for one, other in zip(first, second, strict=True):
        table[names[one], names[other]] += 1
    items = table.sum()
    if not items:
        return float("nan")
    chance = float(table.sum(axis=0) @ table.sum(axis=1)) / items**2
    return (float(np.trace(table)) / items - chance) / (1 - chance) if chance < 1 else float("nan")


def krippendorff_alpha(answers: Sequence[Sequence[Hashable]]) -> float:
    """Return Krippendorff's alpha for nominal labels (Krippendorff, 2011): per item the labels of those who answered, any number of them.

    Items with fewer than two answers say nothing about agreement. NaN where nothing can be compared or nothing varies.
    """
    compared = [item for item in answers if len(item) > 1]
    names = {label: number for number, label in enumerate(dict.fromkeys(label for item in compared for label in item))}
    counts = np.zeros((len(compared), len(names)))
    for row, item in enumerate(compared):
        for label in item:
            counts[row, names[label]] += 1
    totals, per_item = counts.sum(axis=0), counts.sum(axis=1)
    pairs = totals.sum() ** 2 - (totals**2).sum()
    if not pairs:
        return float("nan")
    observed = ((per_item**2 - (counts**2).sum(axis=1)) / (per_item - 1)).sum()
    return float(1 - (totals.sum() - 1) * observed / pairs)
