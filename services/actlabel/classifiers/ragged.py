"""Rows of different lengths in one memory-mapped file."""

import json
from array import array
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt


class Ragged:
    """N rows of one type: ``values.bin`` holds them end to end, ``ends.npy`` says where each ends."""

    def __init__(self, folder: Path) -> None:
        """Open what ``write_ragged`` wrote; rows are read when asked for."""
        kind = json.loads((folder / "kind.json").read_text(encoding="utf-8"))
        self._ends: npt.NDArray[np.int64] = np.load(folder / "ends.npy", mmap_mode="r")
        values = folder / "values.bin"
        # an empty file cannot be mapped
        self._values = np.memmap(values, dtype=kind, mode="r") if values.stat().st_size else np.zeros(0, dtype=kind)

    def __len__(self) -> int:
        """Return N."""
        return len(self._ends)

    def __getitem__(self, row: int) -> npt.NDArray[Any]:
        """Return one row."""
        start = int(self._ends[row - 1]) if row else 0
        return self._values[start : int(self._ends[row])]


def write_ragged(folder: Path, rows: Iterable[npt.NDArray[Any]], kind: str) -> None:
    """Write rows of the NumPy type ``kind`` as they come; memory holds eight bytes a row."""
    folder.mkdir(parents=True, exist_ok=True)
    ends = array("q")
    end = 0
    with (folder / "values.bin").open("wb") as file:
        for row in rows:
            file.write(np.ascontiguousarray(row, dtype=kind).tobytes())
            end += len(row)
            ends.append(end)
    np.save(folder / "ends.npy", np.frombuffer(ends, dtype=np.int64) if ends else np.zeros(0, dtype=np.int64))
    (folder / "kind.json").write_text(json.dumps(kind), encoding="utf-8")
