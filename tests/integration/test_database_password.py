"""A PostgreSQL that wants a password, which lies in a file and is changed while we work."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest

from actlabel.core.errors import RetryLater, UserError
from actlabel.runtime.database.open import open_database
from tests.services.postgres_server import PostgresServer


class Locked:
    """A database that lets its user ``name`` in with a password only."""

    def __init__(self, address: str, name: str, owner: asyncpg.Connection, folder: Path) -> None:
        parts = urlsplit(address)
        self.address = parts._replace(netloc=f"{name}@{parts.netloc.rpartition('@')[2]}").geturl()
        self.name = name
        self.file = folder / "password"
        self._owner = owner

    async def change(self, password: str) -> None:
        """Change it on the server, and break every connection that was made with the old one."""
        await self._owner.execute(f"ALTER ROLE {self.name} PASSWORD '{password}'")
        await self._owner.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1", self.name)

    def write(self, password: str) -> None:
        """Change the file, as a mounted secret changes."""
        self.file.write_text(password + "\n")


@pytest.fixture
async def locked(postgres_server: PostgresServer, postgres_address: str, tmp_path: Path) -> AsyncIterator[Locked]:
    name = f"locked_{urlsplit(postgres_address).path.strip('/')}"
    rules = postgres_server.file("pg_hba.conf")
    rules.write_text(f"local all {name} scram-sha-256\n" + rules.read_text())
    owner = await asyncpg.connect(postgres_address)
    await owner.execute("SELECT pg_reload_conf()")
    await owner.execute(f"CREATE ROLE {name} LOGIN")
    await owner.execute(f"GRANT ALL ON SCHEMA public TO {name}")
    yield Locked(postgres_address, name, owner, tmp_path)
    await owner.execute(f"DROP OWNED BY {name}")
    await owner.execute(f"DROP ROLE {name}")
    await owner.close()


async def test_a_changed_password_counts_from_the_next_connect_on(locked: Locked):
    await locked.change("one")
    locked.write("one")
    database = await open_database(locked.address, connections=2, password_file=locked.file)
    try:
        await locked.change("two")
        with pytest.raises(RetryLater, match="PostgreSQL is out of reach"):  # noqa: PT012 - the connection that breaks, then the new one
            await database.fetch("SELECT 1")
            await database.fetch("SELECT 1")
        with pytest.raises(RetryLater, match="InvalidPassword"):
            await database.fetch("SELECT 1")
        with pytest.raises(RetryLater, match="InvalidPassword"):
            async with database.try_lock("x"):
                pass
        locked.write("two")
        (row,) = await database.fetch("SELECT current_user")
        assert row[0] == locked.name
        async with database.try_lock("x") as held:
            assert held
    finally:
        await database.close()


async def test_a_missing_file_is_named(locked: Locked):
    with pytest.raises(UserError, match=r"PostgreSQL cannot be used .*No such file.*password"):
        await open_database(locked.address, password_file=locked.file)


async def test_a_wrong_password_is_one_line(locked: Locked):
    await locked.change("one")
    locked.write("öther")
    with pytest.raises(UserError, match=r"PostgreSQL cannot be used .*password authentication failed") as said:
        await open_database(locked.address, password_file=locked.file)
    assert "öther" not in str(said.value)


@pytest.mark.parametrize("words", [("model", "list"), ("reviewer", "list")], ids=" ".join)
async def test_commands_that_need_the_database_alone_read_the_file_too(locked: Locked, tmp_path: Path, words: tuple[str, ...]):
    await locked.change("one")
    locked.write("one")
    places = {"ACTLABEL_DATABASE": locked.address, "ACTLABEL_DATABASE_PASSWORD_FILE": str(locked.file)}
    command = [sys.executable, "-m", "actlabel", *words]
    done = await asyncio.to_thread(subprocess.run, command, cwd=tmp_path, env={**os.environ, **places}, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
