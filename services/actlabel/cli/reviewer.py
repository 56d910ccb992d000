"""`actlabel reviewer`: who may review, and their tokens."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Annotated, TypeVar

import typer

from actlabel.cli.running import run_with_database
from actlabel.review_gateway.reviewers import Reviewers

_T = TypeVar("_T")
Name = Annotated[str, typer.Argument(help="a-z, 0-9 and . _ @ -")]
Lead = Annotated[bool, typer.Option("--lead", help="may see and settle what others answered or skipped")]


def add_to(app: typer.Typer) -> None:
    """Join `actlabel reviewer add|list|remove` to the command line."""
    group = typer.Typer(no_args_is_help=True, help="Who may review, and their tokens.")
    group.command("add")(add)
    group.command("list")(show)
    group.command("remove")(remove)
    app.add_typer(group, name="reviewer")


def add(name: Name, lead: Lead = False) -> None:
    """Let somebody review; their token is printed once and stored nowhere."""
    typer.echo(_with_reviewers(lambda reviewers: reviewers.add(name, is_lead=lead)))
    typer.echo(f"{name} pastes this token into the review page. It is shown only now.", err=True)


def show() -> None:
    """List who may review."""
    for reviewer in _with_reviewers(lambda reviewers: reviewers.list()):
        since = datetime.fromtimestamp(reviewer.created_at, UTC).strftime("%Y-%m-%d")
        typer.echo(f"{reviewer.name}\t{reviewer.role}\tsince {since}")


def remove(name: Name) -> None:
    """End somebody's access at once; their answers stay."""
    _with_reviewers(lambda reviewers: reviewers.remove(name))


def _with_reviewers(work: Callable[[Reviewers], Awaitable[_T]]) -> _T:
    return run_with_database(lambda _, database, clock: work(Reviewers(database=database, clock=clock)))
