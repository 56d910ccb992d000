"""The demo from beginning to end, in the order in which a person would type its commands."""

import asyncio
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import uvloop

from actlabel.dataset.export import export
from actlabel.dataset.merged import read_merged
from actlabel.demo.campaign import campaign_page, check_budget, write_campaign
from actlabel.demo.digits import Digits, Splits, read_digits, split, true_labels, write_by_label, write_images
from actlabel.demo.labelling import Labelled, free_port, label
from actlabel.demo.models import served
from actlabel.demo.screen import Screen
from actlabel.demo.splits_section import with_splits
from actlabel.demo.system import Elsewhere, Stages, System, own_system, running_system
from actlabel.demo.workspace import Workspace, fresh
from actlabel.host.host import open_host
from actlabel.report.collect import collect
from actlabel.report.findings import find
from actlabel.report.models_file import read_models
from actlabel.report.page import render_page
from actlabel.report.summary import summary
from actlabel.report.whole_file import write_whole
from actlabel.runtime.media import MediaStore
from actlabel.trainer.job import TrainingProgress, train
from actlabel.trainer.plan import TrainingPlan

NAME: Final = "digits"
AUDIT_SHARE: Final = 0.25
LOSSES: Final = ("act", "human-only", "machine-only", "merged-ce", "random-review")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What one run is asked to do."""

    out: Path
    seed: int
    items: int  # images to label, at most
    budget: str  # reviews: a count, or a share like 20%
    elsewhere: Elsewhere | None = None  # stages that run already; None: in this process


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What one run left."""

    summary: Mapping[str, Any]  # the document of summary.json
    workspace: Workspace


def run_demo(plan: Plan, *, stages: Stages, screen: Screen) -> Result:
    """Do everything. Raises ``UserError`` before anything is made, for a budget, an address or a folder that cannot be used."""
    begun_s = time.monotonic()
    check_budget(plan.budget)
    elsewhere = None if plan.elsewhere is None else running_system(plan.elsewhere)
    workspace = fresh(plan.out, seed=plan.seed)
    system = elsewhere or own_system(workspace, stages, review_port=free_port())
    digits = read_digits()
    splits = split(digits.labels, seed=plan.seed, items=plan.items)
    _write_inputs(workspace, digits, splits)
    screen.say(f"{len(splits.campaign)} images to label are in {workspace.images}")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        labelled = runner.run(_label(plan, system, workspace, true_labels(digits, splits.campaign), splits, screen=screen))
        numbers = runner.run(_conclude(plan, system, workspace, labelled, splits, screen=screen, begun_s=begun_s))
    return Result(summary=numbers, workspace=workspace)


def _write_inputs(workspace: Workspace, digits: Digits, splits: Splits) -> None:
    write_images(workspace.images, digits, splits.campaign)
    write_by_label(workspace.test_images, digits, splits.test)


async def _label(plan: Plan, system: System, workspace: Workspace, truth: Mapping[str, str], splits: Splits, *, screen: Screen) -> Labelled:
    with served(splits, at=system.models_at) as endpoint:
        page = campaign_page(name=NAME, endpoint=endpoint, budget=plan.budget, audit_share=AUDIT_SHARE, seed=plan.seed)
        file = write_campaign(workspace.campaign, page)
        labelled = await label(system, file, workspace.images, truth, screen=screen)
    reviews = sum(labelled.progress.reviews.get(state, 0) for state in ("answered", "undecidable"))
    write_random_review(workspace.random_review, truth, reviews=reviews, seed=plan.seed)
    return labelled


async def _conclude(
    plan: Plan, system: System, workspace: Workspace, labelled: Labelled, splits: Splits, *, screen: Screen, begun_s: float
) -> dict[str, Any]:
    """Export, train and report, as `actlabel export`, `train` and `report` do."""
    async with open_host(system.settings, runs_stages=False) as host:
        merged = await read_merged(host.stream, labelled.campaign.uid)
        exported = await export(merged, labelled.campaign, MediaStore(host.settings.storage), workspace.dataset)
        screen.say(f"{exported.items} labelled images, {exported.human} of them by the reviewer, are in {exported.path}")
        await train(_training(plan, workspace), _Training(screen))
        evidence = await collect(host, labelled.campaign)
    findings = find(evidence, read_models(workspace.training / "results.json"))
    numbers = summary(findings, seconds=time.monotonic() - begun_s)
    write_whole(workspace.report, with_splits(render_page(findings), splits))
    write_whole(workspace.summary, json.dumps(numbers | {"splits": splits.facts()}, indent=1) + "\n")
    return numbers


def _training(plan: Plan, workspace: Workspace) -> TrainingPlan:
    return TrainingPlan(
        snapshot=workspace.dataset,
        out=workspace.training,
        losses=LOSSES,
        seed=plan.seed,
        test=workspace.test_images,
        random_review=workspace.random_review,
    )


class _Training:
    """Says which model is being trained, once for each."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._said = ""

    def __call__(self, progress: TrainingProgress) -> None:
        words = f"training {progress.model}" if progress.model else progress.phase
        if words != self._said:
            self._said = words
            self._screen.say(f"{words} …")


def write_random_review(path: Path, truth: Mapping[str, str], *, reviews: int, seed: int) -> None:
    """Write the true labels of a uniform random sample, as if the reviewer had been given those items instead."""
    ids = np.random.default_rng(seed).choice(sorted(truth), size=reviews, replace=False).tolist()
    pq.write_table(pa.table({"id": ids, "label": [truth[item] for item in ids]}), path)
