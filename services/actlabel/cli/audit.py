"""``actlabel audit``: the conservation ledger of a campaign, proved from its topics."""

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Final

import orjson
import typer
from rich.console import Console, Group
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from actlabel.audit.decide import FAULTS, IN_FLIGHT
from actlabel.audit.handle import run_audit
from actlabel.audit.ledger import Ledger
from actlabel.cli.printable import printable
from actlabel.cli.running import run_with_host
from actlabel.host.host import Host

VIOLATION: Final = 1
MOVING: Final = 3
"""Exit codes beside 0: at rest and balanced."""


def add_to(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command()(audit)


def audit(
    campaign: Annotated[str, typer.Argument(help="the campaign's name")],
    as_json: Annotated[bool, typer.Option("--json", help="print the ledger as JSON")] = False,
    work: Annotated[Path | None, typer.Option(help="folder for working files, about 60 bytes a record; default: the system's")] = None,
) -> None:
    """Prove from the topics that nothing is lost or doubled: registered = merged + open in review + dead + in flight, by ids.

    It may run beside the stages, and reads every topic of the campaign to its present end. Exit code: 0 the ledger balances and nothing
    is in flight; 3 it balances, and some items are still in flight; 1 it does not, and the first ids of each violation are named.
    """
    if work is not None and not work.is_dir():
        raise typer.BadParameter(f"{work} is not a folder", param_hint="--work")

    async def prove(host: Host) -> Ledger:
        uid = (await host.campaigns.newest(campaign)).uid
        with _bar() as bar:
            task = bar.add_task("looking", total=None, rate="")

            def progress(what: str, done: int, total: int) -> None:
                elapsed_s = bar.tasks[0].elapsed or 0.0
                bar.update(task, description=what, completed=done, total=total, rate=f"{done / elapsed_s:,.0f}/s" if elapsed_s else "")

            return await run_audit(host, uid, work=work, progress=progress)

    ledger = run_with_host(prove)
    if as_json:
        sys.stdout.buffer.write(orjson.dumps(_plain(campaign, ledger), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
        sys.stdout.flush()
    else:
        Console().print(render(campaign, ledger))
    raise typer.Exit(VIOLATION if not ledger.balances else MOVING if ledger.moving else 0)


def _bar() -> Progress:
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description:10}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


def _plain(campaign: str, ledger: Ledger) -> dict[str, object]:
    state = "violated" if not ledger.balances else "moving" if ledger.moving else "balanced"
    return {"campaign": campaign, "state": state, **asdict(ledger)}


def render(campaign: str, ledger: Ledger) -> Group:
    """Draw a ledger: where the items are, what the topics hold, and what is wrong."""
    return Group(_items(ledger), _topics(ledger), *(Text(line) for line in _lines(campaign, ledger)))


def _items(ledger: Ledger) -> Table:
    table = Table("items", "count", "", title="by the ids that ingest registered", title_justify="left")
    table.columns[1].justify = "right"
    rows = [
        ("registered", ledger.registered, f"{ledger.revised} of them revised" if ledger.revised else ""),
        ("= merged", ledger.merged, f"{ledger.reviewed} of them reviewed"),
        ("+ open in review", ledger.in_review, ""),
        ("+ dead", ledger.dead, f"{ledger.purged} of them purged" if ledger.purged else ""),
        *((f"+ in flight: {place}", count, IN_FLIGHT[place]) for place, count in ledger.in_flight.items()),
        *((("+ LOST", ledger.lost, ""),) if ledger.lost else ()),
        *((("foreign", ledger.foreign, "never registered"),) if ledger.foreign else ()),
    ]
    for name, count, remark in rows:
        table.add_row(name, str(count), remark)
    return table


def _topics(ledger: Ledger) -> Table:
    table = Table("topic", "records", "items", "repeated", "replayed", "unreadable")
    for line in ledger.topics:
        table.add_row(line.kind, *(str(number) for number in (line.records, line.items, line.repeated, line.replayed, line.unreadable)))
    for column in table.columns[1:]:
        column.justify = "right"
    return table


def _lines(campaign: str, ledger: Ledger) -> list[str]:
    looked = f"{ledger.facts} records and rows in {ledger.seconds:.1f} s, held in at most {ledger.memory_bytes / 2**20:.0f} MiB at a time"
    if ledger.balances:
        state = f"{campaign}: the ledger balances" + (", and the campaign still moves" if ledger.moving else "")
        return [looked, state]
    wrong = [line for violation in ledger.violations for line in (_fault(violation.fault, violation.items), *_ids(violation.first))]
    return [looked, *wrong, f"{campaign}: THE LEDGER DOES NOT BALANCE"]


def _fault(fault: str, items: int) -> str:
    return f"VIOLATION {fault}, {items} items: {FAULTS[fault]}"


def _ids(first: tuple[str, ...]) -> list[str]:
    return [f"  {printable(item_id)}" for item_id in first]
