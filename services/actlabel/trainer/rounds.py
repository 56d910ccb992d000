"""A round of training: the data frozen, a job, a version in the registry; and whether one is due. Imports neither torch nor ray."""

import asyncio
import json
import shutil
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from actlabel.core.errors import UserError
from actlabel.host.host import Host
from actlabel.model_registry.registry import ModelVersion, Registry
from actlabel.runtime.campaigns import Campaign
from actlabel.runtime.database.port import load_statements
from actlabel.runtime.storage import Storage
from actlabel.trainer.job import TrainingProgress, TrainingResults, read_results, train
from actlabel.trainer.plan import TrainingPlan
from actlabel.trainer.registration import register_run
from actlabel.trainer.schedule import Since, When, described, is_due
from actlabel.trainer.snapshot import make_snapshot
from actlabel.trainer.staging import Staging

OnProgress = Callable[[TrainingProgress], None]
_ANSWERS: Final = "answers.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """What a round left."""

    results: TrainingResults
    model: ModelVersion | None  # None: nothing was to be registered, or every model diverged


class Rounds:
    """The rounds of one campaign."""

    def __init__(self, host: Host, campaign: Campaign) -> None:
        """Read nothing yet."""
        self._host = host
        self._campaign = campaign
        self._registry = Registry(host.database, host.clock)
        self._sql = load_statements("actlabel.trainer")

    @property
    def uid(self) -> str:
        """Of the campaign."""
        return self._campaign.uid

    async def since(self) -> Since:
        """Tell what has come since the last registered round."""
        last = await self._registry.last_of_campaign(self._campaign.uid)
        began_at = (await self._host.database.fetch(self._sql["began_at"], self._campaign.uid))[0]["created_at"]
        return Since(
            answers=await self._answers() - (last.answers if last else 0),
            seconds=self._host.clock.now() - (last.created_at if last else began_at),
            last=last.reference if last else None,
        )

    async def number(self) -> int:
        """Count the round that comes: one more than those of this campaign that were registered."""
        return await self._registry.rounds_of_campaign(self._campaign.uid) + 1

    async def _answers(self) -> int:
        return int((await self._host.database.fetch(self._sql["answers"], self._campaign.uid))[0]["answers"])

    async def when_due(self, when: When, work: Callable[[], Awaitable[Trained]]) -> Trained | str:
        """Do ``work`` when a round is due and nobody else is at one; else return a line that says why nothing was done."""
        name = self._campaign.name
        async with self._host.database.try_lock(f"train:{self._campaign.uid}") as is_ours:
            if not is_ours:
                return f"{name}: another process is training; nothing to do"
            since = await self.since()
            if not is_due(when, since):
                return f"{name}: no round is due: {described(when, since)}"
            return await work()

    async def train(self, plan: TrainingPlan, *, register_as: str | None, on_progress: OnProgress) -> Trained:
        """Freeze the data, unless a resumed run has its own, train, and register the best model under ``register_as``.

        Raises ``UserError`` for what the user can mend (nothing is left then), ``Fatal`` when workers fail too often: resume goes on.
        """
        storage = Storage(self._host.settings.storage)
        answers = await self._frozen(plan, on_progress)
        try:
            results = read_results(plan) or await train(plan, on_progress)
        except UserError:
            # refused before training began: the corrected command shall find the place free
            if not plan.resume:
                _clear(plan.out)
            raise
        model = None
        if register_as is not None:
            model = await register_run(
                registry=self._registry, storage=storage, plan=plan, results=results, name=register_as, answers=answers
            )
        if plan.staging is not None:  # only now: until it is registered, a run can be resumed elsewhere
            await asyncio.to_thread(Staging(plan.staging).remove)
        return Trained(results=results, model=model)

    async def _frozen(self, plan: TrainingPlan, on_progress: OnProgress) -> int:
        """Make the snapshot where there is none; returns how many answers were published before it."""
        if plan.resume and plan.staging is not None and not plan.snapshot.exists():
            await asyncio.to_thread(_fetch_frozen, plan)
        if plan.resume and plan.snapshot.exists():
            return _kept_answers(plan.snapshot.parent / _ANSWERS)
        answers = await self._answers()  # before the offsets are frozen: what comes in between counts for the next round
        on_progress(TrainingProgress(phase="snapshot"))
        await make_snapshot(
            self._host,
            self._campaign,
            plan.snapshot,
            lambda done, total: on_progress(TrainingProgress(phase="snapshot", done=done, total=total)),
        )
        (plan.out / _ANSWERS).write_text(json.dumps(answers), encoding="utf-8")
        if plan.staging is not None:
            await asyncio.to_thread(Staging(plan.staging).put_answers, answers)
        return answers


def in_its_own_folder(plan: TrainingPlan, number: int) -> TrainingPlan:
    """Put a round into a folder of its own; where an interrupted one with the same options left its snapshot there, go on with it."""
    name = f"round-{number}-{plan.config_sha256[:8]}"
    out, staging = plan.out / name, None if plan.staging is None else f"{plan.staging}/{name}"
    left = (out / "snapshot").exists() or (staging is not None and Staging(staging).has_inputs())
    return replace(plan, out=out, snapshot=out / "snapshot", staging=staging, resume=left)


def staging_address(host: Host, campaign: Campaign) -> str:
    """Say where in storage the runs of a campaign have what their workers need."""
    storage = host.settings.storage
    root = storage if "://" in storage else str(Path(storage).resolve())
    return f"{root}/training/{campaign.uid}"


def _fetch_frozen(plan: TrainingPlan) -> None:
    """Bring back the snapshot of a run that was interrupted on another machine, where it left one."""
    assert plan.staging is not None, "the caller looked"
    staging = Staging(plan.staging)
    if staging.has_inputs():
        plan.out.mkdir(parents=True, exist_ok=True)
        staging.fetch_snapshot(plan)
        (plan.out / _ANSWERS).write_text(json.dumps(staging.answers()), encoding="utf-8")


def _clear(out: Path) -> None:
    shutil.rmtree(out / "snapshot", ignore_errors=True)
    shutil.rmtree(out / "run", ignore_errors=True)
    (out / _ANSWERS).unlink(missing_ok=True)


def _kept_answers(file: Path) -> int:
    try:
        return int(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return 0  # a run of before there was a registry: its answers count as new
