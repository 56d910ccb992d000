"""Carry out a training plan from anywhere: the command line, the demo, a notebook. Imports neither torch nor ray."""

import asyncio
import json
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from actlabel.core.errors import Fatal, UserError
from actlabel.runtime.log import get_log
from actlabel.trainer.plan import TrainingPlan, check_plan

_log = get_log(__name__)
_LINE_LIMIT_BYTES = 16 * 2**20
_STOP_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingProgress:
    """Where a run stands."""

    phase: str  # snapshot, preparing, starting ray, or training
    model: str = ""  # the loss being trained
    done: int = 0  # steps, over all losses; items of the snapshot
    total: int = 0
    risk: float = 0.0  # of this model, mean of the last batches
    max_weight: float = 0.0  # of an item, so far
    ess_ratio: float = 0.0  # effective sample size of a batch, as a share of its items


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingResults:
    """What a run left: ``out/results.json`` and one folder per loss under ``out/models``."""

    models_folder: Path
    snapshot: dict[str, Any]
    models: tuple[dict[str, Any], ...]  # in the order of the plan's losses; the fields of results.json
    selected: str | None  # the best by held-out human labels; None with a test set
    made_with: dict[str, Any]  # hash of the code, versions of the libraries
    seconds: float


async def train(plan: TrainingPlan, on_progress: Callable[[TrainingProgress], None] = lambda _progress: None) -> TrainingResults:
    """Train a model for every loss of the plan in one Ray job, in a process of its own; cancelling ends that process.

    Raises ``UserError`` for what the user can mend, ``Fatal`` when workers fail too often; then ``resume`` goes on.
    """
    check_plan(plan)
    plan = _absolute(plan)
    if not _installed():
        raise UserError("training needs the extra train: pip install 'actlabel[train]'")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "plan.json"
        file.write_text(plan.to_json(), encoding="utf-8")
        answer = await _talk(file, on_progress)
    return _results(plan, answer)


def _results(plan: TrainingPlan, document: dict[str, Any]) -> TrainingResults:
    return TrainingResults(
        models_folder=plan.out / "models",
        snapshot=document["snapshot"],
        models=tuple(document["models"]),
        selected=document["selected"],
        made_with=document["made_with"],
        seconds=document["seconds"],
    )


def read_results(plan: TrainingPlan) -> TrainingResults | None:
    """Return what a finished run left that is to be resumed; None where it did not finish."""
    file = plan.out / "results.json"
    if not plan.resume or not file.exists():
        return None
    document = json.loads(file.read_text(encoding="utf-8"))
    return _results(plan, document) if "made_with" in document else None


def _absolute(plan: TrainingPlan) -> TrainingPlan:
    """Name files in a way that workers elsewhere understand."""
    paths = {name: getattr(plan, name) for name in ("snapshot", "out", "test", "random_review")}
    return replace(plan, **{name: path.resolve() for name, path in paths.items() if path is not None})


def _installed() -> bool:
    return all(find_spec(name) is not None for name in ("torch", "ray", "safetensors"))


async def _talk(plan_file: Path, on_progress: Callable[[TrainingProgress], None]) -> dict[str, Any]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "actlabel.trainer.main",
        str(plan_file),
        stdin=asyncio.subprocess.PIPE,  # closes when this process ends, however it ends
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        limit=_LINE_LIMIT_BYTES,
        start_new_session=True,  # Ctrl-C reaches this process alone, which then ends that one in order
    )
    try:
        answer, words = await asyncio.gather(_lines(process, on_progress), _tail(process))
        await process.wait()
    finally:
        await _end(process)
    return _outcome(answer, f"the training process ended with code {process.returncode}: {words}")


def _outcome(answer: dict[str, Any], last_words: str) -> dict[str, Any]:
    if "user_error" in answer:
        raise UserError(answer["user_error"])
    if "results" not in answer:
        raise Fatal(answer.get("error", last_words))
    results: dict[str, Any] = answer["results"]
    return results


async def _lines(process: asyncio.subprocess.Process, on_progress: Callable[[TrainingProgress], None]) -> dict[str, Any]:
    """Tell the progress of a run until its process closes stdout; return the last line."""
    assert process.stdout is not None
    document: dict[str, Any] = {}
    async for line in process.stdout:
        document = json.loads(line)
        if document.keys() & {"phase", "step"}:
            on_progress(_progress(document))
    return document


def _progress(document: dict[str, Any]) -> TrainingProgress:
    if "phase" in document:
        return TrainingProgress(phase=document["phase"])
    return TrainingProgress(
        phase="training", **{name: document[name] for name in ("model", "done", "total", "risk", "max_weight", "ess_ratio")}
    )


async def _tail(process: asyncio.subprocess.Process) -> str:
    """Read all of stderr; return its last line for the message of a crash."""
    assert process.stderr is not None
    last = b""
    async for line in process.stderr:
        last = line.strip() or last
        _log.debug("The training process says something", text=line.decode(errors="replace").rstrip())
    return last.decode(errors="replace")


async def _end(process: asyncio.subprocess.Process) -> None:
    """Let a process that is still there end by itself when its input closes; then kill it."""
    if process.stdin is not None:
        process.stdin.close()
    try:
        async with asyncio.timeout(_STOP_S):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
