"""Tokens, sessions, guesses, and the command that hands tokens out."""

import asyncio
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from actlabel.cli.reviewer import add_to
from actlabel.core.errors import UserError
from actlabel.review_gateway.guesses import Guesses
from actlabel.review_gateway.refusals import TooMany
from actlabel.review_gateway.reviewers import SESSION_S, Reviewers, read_operator_token, sha256
from actlabel.runtime.clock import FakeClock
from actlabel.runtime.database.open import open_database
from tests.unit.review_gateway.records import Desk


async def test_only_hashes_of_tokens_and_sessions_are_kept(desk: Desk, clock: FakeClock) -> None:
    reviewers = Reviewers(database=desk.database, clock=clock)
    token = await reviewers.add("ann", is_lead=True)
    session = await reviewers.begin_session(token)
    rows = [*await desk.database.fetch("SELECT * FROM reviewer"), *await desk.database.fetch("SELECT * FROM review_session")]
    stored = b"".join(repr(tuple(row)).encode() for row in rows)
    assert len(rows) == 2
    assert token.encode() not in stored
    assert session.encode() not in stored
    caller = await reviewers.by_session(session)
    assert caller is not None
    assert (caller.name, caller.is_lead) == ("ann", True)


async def test_a_session_ends_by_itself(desk: Desk, clock: FakeClock) -> None:
    reviewers = Reviewers(database=desk.database, clock=clock)
    session = await reviewers.begin_session(await reviewers.add("ann", is_lead=False))
    clock.advance(SESSION_S - 1)
    assert await reviewers.by_session(session)
    clock.advance(2)
    assert await reviewers.by_session(session) is None


async def test_an_operator_token_that_was_changed_ends_the_sessions_of_the_old_one(desk: Desk, clock: FakeClock) -> None:
    before = Reviewers(database=desk.database, clock=clock, operator_token="one-operator-token-of-old")
    session = await before.begin_session("one-operator-token-of-old")
    assert await before.by_session(session)
    after = Reviewers(database=desk.database, clock=clock, operator_token="another-operator-token-now")
    assert await after.by_session(session) is None
    assert await Reviewers(database=desk.database, clock=clock).by_token("") is None


@pytest.mark.parametrize("name", ["operator", "", "Ann", "a b", "-x", "a" * 64, "x\n"])
async def test_names_that_cannot_be_used(desk: Desk, clock: FakeClock, name: str) -> None:
    with pytest.raises(UserError, match="cannot be a reviewer's name"):
        await Reviewers(database=desk.database, clock=clock).add(name, is_lead=False)


@pytest.mark.parametrize(("content", "words"), [(None, "cannot be read"), ("short", "shorter than 24"), (" \n", "shorter than 24")])
def test_an_unusable_token_file_is_one_clear_line(tmp_path: Path, content: str | None, words: str) -> None:
    file = tmp_path / "token"
    if content is not None:
        file.write_text(content)
    with pytest.raises(UserError, match=words) as caught:
        read_operator_token(file)
    assert "ACTLABEL_REVIEW_TOKEN_FILE" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_ten_wrong_tokens_close_the_door_for_a_minute_but_not_for_those_inside() -> None:
    clock = FakeClock()
    guesses = Guesses(clock)
    inside, fresh = sha256("inside"), sha256("fresh")
    guesses.right(inside)
    for number in range(10):
        guesses.check("1.2.3.4", fresh)
        guesses.wrong("1.2.3.4", sha256(str(number)))
    with pytest.raises(TooMany) as caught:
        guesses.check("1.2.3.4", fresh)
    assert caught.value.retry_after_s == 61
    guesses.check("1.2.3.4", inside)
    guesses.check("5.6.7.8", fresh)
    guesses.wrong("1.2.3.4", inside)  # it was withdrawn meanwhile
    with pytest.raises(TooMany):
        guesses.check("1.2.3.4", inside)
    clock.advance(61)
    guesses.check("1.2.3.4", fresh)


def test_the_command_prints_a_working_token_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    address = f"sqlite:///{tmp_path / 'actlabel.db'}"
    monkeypatch.setenv("ACTLABEL_DATABASE", address)
    app = typer.Typer()
    add_to(app)
    command = CliRunner()
    added = command.invoke(app, ["reviewer", "add", "ann", "--lead"])
    assert added.exit_code == 0
    token = added.stdout.strip()

    async def whose() -> str | None:
        database = await open_database(address)
        caller = await Reviewers(database=database, clock=FakeClock()).by_token(token)
        await database.close()
        return caller.name if caller is not None and caller.is_lead else None

    assert asyncio.run(whose()) == "ann"
    listed = command.invoke(app, ["reviewer", "list"]).stdout
    assert listed.startswith("ann\tlead\tsince ")
    assert token not in listed
    twice = command.invoke(app, ["reviewer", "add", "ann"])
    assert isinstance(twice.exception, UserError)
    assert "exists" in str(twice.exception)
    assert command.invoke(app, ["reviewer", "remove", "ann"]).exit_code == 0
    assert asyncio.run(whose()) is None
    gone = command.invoke(app, ["reviewer", "remove", "ann"])
    assert isinstance(gone.exception, UserError)
