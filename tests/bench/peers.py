"""Rows per CPU second against peers: ``python tests/bench/peers.py [--steps 1|2] [--json FILE]``.

The same stand-in endpoint in a process of its own, the same prompts and schemas word for word, the same calls in flight per step. Counted
is the CPU of the whole process with its children, imports and start-up too; the marginal figure is the difference of two sizes, which
leaves those out. Every run is checked against the endpoint's own log: each row asked once for each step, and no more at once than allowed.

The peers live in environments of their own that this script makes (``--venv FOLDER``); nothing of them is imported here.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from actlabel.annotator.domain import strategy_of as annotator_strategy
from actlabel.chat.port import AnswerSchema
from actlabel.contracts.v1.item_pb2 import Item
from actlabel.criticizer.domain import strategy_of as criticizer_strategy
from actlabel.runtime.campaign_file import CampaignFile
from tests.bench.endpoint import LABELS, Endpoint, endpoint
from tests.bench.result import Figure

_HERE = Path(__file__).parent
_REQUIREMENTS = {
    "plain": ("plain_openai.py", ["openai==3.57.0"]),
    "distilabel": ("with_distilabel.py", ["distilabel[openai]==1.5.3", "openai<2", "requests"]),
    "curator": ("with_curator.py", ["bespokelabs-curator==0.1.31"]),
}
_NAMES = {
    "plain": "a plain openai-SDK script",
    "distilabel": "distilabel 1.5.3",
    "curator": "bespokelabs-curator 0.1.31",
    "actlabel": "actlabel",
}


@dataclass(frozen=True, kw_only=True)
class Run:
    """One program over so many rows."""

    count: int
    cpu_s: float
    wall_s: float


class Bench:
    """Rows, prompts, and programs to run on them."""

    def __init__(self, folder: Path, venvs: Path, server: Endpoint, *, steps: int, in_flight: int) -> None:
        self.folder, self.venvs, self.server, self.in_flight = folder, venvs, server, in_flight
        self.campaign = campaign_on(server.url, in_flight)
        self.steps = _steps(self.campaign)[:steps]
        self._numbers = iter(range(10_000))

    def run(self, program: str, count: int) -> Run:
        """Run a program on fresh rows in a fresh folder, and check that every row was asked."""
        folder = self.folder / f"{program}-{next(self._numbers)}"
        folder.mkdir()
        work = self._work(folder, program, count)
        self.server.log(clear=True)
        log = folder / "log"
        started = time.monotonic()
        with log.open("wb") as output:
            process = subprocess.Popen(
                self._command(program, work), stdout=output, stderr=subprocess.STDOUT, cwd=folder, env=_environment(program, folder)
            )
            _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise SystemExit(f"{program} ended with {process.returncode}:\n{log.read_text(errors='replace')[-3000:]}")
        self._check(program, count)
        return Run(count=count, cpu_s=usage.ru_utime + usage.ru_stime, wall_s=time.monotonic() - started)

    def _work(self, folder: Path, program: str, count: int) -> Path:
        rows = folder / "rows.jsonl"
        # distinct texts in every run: an answer that was kept anywhere would be seen as a row that was not asked
        texts = ((f"row-{n}", text(f"{folder.name}, statement {n}")) for n in range(count))
        ours = program == "actlabel"
        rows.write_text(
            "".join(json.dumps({"id": i, "text": t} if ours else {"id": i, "user": _marked(t, self.campaign)}) + "\n" for i, t in texts)
        )
        document: dict[str, Any] = {"rows": str(rows), "in_flight": self.in_flight}
        if ours:
            stages = {1: "annotate", 2: "criticize"}[len(self.steps)]
            document |= {
                "folder": str(folder / "data"),
                "count": count,
                "stages": stages,
                "campaign": self.campaign.model_dump(mode="json"),
            }
        else:
            document |= {"url": self.server.url, "out": str(folder / "out.parquet"), "steps": self.steps}
        work = folder / "work.json"
        work.write_text(json.dumps(document))
        return work

    def _command(self, program: str, work: Path) -> Sequence[str]:
        if program == "actlabel":
            return [sys.executable, str(_HERE / "one_process.py"), str(work)]
        return [str(self.venvs / program / "bin/python"), str(_HERE / "peer" / _REQUIREMENTS[program][0]), str(work)]

    def _check(self, program: str, count: int) -> None:
        log = self.server.log()
        paid = list(log["paid"].values())
        asked = len(self.steps) * count
        if not asked <= sum(paid) <= asked + 2 or sum(times - 1 for times in paid) > 1:  # two, alike: curator tries structured output
            raise SystemExit(f"{program}: {asked} calls were due, the endpoint answered {sum(paid)} ({log['outcomes']})")
        if log["most_in_flight"] > (allowed := self.in_flight * len(self.steps)):
            raise SystemExit(f"{program}: {log['most_in_flight']} calls at once where {allowed} were allowed")


def campaign_on(url: str, in_flight: int) -> CampaignFile:
    """A campaign whose models are at ``url``."""
    labels = dict.fromkeys(LABELS, "One sentence that describes what this label means.")
    model = {"endpoint": url, "model": "m", "strategy": "naive", "calls_in_flight": in_flight}
    return CampaignFile.model_validate(
        {
            "name": "bench",
            "task": {"question": "What is the stance of the text?", "labels": labels, "guidelines": "A guideline of some words. " * 40},
            "annotator": model,
            "criticizer": model,
            "sampler": {"budget": "10%"},
            "spend_cap_usd": 1,
        }
    )


def _steps(campaign: CampaignFile) -> list[dict[str, Any]]:
    item = Item()
    item.content.parts.add(text="x")
    item.annotation.label = LABELS[0]
    questions = (annotator_strategy(campaign).render(item), criticizer_strategy(campaign).render(item))
    return [{"system": q.messages[0].parts[0].text, "response_format": _format(q.schema)} for q in questions]  # type: ignore[union-attr]


def _format(schema: AnswerSchema) -> dict[str, Any]:
    return dict(json.loads(schema.response_format))


def text(start: str) -> str:
    """A text of some 340 characters."""
    return f"{start}. " + "Sea level rise threatens the coast of many countries. " * 6


def _marked(text: str, campaign: CampaignFile) -> str:
    item = Item()
    item.content.parts.add(text=text)
    message = annotator_strategy(campaign).render(item).messages[1]
    return "\n".join(part.text for part in message.parts)  # type: ignore[union-attr]


def _environment(program: str, folder: Path) -> dict[str, str]:
    """No telemetry, nothing fetched, caches in the run's own folder."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ACTLABEL_")}
    cache = dict.fromkeys(("CURATOR_CACHE_DIR", "DISTILABEL_CACHE_DIR", "HF_HOME"), str(folder / "cache"))
    off = dict.fromkeys(("TELEMETRY_ENABLED", "CURATOR_VIEWER"), "false")
    offline = dict.fromkeys(("LITELLM_LOCAL_MODEL_COST_MAP", "HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "HF_HUB_DISABLE_TELEMETRY"), "True")
    direct = dict.fromkeys(("NO_PROXY", "no_proxy"), "127.0.0.1")
    return {**kept, **cache, **off, **offline, **direct, "PYTHONPATH": str(_HERE.parents[1] / "services") if program == "actlabel" else ""}


def make_environments(venvs: Path, programs: Sequence[str]) -> None:
    """Make those that are missing."""
    for program in programs:
        folder = venvs / program
        if (folder / "ready").exists():
            continue
        print(f"making {folder}", flush=True)
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        subprocess.run([str(folder / "bin/pip"), "install", "-q", *_REQUIREMENTS[program][1]], check=True)
        (folder / "ready").touch()


def measured(bench: Bench, programs: Sequence[str], sizes: tuple[int, int], rounds: int) -> Iterator[dict[str, tuple[Run, Run]]]:
    """Run all programs in turns."""
    for _ in range(rounds):
        turn = {}
        for program in programs:
            small, large = (bench.run(program, size) for size in sizes)
            turn[program] = (small, large)
            rates = f"{large.count / large.cpu_s:7.0f} rows/CPU s, marginal {_marginal(small, large):7.0f}"
            print(f"  {program:10} {rates}; {large.wall_s:.1f} s", flush=True)
        yield turn


def _marginal(small: Run, large: Run) -> float:
    return (large.count - small.count) / (large.cpu_s - small.cpu_s)


def report(turns: Sequence[dict[str, tuple[Run, Run]]], given: argparse.Namespace) -> None:
    """Append the ratio to the best peer, in all and at the margin."""
    what = {1: "annotate", 2: "annotate and criticize"}[given.steps]
    peers = [program for program in turns[0] if program != "actlabel"]
    for kind, rate in (("whole runs", lambda pair: pair[1].count / pair[1].cpu_s), ("at the margin", lambda pair: _marginal(*pair))):
        rates = {program: statistics.median(rate(turn[program]) for turn in turns) for program in turns[0]}
        best = max(peers, key=rates.__getitem__)
        Figure.of_rounds(
            [rate(turn["actlabel"]) / rate(turn[best]) for turn in turns],
            name=f"peers, {what}, {kind}",
            command=f"python tests/bench/peers.py --steps {given.steps}",
            against=f"rows per CPU second of the whole process, actlabel on SQLite against the best peer, {_NAMES[best]}",
            target="≥ 10",
            note=f"{given.rows[1]:,} rows, {given.in_flight} calls in flight; rows per CPU second: "
            + ", ".join(f"{_NAMES[program]} {value:.0f}" for program, value in rates.items()),
        ).append(given.json)


def main() -> None:
    """Make the environments, measure, report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, choices=(1, 2), default=2, help="1: annotate; 2: annotate and criticize")
    parser.add_argument("--rows", type=int, nargs=2, default=(1000, 4000), help="two sizes")
    parser.add_argument("--in-flight", type=int, default=128, help="calls in flight per step")
    parser.add_argument("--latency-ms", type=float, default=20.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="*", default=list(_REQUIREMENTS), help="which peers")
    parser.add_argument("--venv", type=Path, default=_HERE / ".peers", help="where the peers' environments are, or are made")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    make_environments(given.venv, given.only)
    with tempfile.TemporaryDirectory(prefix="actlabel-peers-") as folder, endpoint(given.latency_ms) as server:
        bench = Bench(Path(folder), given.venv.absolute(), server, steps=given.steps, in_flight=given.in_flight)
        report(list(measured(bench, [*given.only, "actlabel"], tuple(given.rows), given.rounds)), given)


if __name__ == "__main__":
    main()
