"""The run that every rank carries out: one model per loss, one after the other, from wherever the last checkpoint stands."""

import json
import time
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from actlabel.core.errors import Fatal
from actlabel.trainer.evaluate import evaluate
from actlabel.trainer.model_folder import write_model
from actlabel.trainer.prepare import Prepared
from actlabel.trainer.ranks import Ranks, State
from actlabel.trainer.staging import Staging
from actlabel.trainer.training import Policy, Stopwatch, Training

_PROGRESS_INTERVAL_S = 0.3
_STAGED_PROGRESS_INTERVAL_S = 5.0


def run(prepared: Prepared, ranks: Ranks) -> list[dict[str, Any]]:
    """Train and test a model for every loss of the plan; return their results, in that order. Collective.

    Raises ``Fatal`` when a checkpoint belongs to another snapshot or configuration.
    """
    keeper = _Keeper(prepared=prepared, ranks=ranks)
    state = keeper.latest()
    results: list[dict[str, Any]] = state["results"] if state else []
    current = state["current"] if state else None
    for name in prepared.plan.losses[len(results) :]:
        results.append(_one(prepared, ranks, keeper, name, results, current))
        current = None
        keeper.save(results, None)
    return results


def _one(  # noqa: PLR0917
    prepared: Prepared, ranks: Ranks, keeper: "_Keeper", name: str, results: list[dict[str, Any]], current: State | None
) -> dict[str, Any]:
    """Train one model, from a checkpoint of it if there is one."""
    objective = prepared.objective(name)
    policy = policy_for(prepared, name)
    torch.manual_seed(prepared.plan.seed)  # every loss starts from the same weights
    training = Training(prepared.kind.build(prepared.snapshot.labels), objective, prepared.features(), policy, ranks)
    watch = Stopwatch(current["seconds"] if current else 0.0)
    progress = _Progress(prepared=prepared, rank=ranks.rank, name=name, steps=policy.steps, index=len(results))
    with closing(training):
        training.restore(current)
        while not training.finished:
            if training.step(flag=ranks.rank == 0 and keeper.due):
                keeper.save(results, {**training.state(), "seconds": watch.seconds})
            progress.tell(training)
    return _finish(prepared, ranks, training, watch, policy)


def _finish(prepared: Prepared, ranks: Ranks, training: Training, watch: Stopwatch, policy: Policy) -> dict[str, Any]:
    objective = training.objective
    accuracy = evaluate(training.model, prepared, ranks)
    result = {
        "name": objective.name,
        "loss": objective.loss,
        **accuracy.as_dict(),
        "train_items": len(objective.items),
        **training.watch.summary(),
        "bounded": objective.bounded,
        "persistently_negative": training.watch.persistently_negative,
        "notes": list(objective.notes),
        "seconds": round(watch.seconds, 3),
    }
    if ranks.rank == 0:
        write_model(prepared, training.model, result, policy.metrics_file)
    return result


def policy_for(prepared: Prepared, name: str) -> Policy:
    """Say how a model is trained: as many steps as the epochs of *all* training items take, whatever items the loss uses."""
    training = prepared.training
    return Policy(
        steps=training.epochs * -(-len(prepared.train) // training.batch_items),
        training=training,
        seed=prepared.plan.seed,
        stop_on_negative_risk=prepared.plan.on_negative_risk == "stop",
        metrics_file=prepared.folder / f"{name}.metrics.jsonl",
    )


@dataclass(slots=True, kw_only=True)
class _Keeper:
    """Keeps checkpoints that say what they belong to."""

    prepared: Prepared
    ranks: Ranks
    kept_at: float = field(default_factory=time.monotonic)

    @property
    def due(self) -> bool:
        """Say whether the last checkpoint is old enough."""
        return time.monotonic() - self.kept_at >= self.prepared.plan.checkpoint_interval_s

    @property
    def _identity(self) -> dict[str, str]:
        return {"snapshot_sha256": self.prepared.snapshot.sha256, "config_sha256": self.prepared.plan.config_sha256}

    def save(self, results: list[dict[str, Any]], current: State | None) -> None:
        """Keep what is done and, within a model, where it stands. Collective."""
        state = {**self._identity, "results": results, "current": current} if self.ranks.rank == 0 else None
        self.ranks.save(state)
        self.kept_at = time.monotonic()

    def latest(self) -> State | None:
        """Return the last checkpoint of this very run."""
        state = self.ranks.latest()
        if state is not None and {name: state[name] for name in self._identity} != self._identity:
            raise Fatal("the checkpoint belongs to another snapshot or configuration")
        return state


@dataclass(slots=True, kw_only=True)
class _Progress:
    """Tells the process that waits for this run how far it is, through a small file that is replaced whole, seldom where it is far."""

    prepared: Prepared
    rank: int
    name: str
    steps: int
    index: int  # of the model, from 0
    told_at: float = 0.0

    def tell(self, training: Training) -> None:
        """Write where the model stands, a few times a second at most."""
        interval_s = _PROGRESS_INTERVAL_S if self.prepared.plan.staging is None else _STAGED_PROGRESS_INTERVAL_S
        if self.rank or time.monotonic() - self.told_at < interval_s:
            return
        self.told_at = time.monotonic()
        done = self.index * self.steps + training.next_step
        document = {"model": self.name, "step": training.next_step, "steps": self.steps}
        document |= training.watch.recent_facts(self.prepared.training.batch_items)
        document |= {"done": done, "total": self.steps * len(self.prepared.plan.losses)}
        if self.prepared.plan.staging is not None:
            Staging(self.prepared.plan.staging).put_progress(document)
        else:
            write_progress(self.prepared.folder, document)


def write_progress(folder: Path, document: dict[str, Any]) -> None:
    """Replace the progress file."""
    draft = folder / ".progress.json"
    draft.write_text(json.dumps(document), encoding="utf-8")
    draft.replace(folder / "progress.json")
