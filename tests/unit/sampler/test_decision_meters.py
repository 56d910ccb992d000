"""Decisions are counted by cells, each under the bound that its inclusion probability does not exceed."""

import numpy as np
from prometheus_client import REGISTRY

from actlabel.core.designs import Design
from actlabel.sampler.meters import count_decisions


def design(*cells: tuple[int, int]) -> Design:
    """``cells``: selected of how many."""
    selected, size = (np.array(column, dtype=np.int64) for column in zip(*cells, strict=True))
    nothing = np.zeros_like(size)
    return Design(cell=nothing.astype(np.int32), size=size, selected=selected, lowest=nothing, highest=nothing)


def counted(uid: str) -> dict[tuple[str, str], float]:
    return {
        (sample.labels["probability"], sample.labels["selected"]): sample.value
        for family in REGISTRY.collect()
        for sample in family.samples
        if sample.name == "actlabel_decisions_total" and sample.labels["campaign"] == uid and sample.value
    }


def test_every_item_is_counted_once_at_its_own_probability():
    count_decisions("meters", design((7, 7), (99, 100), (5, 10), (1, 10), (11, 100), (1, 1000), (0, 40)))
    assert counted("meters") == {
        ("1", "yes"): 7,
        ("below 1", "yes"): 99,
        ("below 1", "no"): 1,
        ("0.5", "yes"): 5 + 11,
        ("0.5", "no"): 5 + 89,
        ("0.1", "yes"): 1,
        ("0.1", "no"): 9,
        ("0.001", "yes"): 1,
        ("0.001", "no"): 999,
        ("0", "no"): 40,
    }
    count_decisions("meters", design((1, 1)))
    assert counted("meters")["1", "yes"] == 8
