"""``actlabel model``: what is registered, what a version was made of, and which one a bare name means."""

import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Column, Table

from actlabel.cli.accuracy import accuracy_cells
from actlabel.cli.running import run_with_database
from actlabel.model_registry.registry import ModelVersion, Registry

commands = typer.Typer(no_args_is_help=True, help="Trained models: registered versions.")
Reference = Annotated[str, typer.Argument(help="name or name@version")]


def add_to(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.add_typer(commands, name="model")


@commands.command("list")
def list_models(
    name: Annotated[str | None, typer.Argument(help="every version of one model [default: the current one of each]")] = None,
) -> None:
    """List registered models with their accuracy."""

    async def work(registry: Registry) -> None:
        current = {known.name: known for known in await registry.current()}
        models = await registry.versions(name) if name else [await registry.find(known) for known in current]
        first = Column("model", no_wrap=True)  # what one types next
        table = Table(
            first, "current", "kind", "loss", "accuracy", "95 % interval", "on", "campaign", "registered", box=None, header_style="dim"
        )
        for model in models:
            known = current[model.name]
            means = ("pinned" if known.pinned else "newest") if known.version == model.version else ""
            table.add_row(model.reference, means, *_cells(model))
        if models:
            Console().print(table)
        else:
            typer.echo("no model is registered; `actlabel train` registers what it trained")

    _run(work)


def _cells(model: ModelVersion) -> tuple[str, ...]:
    document: Any = model.document
    metrics = document["metrics"]
    return (
        str(document["model"]["kind"]),
        str(metrics["name"]),
        *accuracy_cells(metrics),
        f"{document['campaign']['name']} version {document['campaign']['version']}",
        datetime.fromtimestamp(model.created_at, UTC).strftime("%Y-%m-%d %H:%M"),
    )


@commands.command()
def show(reference: Reference) -> None:
    """Show everything about a version as JSON: data, draws, metrics with intervals, configuration, code, libraries, files."""

    async def work(registry: Registry) -> None:
        model = await registry.find(reference)
        told = {
            "name": model.name,
            "version": model.version,
            "digest": model.digest,
            "storage": f"models/{model.digest}",
            "answers": model.answers,
        }
        at = datetime.fromtimestamp(model.created_at, UTC).isoformat(timespec="seconds")
        typer.echo(json.dumps({**told, "registered_at": at, **model.document}, indent=1, ensure_ascii=True))

    _run(work)


@commands.command()
def pin(reference: Annotated[str, typer.Argument(help="name@version")]) -> None:
    """Let the bare name mean this version, whatever is registered later; servers follow within seconds."""

    async def work(registry: Registry) -> None:
        model = await registry.pin(reference)
        typer.echo(f"{model.name} is {model.reference} until `actlabel model unpin {model.name}`")

    _run(work)


@commands.command()
def unpin(name: Annotated[str, typer.Argument(help="the model's name")]) -> None:
    """Let the bare name mean the newest version again."""

    async def work(registry: Registry) -> None:
        model = await registry.unpin(name)
        typer.echo(f"{model.name} is {model.reference}, the newest")

    _run(work)


def _run(work: Callable[[Registry], Awaitable[None]]) -> None:
    run_with_database(lambda _, database, clock: work(Registry(database, clock)))
