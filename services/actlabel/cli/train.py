"""``actlabel train``: models on the merged data set, ACT loss beside its baselines, as one Ray Train job."""

import asyncio
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from actlabel.cli.accuracy import accuracy_cells
from actlabel.cli.export import items_bar
from actlabel.cli.running import run_with_host
from actlabel.host.host import Host
from actlabel.model_registry.registry import check_name
from actlabel.runtime.health import shown_to_the_end
from actlabel.trainer.job import TrainingProgress, TrainingResults
from actlabel.trainer.meters import show_campaign, show_progress, show_results
from actlabel.trainer.plan import BASELINES, LOSSES, TrainingPlan, check_plan, parse_workers
from actlabel.trainer.rounds import Rounds, Trained, in_its_own_folder, staging_address
from actlabel.trainer.schedule import When, parse_when


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
    through_storage: Annotated[
        bool, typer.Option("--through-storage", help="inputs, checkpoints and models go through ACTLABEL_STORAGE: for workers elsewhere")
    ] = False,
    when: Annotated[
        str | None,
        typer.Option(help="only if so much has come since the last round: '500 reviews or 24h'; each round has its folder in --out"),
    ] = None,
    register_as: Annotated[str, typer.Option(help="the model's name in the registry [default: the campaign's]")] = "",
    register: Annotated[bool, typer.Option("--register/--no-register", help="make the best model a version that can be served")] = True,
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
    chosen = None if when is None else parse_when(when)
    with items_bar() as bar:
        name = register_as if register else None
        done = run_with_host(_Work(campaign=campaign, plan=plan, through_storage=through_storage, register_as=name, when=chosen, bar=bar))
    if isinstance(done, str):
        typer.echo(done)
        return
    _print(done.results)
    _print_registered(done, registered=register)


def _losses(chosen: list[str] | None, *, baselines: bool, random_review: Path | None) -> tuple[str, ...]:
    extra = ("act", *BASELINES, *(("random-review",) if random_review is not None else ())) if baselines else ()
    return tuple(dict.fromkeys((*(chosen or (() if extra else ("act",))), *extra)))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Work:
    """Trains and registers, now or when it is due."""

    campaign: str
    plan: TrainingPlan
    through_storage: bool
    register_as: str | None  # None: not at all; empty: the campaign's name
    when: When | None
    bar: Progress

    async def __call__(self, host: Host) -> Trained | str:
        """Do the work of the command; a line where there is nothing to do."""
        campaign = await host.campaigns.newest(self.campaign)
        show_campaign(campaign)
        rounds = Rounds(host, campaign)
        plan = self.plan if not self.through_storage else replace(self.plan, staging=staging_address(host, campaign))
        if self.when is None:
            staging = None if plan.staging is None else f"{plan.staging}/{plan.out.resolve().name}"
            return await self._train(host, rounds, replace(plan, staging=staging))
        return await rounds.when_due(self.when, lambda: self._next(host, rounds, plan))

    async def _next(self, host: Host, rounds: Rounds, plan: TrainingPlan) -> Trained:
        number = await rounds.number()
        return await self._train(host, rounds, await asyncio.to_thread(in_its_own_folder, plan, number))

    async def _train(self, host: Host, rounds: Rounds, plan: TrainingPlan) -> Trained:
        """A round that is not due shows nothing and is not waited for."""
        async with shown_to_the_end(host.health, role="train", host=host.settings.host, port=host.settings.http_port):
            done = await self._run(rounds, plan)
            show_results(rounds.uid, done.results)
        return done

    async def _run(self, rounds: Rounds, plan: TrainingPlan) -> Trained:
        name = None if self.register_as is None else check_name(self.register_as or self.campaign)
        shown = self.bar.add_task("snapshot", total=None)

        def on_progress(progress: TrainingProgress) -> None:
            show_progress(rounds.uid, progress)
            words = f"{progress.phase} {progress.model}".strip()
            self.bar.update(shown, description=words, completed=progress.done, total=progress.total or None)

        return await rounds.train(plan, register_as=name, on_progress=on_progress)


def _print(results: TrainingResults) -> None:
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
    console.print(f"models and results.json are in {results.models_folder.parent}")


def _print_registered(done: Trained, *, registered: bool) -> None:
    if done.model is not None:
        loss = done.model.document["metrics"]["name"]
        typer.echo(f"registered as {done.model.reference} ({loss}); `actlabel serve model` serves it, `actlabel model show` tells of it")
    elif registered:
        typer.echo("nothing is registered: the risk of every model stayed below zero and nothing bounds it")


def _cells(model: dict[str, Any]) -> tuple[str, ...]:
    return (
        model["name"],
        *accuracy_cells(model),
        str(model["train_items"]),
        f"{model['mean_batch_risk']:.3f}",
        f"{model['max_weight']:.1f}",
        f"{model['seconds']:.1f}",
    )
