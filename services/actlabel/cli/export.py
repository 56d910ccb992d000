"""``actlabel export``: the merged data set as files."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from actlabel.cli.running import run_with_host
from actlabel.dataset.export import Exported
from actlabel.dataset.export import export as export_dataset
from actlabel.dataset.merged import read_merged
from actlabel.host.host import Host
from actlabel.runtime.media import MediaStore


class FileFormat(StrEnum):
    """How the table is written."""

    parquet = "parquet"
    jsonl = "jsonl"
    csv = "csv"


def add_to(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command()(export)


def export(
    campaign: Annotated[str, typer.Argument(help="the campaign's name")],
    out: Annotated[Path, typer.Option(help="a folder that does not exist yet; it is there whole or not at all")],
    file_format: Annotated[FileFormat, typer.Option("--format", help="how the table is written")] = FileFormat.parquet,
) -> None:
    """Write every merged item once: content, labels, inclusion probability, costs; with a card and the hash of all files."""

    async def work(host: Host) -> Exported:
        chosen = await host.campaigns.newest(campaign)
        merged = await read_merged(host.stream, chosen.uid)
        with items_bar() as bar:
            task = bar.add_task("items", total=len(merged))
            return await export_dataset(
                merged,
                chosen,
                MediaStore(host.settings.storage),
                out,
                file_format=file_format.value,
                on_progress=lambda done, total: bar.update(task, completed=done, total=total),
            )

    written = run_with_host(work)
    typer.echo(f"{campaign}: {written.items} items, {written.human} of them labelled by people, in {out}")
    typer.echo(f"{campaign}: sha256 {written.sha256}")
    if written.unreadable:
        typer.echo(f"{campaign}: {written.unreadable} records on the merged topic are no items and were left out")


def items_bar() -> Progress:
    """Make the bar of commands that go through items; it is on stderr and gone afterwards."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True), transient=True)
