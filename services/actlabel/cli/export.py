"""``actlabel export``: the merged data set as files."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from actlabel.cli.running import run_with_host
from actlabel.core.errors import UserError
from actlabel.dataset.export import Exported
from actlabel.dataset.export import export as export_dataset
from actlabel.dataset.follow import ROTATE_ITEMS, ROTATE_SECONDS, FollowedExport, Rotation
from actlabel.dataset.followed_files import FollowedFiles
from actlabel.dataset.merged import read_merged
from actlabel.host.host import Host
from actlabel.runtime.lifecycle import stop_signals
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
    follow: Annotated[
        bool, typer.Option(help="go on writing parts as records come, until SIGTERM; `--out` may be one begun before")
    ] = False,
    rotate_items: Annotated[int, typer.Option(min=1, help="with --follow: a part ends at so many records …")] = ROTATE_ITEMS,
    rotate_seconds: Annotated[float, typer.Option(min=0.1, help="… or so long after its first one")] = ROTATE_SECONDS,
) -> None:
    """Write every merged item once: content, labels, inclusion probability, costs; with a card and the hash of all files.

    With --follow, an item whose newer revision arrives later is written again: keep, for each id, the highest
    (draw, revision, content_revision).
    """
    if follow:
        return _follow(campaign, out, file_format, Rotation(items=rotate_items, seconds=rotate_seconds))

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
    return None


def _follow(campaign: str, out: Path, file_format: FileFormat, rotation: Rotation) -> None:
    if file_format is FileFormat.csv:
        raise UserError("--format: csv cannot be followed, its records have parts; use jsonl or parquet")

    async def work(host: Host) -> None:
        chosen = await host.campaigns.newest(campaign)
        files = FollowedFiles(out, campaign_uid=chosen.uid, file_format="jsonl" if file_format is FileFormat.jsonl else "parquet")
        following = FollowedExport(
            stream=host.stream, campaigns=host.campaigns, campaign=chosen, files=files, rotation=rotation, clock=host.clock,
            on_part=lambda records: typer.echo(f"{campaign}: {records} records more in {out}"),
        )  # fmt: skip
        try:
            with stop_signals(host.stop):
                await following.run(host.stop)
        finally:
            files.close()

    run_with_host(work)


def items_bar() -> Progress:
    """Make the bar of commands that go through items; it is on stderr and gone afterwards."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True), transient=True)
