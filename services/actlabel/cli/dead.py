"""``actlabel dead``: what could not be processed, looked at, sent round again or given up."""

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated

import typer
from google.protobuf.json_format import MessageToJson
from google.protobuf.message import DecodeError
from rich.console import Console
from rich.table import Table
from rich.text import Text

from actlabel.cli.printable import printable
from actlabel.cli.running import run_with_host
from actlabel.contracts.v1.item_pb2 import Item
from actlabel.core import topics
from actlabel.host.host import Host
from actlabel.source.replay import replay_source
from actlabel.stream.dead_records import Choice, DeadRecord, DeadRecords, Original, place_of

commands = typer.Typer(no_args_is_help=True, help="Dead letters: records put aside with their reason and their bytes.")
Name = Annotated[str, typer.Argument(help="the campaign's name")]
Items = Annotated[list[str] | None, typer.Argument(help="ids of items; all that the options leave where none is given")]
Stage = Annotated[str | None, typer.Option(help="only those of this stage")]
Reason = Annotated[str | None, typer.Option(help="only those with this reason")]
Purged = Annotated[bool, typer.Option("--purged", help="those that were purged, instead of the others")]


def add_to(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.add_typer(commands, name="dead")


@commands.command("list")
def list_dead(campaign: Name, stage: Stage = None, reason: Reason = None, purged: Purged = False) -> None:
    """List dead letters, oldest first."""
    choice = _choice(None, stage, reason, purged=purged)

    async def work(host: Host) -> None:
        table = Table("item", "stage", "reason", "since", "detail")
        for dead in await _records(host).list((await host.campaigns.newest(campaign)).uid, choice):
            cells = (dead.item_id, dead.stage, dead.reason, _moment(dead.created_at), dead.detail)
            table.add_row(*(Text(printable(cell)) for cell in cells))
        Console().print(table)

    run_with_host(work)


@commands.command()
def show(
    campaign: Name,
    items: Items = None,
    stage: Stage = None,
    reason: Reason = None,
    purged: Purged = False,
    content: Annotated[
        bool, typer.Option("--content", help="the record too, as JSON, or as hexadecimal bytes where it is no item")
    ] = False,
) -> None:
    """Show why, where and when records were put aside; their content only when asked."""
    choice = _choice(items, stage, reason, purged=purged)

    async def work(host: Host) -> None:
        records = _records(host)
        for dead in await records.list((await host.campaigns.newest(campaign)).uid, choice):
            typer.echo(_described(dead))
            if content:
                typer.echo(_content(await records.show(dead)))

    run_with_host(work)


@commands.command()
def replay(campaign: Name, items: Items = None, stage: Stage = None, reason: Reason = None) -> None:
    """Send dead letters round again, from where they were read. Repeating it is harmless; a paused campaign is resumed first by you."""
    choice = _choice(items, stage, reason)

    async def work(host: Host) -> None:
        newest, records = await host.campaigns.newest(campaign), _records(host)
        source = [dead for dead in await records.list(newest.uid, choice) if dead.stage == topics.SOURCE]
        count = await records.replay(newest.uid, choice)
        typer.echo(f"{campaign}: {count} records sent round again")
        if count and newest.file.sampler.mode == "exact":
            typer.echo(f"what was drawn without them is drawn: `actlabel watch {campaign}` says when they wait for another seal")
        if source:
            taken = await replay_source(host, newest, source)
            typer.echo(f"{campaign}: {taken} of {len(source)} records of the source taken; the others stay, with their reasons")

    run_with_host(work)


@commands.command()
def purge(
    campaign: Name,
    items: Items = None,
    stage: Stage = None,
    reason: Reason = None,
    yes: Annotated[bool, typer.Option("--yes", help="do not ask")] = False,
) -> None:
    """Give dead letters up for good. They go on counting as dead, so that the ledger balances, but are never replayed.

    Their messages stay on the dead topic until the campaign is deleted: no log removes single records.
    """
    choice = _choice(items, stage, reason)

    async def find(host: Host) -> tuple[str, Sequence[DeadRecord]]:
        uid = (await host.campaigns.newest(campaign)).uid
        return uid, await _records(host).list(uid, choice)

    uid, dead = run_with_host(find)
    if not dead:
        typer.echo(f"{campaign}: nothing to purge")
        return
    if not yes:
        kinds = ", ".join(f"{count} {reason} at {stage}" for (stage, reason), count in sorted(_kinds(dead).items()))
        typer.confirm(f"Give up {len(dead)} dead letters of {campaign} for good ({kinds})?", abort=True)
    chosen = Choice(item_ids=frozenset(one.item_id for one in dead))  # those that were shown, not those that came meanwhile
    count = run_with_host(lambda host: _records(host).purge(uid, chosen))
    typer.echo(f"{campaign}: {count} dead letters purged; they still count as dead")


def _kinds(dead: Sequence[DeadRecord]) -> Counter[tuple[str, str]]:
    return Counter((one.stage, one.reason) for one in dead)


def _choice(items: Sequence[str] | None, stage: str | None, reason: str | None, *, purged: bool = False) -> Choice:
    return Choice(stage=stage, reason=reason, item_ids=frozenset(items) if items else None, purged=purged)


def _records(host: Host) -> DeadRecords:
    return DeadRecords(database=host.database, stream=host.stream, clock=host.clock)


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _described(dead: DeadRecord) -> str:
    lines = [
        f"item    {printable(dead.item_id)}",
        f"stage   {dead.stage}",
        f"reason  {dead.reason}",
        f"detail  {printable(dead.detail)}",
        f"since   {_moment(dead.created_at)}",
        f"read at {place_of(dead)}",
    ]
    if dead.is_replaying:
        lines.append("replay  has begun and was not seen to end; replaying it again is harmless")
    if dead.purged_at is not None:
        lines.append(f"purged  {_moment(dead.purged_at)}")
    return "\n".join(lines) + "\n"


def _content(original: Original) -> str:
    if original.dead.stage == topics.SOURCE:
        return _readable(original.value)
    try:
        return MessageToJson(Item.FromString(original.value), preserving_proto_field_name=True, ensure_ascii=True)
    except (DecodeError, ValueError):
        return original.value.hex()


def _readable(value: bytes) -> str:
    """Show text as text, without what would steer a terminal; other bytes as hexadecimal digits."""
    try:
        return printable(value.decode())
    except UnicodeDecodeError:
        return value.hex()
