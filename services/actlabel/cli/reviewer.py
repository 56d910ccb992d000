"""`actlabel reviewer`: who may review, and their tokens."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Annotated

import typer

from actlabel.review_gateway.reviewers import Reviewer, Reviewers
from actlabel.runtime.clock import SystemClock
from actlabel.runtime.database.open import open_database
from actlabel.runtime.settings import load_settings

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
    typer.echo(asyncio.run(_add(name, is_lead=lead)))
    typer.echo(f"{name} pastes this token into the review page. It is shown only now.", err=True)


def show() -> None:
    """List who may review."""
    for reviewer in asyncio.run(_list()):
        since = datetime.fromtimestamp(reviewer.created_at, UTC).strftime("%Y-%m-%d")
        typer.echo(f"{reviewer.name}\t{reviewer.role}\tsince {since}")


def remove(name: Name) -> None:
    """End somebody's access at once; their answers stay."""
    asyncio.run(_remove(name))


async def _add(name: str, *, is_lead: bool) -> str:
    async with _reviewers() as reviewers:
        return await reviewers.add(name, is_lead=is_lead)


async def _list() -> list[Reviewer]:
    async with _reviewers() as reviewers:
        return list(await reviewers.list())


async def _remove(name: str) -> None:
    async with _reviewers() as reviewers:
        await reviewers.remove(name)


@asynccontextmanager
async def _reviewers() -> AsyncIterator[Reviewers]:
    settings = load_settings()
    database = await open_database(settings.database, connections=2, password_file=settings.database_password_file)
    try:
        yield Reviewers(database=database, clock=SystemClock())
    finally:
        await database.close()
