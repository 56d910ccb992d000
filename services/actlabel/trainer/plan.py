"""What one training run is asked to do. Imports neither torch nor ray: the command line and the demo make plans."""

import hashlib
import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Literal

from actlabel.core.errors import UserError

LOSSES: Final = (
    *("act", "human-only", "machine-only", "merged-ce", "merged-gce", "merged-smooth"),
    *("ipw", "snipw", "forward", "random-review", "act-ce"),
)
"""Every loss that there is; ``objectives.OBJECTIVES`` defines them."""

BASELINES: Final = ("human-only", "machine-only", "merged-ce", "merged-gce", "merged-smooth", "ipw", "snipw", "forward")
"""What ``act`` is measured against on the same data; ``random-review`` needs labels of its own."""

_WHERE_AND_HOW: Final = {
    *("snapshot", "out", "workers", "gpu", "resume", "checkpoint_interval_s", "max_failures", "threads", "ray_address", "staging"),
}
"""Fields that do not change the result, so that a resumed run may have others. The snapshot counts by its bytes, not by its place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingPlan:
    """One run: all its losses are trained one after the other in one Ray job, on one snapshot."""

    snapshot: Path  # an exported Parquet data set; its hash is checked
    out: Path  # gets models/, results.json and, while it runs, run/
    losses: tuple[str, ...] = ("act",)
    model: str = "auto"  # cnn, ngrams, hf:<name or path>; auto: cnn for images, else ngrams
    epochs: int | None = None  # passes over the training items; None: the model's default
    batch_items: int | None = None  # of the global batch, whatever the number of workers; None: the model's default
    learning_rate: float | None = None  # None: the model's default
    seed: int = 0
    test: Path | None = None  # a file or folder with human labels that were never in the campaign
    held_out_share: float = 0.2  # of the items, kept for evaluation when there is no test set
    random_review: Path | None = None  # Parquet with id and label of a uniform random sample
    power: float = 1.0  # λ of the ACT loss
    on_negative_risk: Literal["warn", "stop"] = "warn"  # when the mean risk stays below zero
    workers: tuple[int, int] = (1, 1)  # fewest and most: a range is elastic
    gpu: bool = False
    resume: bool = False
    checkpoint_interval_s: float = 60.0
    max_failures: int = 3  # how often dead workers are replaced
    threads: int | None = None  # of each worker; None: the model's default
    ray_address: str | None = None  # an existing Ray cluster; None: RAY_ADDRESS, or a cluster of this run's own
    staging: str | None = None  # an fsspec address of this run alone, for workers elsewhere; None: all workers see ``out``

    def to_json(self) -> str:
        """Write the plan for the process that carries it out."""
        return json.dumps(asdict(self), default=str, sort_keys=True)

    @property
    def config_sha256(self) -> str:
        """The hash of everything that determines the result; a checkpoint of another configuration is refused."""
        document = {name: value for name, value in asdict(self).items() if name not in _WHERE_AND_HOW}
        return hashlib.sha256(json.dumps(document, default=str, sort_keys=True).encode()).hexdigest()


def plan_from_json(text: str) -> TrainingPlan:
    """Read what ``TrainingPlan.to_json`` wrote."""
    document: dict[str, Any] = json.loads(text)
    for name in ("snapshot", "out", "test", "random_review"):
        document[name] = Path(document[name]) if document[name] is not None else None
    document["losses"], document["workers"] = tuple(document["losses"]), tuple(document["workers"])
    return TrainingPlan(**document)


def check_plan(plan: TrainingPlan) -> None:
    """Refuse what can be refused without reading data. Raises ``UserError`` that names the option."""
    if unknown := [name for name in plan.losses if name not in LOSSES]:
        raise UserError(f"--loss: {unknown[0]!r} is not one of {', '.join(LOSSES)}")
    if len(set(plan.losses)) < len(plan.losses) or not plan.losses:
        raise UserError("--loss: name at least one loss, each only once")
    if not 1 <= plan.workers[0] <= plan.workers[1]:
        raise UserError(f"--workers: {plan.workers[0]}-{plan.workers[1]} is no range; write 2 or 1-4")
    for option, value in (("--epochs", plan.epochs), ("--batch", plan.batch_items), ("--learning-rate", plan.learning_rate)):
        if value is not None and value <= 0:
            raise UserError(f"{option}: must be above 0")
    if not 0 < plan.held_out_share < 1:
        raise UserError("--held-out: a share between 0 and 1, for example 0.2")


def parse_workers(text: str) -> tuple[int, int]:
    """Read ``2`` or an elastic range like ``1-4``. Raises ``UserError``."""
    match = re.fullmatch(r"(\d{1,4})(?:-(\d{1,4}))?", text)
    if match is None:
        raise UserError(f"--workers: {text!r} is neither a number like 2 nor a range like 1-4")
    return int(match[1]), int(match[2] or match[1])
