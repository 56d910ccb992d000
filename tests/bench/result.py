"""One measured figure, in the one form in which every benchmark prints it, appends it to a file of JSON lines, and `table.py` reads it."""

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import orjson


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A ratio to something of the same run, or a value with its unit; the README's table has one row for each."""

    name: str  # of this figure; the newest of the same name is shown
    command: str  # what to type in the root of the checkout
    against: str  # what is compared with what
    value: float
    unit: str = "×"  # × for ratios, % for shares
    target: str = ""  # what was asked for, such as "≤ 1.25"; empty where nothing was
    rounds: tuple[float, ...] = ()  # the figure of each round, whose median is ``value``
    note: str = ""  # what was run: sizes, concurrency, absolute figures

    @classmethod
    def of_rounds(
        cls, rounds: Sequence[float], *, name: str, command: str, against: str, unit: str = "×", target: str = "", note: str = ""
    ) -> "Figure":
        """Take the median of the rounds."""
        value = statistics.median(rounds)
        return cls(name=name, command=command, against=against, value=value, unit=unit, target=target, rounds=tuple(rounds), note=note)

    def shown(self) -> str:
        """Write the figure for a person: median, spread over the rounds, target."""
        spread = f" ({min(self.rounds):.3g} to {max(self.rounds):.3g} in {len(self.rounds)} rounds)" if len(self.rounds) > 1 else ""
        return f"{self.value:.3g}{self.unit}{spread}" + (f", target {self.target}" if self.target else "")

    def append(self, path: Path | None) -> None:
        """Print the figure as one line; where there is a path, append it there as a JSON line."""
        print(f"{self.name}: {self.shown()} | {self.against}" + (f" | {self.note}" if self.note else ""), flush=True)
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("ab") as file:
                file.write(orjson.dumps(asdict(self)) + b"\n")


def read_figures(path: Path) -> dict[str, Figure]:
    """Read a file of figures; of equal names the last one counts, in the place of the first."""
    figures: dict[str, Figure] = {}
    for line in path.read_bytes().splitlines():
        fields = orjson.loads(line)
        figures[fields["name"]] = Figure(**{**fields, "rounds": tuple(fields["rounds"])})
    return figures
