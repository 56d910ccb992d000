"""``actlabel ingest``: a person's file or folder into a campaign."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from actlabel.cli.running import run_with_host
from actlabel.host.host import Host
from actlabel.intake.fields import Fields
from actlabel.intake.ingest import ingest as ingest_file


def add_to(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command()(ingest)


def ingest(
    campaign: Annotated[str, typer.Argument(help="the campaign's name")],
    path: Annotated[Path, typer.Argument(help="a .jsonl, .csv or .parquet file, or a folder of images")],
    id_field: Annotated[str, typer.Option("--id", help="the column that holds the item's id")] = "id",
    text: Annotated[list[str] | None, typer.Option(help="a column of text; may be repeated [default: text]")] = None,
    image: Annotated[list[str] | None, typer.Option(help="a column of images; may be repeated [default: image]")] = None,
    gold: Annotated[str | None, typer.Option(help="the column of true labels; kept from models and reviewers, used in the report")] = None,
    generate_ids: Annotated[bool, typer.Option(help="make ids from the content")] = False,
    replace: Annotated[bool, typer.Option(help="the same id with other content becomes a revision")] = False,
    rejects: Annotated[Path | None, typer.Option(help="list bad records in this file and take the others")] = None,
    seal: Annotated[bool, typer.Option(help="no more items will come: sampling may begin")] = False,
) -> None:
    """Take a file or folder into a campaign. Running it again changes nothing; a crashed run is finished by the next."""
    fields = Fields(id=id_field, text=tuple(text or ("text",)), image=tuple(image or ("image",)), gold=gold, generate_ids=generate_ids)

    async def work(host: Host) -> None:
        chosen = await host.campaigns.newest(campaign)
        register = host.register(chosen)
        with _bar() as bar:
            task = bar.add_task("checked", total=None)
            findings = await ingest_file(
                register, path, fields, replace=replace, rejects=rejects,
                progress=lambda what, done, total: bar.update(task, description=what, completed=done, total=total),
            )  # fmt: skip
        counts = register.counts
        typer.echo(
            f"{campaign}: {counts.new} new, {counts.known} known, {counts.resumed} resumed, {counts.revised} revised, "
            f"{findings.duplicates} duplicates in the file, {findings.problem_count} refused"
        )
        if findings.problem_count:
            typer.echo(f"{campaign}: the refused records are listed in {rejects}")
        if seal:
            typer.echo(f"{campaign}: sealed with {await host.campaigns.seal(chosen.uid)} items")

    run_with_host(work)


def _bar() -> Progress:
    counts = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    return Progress(*counts, TimeElapsedColumn(), TimeRemainingColumn(), console=Console(stderr=True), transient=True)
