"""Writes the table of figures into README.md: ``python tests/bench/table.py FILE.jsonl [README.md]``.

The table stands between two marker comments; what the benchmarks appended with ``--json FILE.jsonl`` is all that it knows.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.bench.result import Figure, read_figures

_BEGIN = "<!-- figures: written by tests/bench/table.py -->"
_END = "<!-- end of figures -->"


def rendered(figures: dict[str, Figure]) -> str:
    """Render one row for each figure."""
    rows = ["| what against what | figure | command |", "|---|---|---|", *(_row(figure) for figure in figures.values())]
    return "\n".join(rows)


def _row(figure: Figure) -> str:
    what = f"**{figure.name}**: {figure.against}" + (f". {figure.note}" if figure.note else "")
    cells = (what, figure.shown(), f"`{figure.command}`")
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def replaced(text: str, table: str) -> str:
    """Put the table between the markers; raises ``SystemExit`` where they are not there once each, in order."""
    before, begin, rest = text.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not begin or not end:
        raise SystemExit(f"the file lacks the lines {_BEGIN} and {_END}, between which the table goes")
    return f"{before}{_BEGIN}\n{table}\n{_END}{after}"


def main() -> None:
    """Read the figures, write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("figures", type=Path)
    parser.add_argument("readme", type=Path, nargs="?", default=Path(__file__).parents[2] / "README.md")
    given = parser.parse_args()
    table = rendered(read_figures(given.figures))
    given.readme.write_text(replaced(given.readme.read_text(encoding="utf-8"), table), encoding="utf-8")
    print(table)


if __name__ == "__main__":
    main()
