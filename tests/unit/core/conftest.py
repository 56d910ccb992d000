"""Data that the tests of the mathematics share."""

import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

CHECKOUT = Path(__file__).parents[3]


@dataclass(frozen=True, kw_only=True)
class Stance:
    """Recorded answers of a real model on 2,299 statements (from tijana-zrnic/pac-labels, MIT)."""

    ids: list[str]
    error_probability: NDArray[np.float64]
    wrong: NDArray[np.bool_]  # whether the model's label differs from the human's
    label: NDArray[np.str_]  # the model's


@pytest.fixture(scope="session")
def stance() -> Stance:
    """Read the stance set, or fail with the place where it is expected."""
    folder = Path(os.environ.get("ACTLABEL_SHARED_DATA") or CHECKOUT.parent / "shared" / "data")
    file = folder / "stance.jsonl"
    if not file.is_file():
        pytest.fail(f"{file} is missing: lay shared/ beside the checkout, or name the folder with stance.jsonl in ACTLABEL_SHARED_DATA")
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    return Stance(
        ids=[row["id"] for row in rows],
        error_probability=np.array([row["error_prob"] for row in rows]),
        wrong=np.array([row["human"] != row["llm"] for row in rows]),
        label=np.array([row["llm"] for row in rows]),
    )
