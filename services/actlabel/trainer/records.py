"""What the losses know about the items of a data set: labels, selection and inclusion probabilities as arrays."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from actlabel.core.errors import UserError
from actlabel.trainer.losses import ABSENT, Bools, Floats, Ints

_COLUMNS = ["id", "human_label", "model_label", "pi", "sampled", "outcome", "draw", "batch"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Records:
    """N items in the order of the data set; labels are positions in ``labels``."""

    ids: npt.NDArray[np.str_]
    labels: tuple[str, ...]
    human: Ints  # ABSENT where nobody answered
    machine: Ints
    selected: Bools  # chosen by the draw, and answered
    pi: Floats  # NaN where the record names none
    usable: Bools  # false: chosen and not answered (undecidable); such an item enters no loss and no estimate
    mixed_draws: bool  # a batch of the campaign holds decisions of several draws: a new draw was not complete when offsets were frozen

    def __len__(self) -> int:
        """Return N."""
        return len(self.ids)

    @property
    def merged(self) -> Ints:
        """Return the human label where there is one, else the machine's."""
        return np.where(self.human != ABSENT, self.human, self.machine)

    @property
    def by_id(self) -> Ints:
        """Return the positions of all items in the order of their ids, which no transport changes."""
        return np.argsort(self.ids, kind="stable")


def read_records(files: list[Path], labels: tuple[str, ...]) -> Records:
    """Read the columns of a data set that the losses need. Raises ``UserError`` for labels outside ``labels``."""
    table = pa.concat_tables([pq.read_table(file, columns=_COLUMNS) for file in files])
    outcome, sampled = table["outcome"].to_pylist(), _bools(table["sampled"])
    human = label_numbers(table["human_label"].to_pylist(), labels, where="human_label")
    return Records(
        ids=np.array(table["id"].to_pylist(), dtype=np.str_),
        labels=labels,
        human=human,
        machine=label_numbers(table["model_label"].to_pylist(), labels, where="model_label"),
        selected=sampled & (human != ABSENT),
        pi=np.array([np.nan if value is None else value for value in table["pi"].to_pylist()], dtype=np.float64),
        usable=~(sampled & (human == ABSENT)) & np.array([word != "undecidable" for word in outcome], dtype=np.bool_),
        mixed_draws=_mixed(table),
    )


def _bools(column: Any) -> Bools:
    return np.array([bool(value) for value in column.to_pylist()], dtype=np.bool_)


def _mixed(table: Any) -> bool:
    pairs = set(zip(table["batch"].to_pylist(), table["draw"].to_pylist(), strict=True))
    return len(pairs) > len({batch for batch, _ in pairs})


def label_numbers(names: list[str | None], labels: tuple[str, ...], *, where: str) -> Ints:
    """Turn label names into positions, None into ``ABSENT``. Raises ``UserError`` that names the label, its row and ``where``."""
    numbers = {name: number for number, name in enumerate(labels)}
    for row, name in enumerate(names, start=1):
        if name is not None and name not in numbers:
            raise UserError(f"{where}: row {row}: label {name!r} is not one of {', '.join(labels)}")
    return np.array([ABSENT if name is None else numbers[name] for name in names], dtype=np.int64)
