"""What a run needs, made once before Ray starts: everything that can be refused is refused here, in one line."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from actlabel.classifiers.choose import choose_model
from actlabel.classifiers.contents import Contents, contents_of
from actlabel.classifiers.port import Defaults, Features, ModelKind
from actlabel.core.errors import UserError
from actlabel.trainer.losses import ABSENT, Ints
from actlabel.trainer.objectives import OBJECTIVES, Objective, Request
from actlabel.trainer.plan import TrainingPlan
from actlabel.trainer.records import Records, label_numbers, read_records
from actlabel.trainer.snapshot import Snapshot, open_snapshot
from actlabel.trainer.test_set import write_test_set

_RANDOM_REVIEW: Final = "random-review.parquet"


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """One run's inputs, the same on every rank."""

    plan: TrainingPlan
    snapshot: Snapshot
    records: Records
    kind: ModelKind
    train: Ints  # positions of the items that train, by id
    held_out: Ints  # positions of the items kept for evaluation; none when there is a test set
    test_labels: Ints | None
    random_review: Ints | None
    folder: Path  # out/run

    @property
    def training(self) -> Defaults:
        """How long, in what batches, how fast and on how many threads: the plan's numbers, the model's where it has none."""
        defaults, plan = self.kind.defaults, self.plan
        return Defaults(
            epochs=plan.epochs or defaults.epochs,
            batch_items=plan.batch_items or defaults.batch_items,
            learning_rate=plan.learning_rate or defaults.learning_rate,
            threads=plan.threads or defaults.threads,
        )

    def objective(self, name: str) -> Objective:
        """Make one of the losses. Raises ``UserError`` when the data does not allow it."""
        request = Request(records=self.records, train=self.train, power=self.plan.power, random_review=self.random_review)
        return OBJECTIVES[name](request)

    def features(self) -> Features:
        """Open the features of the snapshot's items."""
        return self.kind.features(self.folder / "features")

    def test_features(self) -> Features:
        """Open the features of the test set."""
        return self.kind.features(self.folder / "test-features")


def prepare(plan: TrainingPlan) -> Prepared:
    """Verify the snapshot, read the test set, check every loss and encode all content under ``out/run``. Raises ``UserError``."""
    snapshot = open_snapshot(plan.snapshot)
    folder = _run_folder(plan, snapshot)
    if plan.test is not None:
        labels = write_test_set(plan.test, snapshot.columns, folder / "test.parquet")
        (folder / "test-labels.json").write_text(json.dumps(labels), encoding="utf-8")
    if plan.random_review is not None:
        _keep_random_review(plan.random_review, folder / _RANDOM_REVIEW)
    prepared = open_prepared(plan, snapshot)
    _check(prepared)
    _encode(prepared.kind, contents_of(snapshot.files, snapshot.columns), folder / "features")
    if plan.test is not None:
        _encode(prepared.kind, contents_of([folder / "test.parquet"], snapshot.columns), folder / "test-features")
    (folder / "run.json").write_text(json.dumps(_identity(plan, snapshot)), encoding="utf-8")
    return prepared


def open_prepared(plan: TrainingPlan, snapshot: Snapshot | None = None) -> Prepared:
    """Open what ``prepare`` made, as every rank does; the driver has checked the bytes."""
    known = snapshot if snapshot is not None else open_snapshot(plan.snapshot, check_bytes=False)
    records = read_records(known.files, known.labels)
    train, held_out = split(records, 0.0 if plan.test is not None else plan.held_out_share, plan.seed)
    return Prepared(
        plan=plan,
        snapshot=known,
        records=records,
        kind=choose_model(plan.model, known.columns),
        train=train,
        held_out=held_out,
        test_labels=_test_labels(plan, known.labels),
        random_review=None if plan.random_review is None else _random_review(plan, records),
        folder=plan.out / "run",
    )


