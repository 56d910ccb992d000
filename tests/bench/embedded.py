"""The embedded log and database against Kafka and PostgreSQL: ``python tests/bench/embedded.py [--items 2000 20000] [--json FILE]``.

The same stages, all of them in one process as `actlabel up` runs them, the same rows, the same endpoint in its own process; from the first
row taken in until every row is on `merged` or waits for a reviewer. Items per second by the wall clock, and per second of the CPU of the
one process (broker and server apart; SQLite's work is in it). Rounds in turns, each on fresh files and a fresh campaign.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.bench.endpoint import Endpoint, endpoint
from tests.bench.peers import campaign_on, text
from tests.bench.real_services import RealServices, real_services
from tests.bench.result import Figure

_HERE = Path(__file__).parent


@dataclass(frozen=True, kw_only=True)
class Took:
    """One run."""

    count: int
    seconds: float  # by the clock
    cpu_s: float


class Bench:
    """What both sides share."""

    def __init__(self, folder: Path, server: Endpoint, services: RealServices, in_flight: int) -> None:
        self.folder, self.server, self.services, self.in_flight = folder, server, services, in_flight
        self._numbers = iter(range(1000))

    def run(self, kind: str, count: int) -> Took:
        """Run once on ``sqlite`` or ``kafka``."""
        number = next(self._numbers)
        folder = self.folder / f"{kind}-{number}"
        folder.mkdir()
        rows = folder / "rows.jsonl"
        lines = (json.dumps({"id": f"row-{n}", "text": text(f"{folder.name}, statement {n}")}) + "\n" for n in range(count))
        rows.write_text("".join(lines))
        address = self.services.postgres.create_database() if kind == "kafka" else ""
        work = folder / "work.json"
        work.write_text(json.dumps(self._work(folder, rows, count, address)))
        self._process(work)
        if address:
            self.services.postgres.drop_database(address)
        stats = json.loads((folder / "data.json").read_bytes())
        return Took(count=count, seconds=stats["seconds"], cpu_s=stats["cpu_s"])

    def _work(self, folder: Path, rows: Path, count: int, database: str) -> dict[str, object]:
        return {
            "rows": str(rows),
            "folder": str(folder / "data"),
            "count": count,
            "campaign": campaign_on(self.server.url, self.in_flight).model_dump(mode="json"),
            "stages": "all",
            "in_flight": self.in_flight,
            "stream": self.services.stream if database else "",
            "database": database,
        }

    def _process(self, work: Path) -> None:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("ACTLABEL_")}
        done = subprocess.run(
            [sys.executable, str(_HERE / "one_process.py"), str(work)], env=kept, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise SystemExit(f"the stages ended with {done.returncode}:\n{(done.stdout + done.stderr)[-3000:]}")


def measured(bench: Bench, count: int, rounds: int) -> Iterator[tuple[Took, Took]]:
    """Yield (SQLite, Kafka) of each round."""
    for number in range(rounds):
        order = ("sqlite", "kafka") if number % 2 == 0 else ("kafka", "sqlite")
        took = {kind: bench.run(kind, count) for kind in order}
        for kind, one in took.items():
            print(
                f"  {count:7} items, {kind:6} {count / one.seconds:6.0f} items/s, {one.cpu_s / count * 1e6:6.0f} us CPU an item", flush=True
            )
        yield took["sqlite"], took["kafka"]


def report(count: int, pairs: Sequence[tuple[Took, Took]], given: argparse.Namespace) -> None:
    """Append both ratios."""
    rates = [[one.count / one.seconds for one in side] for side in zip(*pairs, strict=True)]
    sqlite, kafka = (sorted(side)[len(side) // 2] for side in rates)
    common = {"command": f"python tests/bench/embedded.py --items {count}"}
    Figure.of_rounds(
        [k.seconds / s.seconds for s, k in pairs],
        name=f"embedded, {count:,} items",
        against="items per second through all stages in one process, SQLite log and database against Kafka and PostgreSQL",
        target="≥ 1",
        note=f"medians {sqlite:.0f} against {kafka:.0f} items a second, {given.in_flight} calls in flight a stage",
        **common,
    ).append(given.json)
    Figure.of_rounds(
        [k.cpu_s / s.cpu_s for s, k in pairs],
        name=f"embedded, {count:,} items, CPU",
        against="items per CPU second of that process, the same two",
        note="SQLite's own work is in the process, the broker's and the server's is not",
        **common,
    ).append(given.json)


def main() -> None:
    """Measure every size, report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, nargs="+", default=[1000, 10_000])
    parser.add_argument("--in-flight", type=int, default=128, help="calls in flight per stage")
    parser.add_argument("--latency-ms", type=float, default=20.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="actlabel-embedded-") as folder,
        endpoint(given.latency_ms) as server,
        real_services() as services,
    ):
        bench = Bench(Path(folder), server, services, given.in_flight)
        for count in given.items:
            report(count, list(measured(bench, count, given.rounds)), given)


if __name__ == "__main__":
    main()
