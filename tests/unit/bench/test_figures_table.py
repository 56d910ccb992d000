"""What a benchmark appends is what the README's table shows."""

from pathlib import Path

import pytest

from tests.bench.result import Figure, read_figures
from tests.bench.table import rendered, replaced

PAGE = "before\n<!-- figures: written by tests/bench/table.py -->\nold\n<!-- end of figures -->\nafter\n"


def _figure(value: float, name: str = "engine") -> Figure:
    return Figure.of_rounds(
        [value, value + 1, value - 1], name=name, command="python x | y", against="a against b", target="≤ 1.25", note="n"
    )


def test_the_newest_figure_of_a_name_is_shown_where_the_first_stood(tmp_path: Path) -> None:
    file = tmp_path / "figures.jsonl"
    for figure in (_figure(2), _figure(5, "memory"), _figure(3)):
        figure.append(file)
    figures = read_figures(file)
    assert list(figures) == ["engine", "memory"]
    assert figures["engine"] == _figure(3)
    table = rendered(figures)
    assert table.splitlines()[2] == "| **engine**: a against b. n | 3× (2 to 4 in 3 rounds), target ≤ 1.25 | `python x \\| y` |"
    assert replaced(PAGE, table) == PAGE.replace("old", table)
    assert replaced(replaced(PAGE, "x"), table) == replaced(PAGE, table)


def test_a_file_without_the_markers_is_refused() -> None:
    with pytest.raises(SystemExit, match="lacks the lines"):
        replaced("no table here", "table")
