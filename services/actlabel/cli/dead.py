"""``actlabel dead``: what could not be processed, looked at and sent round again."""

from collections.abc import Sequence
from typing import Annotated

import typer
from google.protobuf.json_format import MessageToJson
from google.protobuf.message import DecodeError
from rich.console import Console
from rich.table import Table

from actlabel.cli.running import run_with_host
from actlabel.contracts.v1.item_pb2 import Item
from actlabel.host.host import Host
from actlabel.stream.dead_records import DeadRecord, DeadRecords, Original

commands = typer.Typer(no_args_is_help=True, help="Dead letters: records put aside with their reason and their bytes.")
Name = Annotated[str, typer.Argument(help="the campaign's name")]
Stage = Annotated[str | None, typer.Option(help="only those of this stage")]
Reason = Annotated[str | None, typer.Option(help="only those with this reason")]


def add_to(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.add_typer(commands, name="dead")


@commands.command("list")
def list_dead(campaign: Name, stage: Stage = None, reason: Reason = None) -> None:
    """List dead letters, oldest first."""

    async def work(host: Host) -> None:
        table = Table("item", "stage", "reason", "detail")
        for dead in await _chosen(host, campaign, stage, reason):
            table.add_row(dead.item_id, dead.stage, dead.reason, dead.detail)
        Console().print(table)

    run_with_host(work)


@commands.command()
def show(campaign: Name, item: Annotated[str, typer.Argument(help="the item's id")]) -> None:
    """Show one dead letter with its record as JSON, or as hexadecimal bytes where it is no item."""

    async def work(host: Host) -> None:
        uid = (await host.campaigns.newest(campaign)).uid
        typer.echo(_text(await _records(host).show(uid, item)))

    run_with_host(work)


@commands.command()
def replay(campaign: Name, stage: Stage = None, reason: Reason = None) -> None:
    """Send dead letters round again, from where they were read. Repeating it is harmless; a paused campaign is resumed first by you."""

    async def work(host: Host) -> None:
        chosen = await _chosen(host, campaign, stage, reason)
        uid = (await host.campaigns.newest(campaign)).uid
        count = await _records(host).replay(uid, [dead.item_id for dead in chosen])
        typer.echo(f"{campaign}: {count} records sent round again")

    run_with_host(work)


def _records(host: Host) -> DeadRecords:
    return DeadRecords(database=host.database, stream=host.stream, clock=host.clock)


async def _chosen(host: Host, campaign: str, stage: str | None, reason: str | None) -> Sequence[DeadRecord]:
    uid = (await host.campaigns.newest(campaign)).uid
    every = await _records(host).list(uid)
    return [dead for dead in every if stage in {None, dead.stage} and reason in {None, dead.reason}]


def _text(original: Original) -> str:
    dead = original.dead
    head = f"# {dead.item_id}: {dead.reason} at {dead.stage}: {dead.detail}"
    try:
        return f"{head}\n{MessageToJson(Item.FromString(original.value), preserving_proto_field_name=True)}"
    except (DecodeError, ValueError):
        return f"{head}\n{original.value.hex()}"