def split(records: Records, share: float, seed: int) -> tuple[Ints, Ints]:
    """Part the usable items into training and held-out ones, by chance alone: the choice never looks at selection or labels."""
    usable = records.by_id[records.usable[records.by_id]]
    order = np.random.default_rng([seed, len(usable)]).permutation(len(usable))
    count = round(share * len(usable))
    return usable[np.sort(order[count:])], usable[np.sort(order[:count])]


def _identity(plan: TrainingPlan, snapshot: Snapshot) -> dict[str, str]:
    return {"snapshot_sha256": snapshot.sha256, "config_sha256": plan.config_sha256}


def _run_folder(plan: TrainingPlan, snapshot: Snapshot) -> Path:
    """Make ``out/run`` afresh, or keep that of the interrupted run when this one may go on with it."""
    folder = plan.out / "run"
    if plan.resume and (folder / "run.json").exists():
        _check_resume(plan, snapshot, folder / "run.json")
        (folder / "progress.json").unlink(missing_ok=True)
        return folder
    if (plan.out / "models").exists():
        raise UserError(f"{plan.out}: holds models already; train into another --out, or --resume an interrupted run")
    shutil.rmtree(folder, ignore_errors=True)
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise UserError(f"{plan.out}: cannot be made ({error.strerror})") from error
    return folder


def _check_resume(plan: TrainingPlan, snapshot: Snapshot, marker: Path) -> None:
    kept: dict[str, Any] = json.loads(marker.read_text(encoding="utf-8"))
    if kept["snapshot_sha256"] != snapshot.sha256:
        raise UserError(f"{plan.snapshot}: is not the snapshot that the interrupted run used; train into another --out")
    if kept["config_sha256"] != plan.config_sha256:
        raise UserError(f"--resume: the interrupted run in {plan.out} had other options; repeat them, or train into another --out")


def _test_labels(plan: TrainingPlan, labels: tuple[str, ...]) -> Ints | None:
    if plan.test is None:
        return None
    names = json.loads((plan.out / "run" / "test-labels.json").read_text(encoding="utf-8"))
    return label_numbers(names, labels, where=str(plan.test))


def _keep_random_review(source: Path, kept: Path) -> None:
    """Copy it beside the other inputs, where every worker finds it."""
    try:
        shutil.copyfile(source, kept)
    except OSError as error:
        raise UserError(f"{source}: cannot be read as Parquet with the columns id and label ({error.strerror})") from error


def _random_review(plan: TrainingPlan, records: Records) -> Ints:
    path = plan.random_review
    try:
        table = pq.read_table(plan.out / "run" / _RANDOM_REVIEW, columns=["id", "label"])
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{path}: cannot be read as Parquet with the columns id and label ({error})") from error
    numbers = label_numbers(table["label"].to_pylist(), records.labels, where=str(path))
    rows = {str(name): row for row, name in enumerate(records.ids)}
    labels = np.full(len(records), ABSENT, dtype=np.int64)
    for number, name in zip(numbers, table["id"].to_pylist(), strict=True):
        if name not in rows:
            raise UserError(f"{path}: item {name!r} is not in the snapshot")
        labels[rows[name]] = number
    return labels


def _check(prepared: Prepared) -> None:
    records, merged = prepared.records, prepared.records.merged[prepared.train]
    if len(np.unique(merged)) < 2:
        raise UserError(f"{prepared.snapshot.path}: all {len(merged)} training items carry one label; a classifier needs two or more")
    for name in prepared.plan.losses:
        prepared.objective(name)
    if prepared.test_labels is not None:
        missing: Sequence[int] = sorted(set(prepared.test_labels.tolist()) - set(merged.tolist()) - set(records.machine.tolist()))
        if missing:
            raise UserError(f"label {records.labels[missing[0]]!r} is in the test set, but no training item carries it; label some first")


def _encode(kind: ModelKind, contents: Contents, folder: Path) -> None:
    """Write features under a draft name, then give them their own: what is there is complete."""
    if folder.exists():
        return
    draft = folder.with_name(f".{folder.name}")
    if draft.exists():
        for file in draft.iterdir():
            file.unlink()
    draft.mkdir(exist_ok=True)
    kind.encode(contents, draft)
    draft.rename(folder)
