"""``actlabel train``: models on the merged data set, ACT loss beside its baselines, as one Ray Train job."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from actlabel.cli.export import items_bar
from actlabel.cli.running import run_with_host
from actlabel.core.errors import UserError
from actlabel.host.host import Host
from actlabel.runtime.campaigns import Campaign
from actlabel.runtime.health import shown_to_the_end
from actlabel.trainer.job import TrainingProgress, TrainingResults
from actlabel.trainer.job import train as run_training
from actlabel.trainer.meters import show_campaign, show_progress, show_results
from actlabel.trainer.plan import BASELINES, LOSSES, TrainingPlan, check_plan, parse_workers
from actlabel.trainer.snapshot import make_snapshot


def add_to(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command()(train)


def train(
    *,
    campaign: Annotated[str, typer.Argument(help="the campaign's name")],
    out: Annotated[Path, typer.Option(help="gets snapshot/, models/ and results.json")],
    loss: Annotated[list[str] | None, typer.Option(help=f"may be repeated: {', '.join(LOSSES)} [default: act]")] = None,
    baselines: Annotated[bool, typer.Option("--baselines", help="act and every baseline on the same data")] = False,
    model: Annotated[str, typer.Option(help="cnn, ngrams, or hf:<name or path of a Hugging Face classifier>")] = "auto",
    test: Annotated[Path | None, typer.Option(help="human labels: .parquet, .jsonl, or a folder with one folder per label")] = None,
    held_out: Annotated[float, typer.Option(help="without --test: the share of items kept for evaluation")] = 0.2,
    random_review: Annotated[Path | None, typer.Option(help="Parquet with id and label of a random sample, for random-review")] = None,
    epochs: Annotated[int | None, typer.Option(help="passes over the items [default: the model's]")] = None,
    batch: Annotated[int | None, typer.Option(help="items of the global batch, whatever the workers [default: the model's]")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="[default: the model's]")] = None,
    power: Annotated[float, typer.Option("--lambda", help="of the ACT loss; 1 is the paper's")] = 1.0,
    stop_on_negative_risk: Annotated[bool, typer.Option(help="end a model whose mean risk stays below zero")] = False,
    seed: Annotated[int, typer.Option(help="of order and weights")] = 0,
    workers: Annotated[str, typer.Option(help="a number, or an elastic range like 1-4")] = "1",
    gpu: Annotated[bool, typer.Option("--gpu", help="one GPU per worker")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="go on with an interrupted run in --out, on its own snapshot")] = False,
) -> None:
    """Train on a frozen snapshot of the merged items. RAY_ADDRESS names a cluster; without it one is started here."""
    plan = TrainingPlan(
        snapshot=out / "snapshot",
        out=out,
        losses=_losses(loss, baselines=baselines, random_review=random_review),
        model=model,
        epochs=epochs,
        batch_items=batch,
        learning_rate=learning_rate,
        seed=seed,
        test=test,
        held_out_share=held_out,
        random_review=random_review,
        power=power,
        on_negative_risk="stop" if stop_on_negative_risk else "warn",
        workers=parse_workers(workers),
        gpu=gpu,
        resume=resume,
    )
    check_plan(plan)
    with items_bar() as bar:
        results = run_with_host(_Work(campaign=campaign, plan=plan, bar=bar))
    _print(results, plan)


def _losses(chosen: list[str] | None, *, baselines: bool, random_review: Path | None) -> tuple[str, ...]:
    extra = ("act", *BASELINES, *(("random-review",) if random_review is not None else ())) if baselines else ()
    return tuple(dict.fromkeys((*(chosen or (() if extra else ("act",))), *extra)))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Work:
    """Makes the snapshot, unless a resumed run has its own, and trains on it."""

    campaign: str
    plan: TrainingPlan
    bar: Progress

    async def __call__(self, host: Host) -> TrainingResults:
        """Do the work of the command."""
        chosen = await host.campaigns.newest(self.campaign)
        show_campaign(chosen)
        async with shown_to_the_end(host.health, role="train", host=host.settings.host, port=host.settings.http_port):
            results = await self._carry_out(host, chosen)
            show_results(chosen.uid, results)
        return results

    async def _carry_out(self, host: Host, chosen: Campaign) -> TrainingResults:
        if self.plan.resume and self.plan.snapshot.exists():
            return await self._train(chosen.uid)
        task = self.bar.add_task("snapshot", total=None)
        await make_snapshot(host, chosen, self.plan.snapshot, lambda done, total: self.bar.update(task, completed=done, total=total))
        self.bar.remove_task(task)
        try:
            return await self._train(chosen.uid)
        except UserError:
            # refused before training began: the corrected command shall find the place free
            shutil.rmtree(self.plan.snapshot)
            shutil.rmtree(self.plan.out / "run", ignore_errors=True)
            raise

    async def _train(self, uid: str) -> TrainingResults:
        shown = self.bar.add_task("preparing", total=None)

        def on_progress(progress: TrainingProgress) -> None:
            show_progress(uid, progress)
            words = f"{progress.phase} {progress.model}".strip()
            self.bar.update(shown, description=words, completed=progress.done, total=progress.total or None)

        return await run_training(self.plan, on_progress)


def _print(results: TrainingResults, plan: TrainingPlan) -> None:
    table = Table("loss", "accuracy", "95 % interval", "on", "items", "mean risk", "max weight", "seconds", box=None, header_style="dim")
    for model in results.models:
        table.add_row(*_cells(model))
    console = Console()
    console.print(table)
    for model in results.models:
        if model["persistently_negative"]:
            console.print(f"{model['name']}: its risk stayed below zero; trust its accuracy on human labels, not its loss")
        for note in model["notes"]:
            console.print(f"{model['name']}: {note}")
    if results.selected is not None:
        console.print(f"best on held-out human labels: {results.selected}")
    console.print(f"models and results.json are in {plan.out}")


def _cells(model: dict[str, Any]) -> tuple[str, ...]:
    known = model["test_accuracy"] is not None
    return (
        model["name"],
        f"{model['test_accuracy']:.3f}" if known else "unknown",
        f"{model['low']:.3f} to {model['high']:.3f}" if known else "",
        f"{model['test_items']} {model['evaluation']}" if known else model["evaluation"],
        str(model["train_items"]),
        f"{model['mean_batch_risk']:.3f}",
        f"{model['max_weight']:.1f}",
        f"{model['seconds']:.1f}",
    )
