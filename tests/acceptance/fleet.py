"""Stages as processes of their own, started, killed and started again as a cluster would."""

import asyncio
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from actlabel.runtime.settings import Settings
from tests.services.processes import free_port, start

STEP_S = 0.1
CALLER = "TEST_CALLER"
"""The environment variable with the name of a process; a campaign with ``api_key_env: TEST_CALLER`` tells the stand-in who asks."""


async def eventually(holds: Callable[[], Awaitable[bool]], *, what: str, within_s: float = 120.0) -> None:
    """Wait until ``holds``; a run that hangs fails with a word about what it waited for."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + within_s
    while not await holds():
        if loop.time() > deadline:
            raise AssertionError(f"not within {within_s:.0f} s: {what}")
        await asyncio.sleep(STEP_S)


@dataclass
class Member:
    """One process of one role."""

    role: str
    environment: dict[str, str]
    log: Path
    http_port: int
    review_port: int
    process: "subprocess.Popen[bytes]"
    killed: bool = False  # by the test
    frozen: bool = False  # SIGSTOP

    @property
    def name(self) -> str:
        """Return what the test calls it: role and number."""
        return self.log.stem

    @property
    def alive(self) -> bool:
        """Say whether the process runs."""
        return self.process.poll() is None

    async def ready(self) -> None:
        """Wait until ``/readyz`` says so; a process that ends first fails with its last lines."""
        await eventually(self._is_ready, what=f"{self.role} ready", within_s=60.0)

    async def _is_ready(self) -> bool:
        if not self.alive:
            raise AssertionError(f"{self.role} ended with {self.process.returncode}:\n{self.log.read_text()[-2000:]}")
        try:
            async with aiohttp.ClientSession() as http, http.get(f"http://127.0.0.1:{self.http_port}/readyz") as response:
                return response.status == 200
        except aiohttp.ClientError:
            return False

    def signs_of_life(self) -> str:
        """Say what the process says of itself: health, readiness, and every number that is not zero."""
        if not self.alive:
            return f"ended with {self.process.returncode}"
        said = []
        for path in ("healthz", "readyz", "metrics"):
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.http_port}/{path}", timeout=5) as answer:
                    said += [line.decode().strip() for line in answer]
            except OSError as error:
                said.append(f"{path}: {error}")
        wanted = ("_total", "_records{", "_seconds{", "ok", "healthz", "readyz")
        return "\n".join(line for line in said if not line.endswith(" 0.0") and not line.startswith("#") and any(w in line for w in wanted))

    def kill(self) -> None:
        """SIGKILL, and wait for the end."""
        self.killed = True
        self.process.kill()
        self.process.wait()

    def freeze(self) -> None:
        """SIGSTOP: it is there and does nothing, for the group, the database and the endpoint alike."""
        self.frozen = True
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        self.frozen = False
        self.process.send_signal(signal.SIGCONT)

    def terminate(self, timeout_s: float = 60.0) -> int:
        """SIGTERM, and wait for the end; returns the exit code."""
        self.killed = True
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout_s)


@dataclass
class Fleet:
    """The processes of one system; ``settings`` says where stream and database are."""

    folder: Path
    settings: Settings
    tuning: dict[str, str] = field(default_factory=dict)
    members: list[Member] = field(default_factory=list)
    launch: Callable[..., "subprocess.Popen[bytes]"] = start

    def start(self, role: str, **changes: str) -> Member:
        """Start one more process of a role; it is not ready yet. ``changes``: of its environment."""
        http_port, review_port = free_port(), free_port()
        name = f"{role}-{len(self.members)}"
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("ACTLABEL_")},
            "ACTLABEL_STREAM": self.settings.stream,
            "ACTLABEL_DATABASE": _named(self.settings.database, name),
            "ACTLABEL_STORAGE": self.settings.storage,
            "ACTLABEL_HTTP_PORT": str(http_port),
            "ACTLABEL_REVIEW_PORT": str(review_port),
            **({"ACTLABEL_REVIEW_TOKEN_FILE": str(self.settings.review_token_file)} if self.settings.review_token_file else {}),
            **({"ACTLABEL_SECRET_KEY_FILE": str(self.settings.secret_key_file)} if self.settings.secret_key_file else {}),
            "ACTLABEL_SESSION_TIMEOUT_S": "6",
            CALLER: name,
            **self.tuning,
            **changes,
        }
        log = self.folder / f"{name}.log"
        process = self.launch([sys.executable, "-m", "actlabel", "serve", role], log=log, environment=environment)
        member = Member(role=role, environment=environment, log=log, http_port=http_port, review_port=review_port, process=process)
        self.members.append(member)
        return member

    async def start_all(self, *roles: str) -> list[Member]:
        """Start one process of each role and wait until all are ready."""
        started = [self.start(role) for role in roles]
        await asyncio.gather(*(member.ready() for member in started))
        return started

    def check(self) -> None:
        """Fail when a process has ended that nobody killed."""
        for member in self.members:
            assert member.alive or member.killed, f"{member.role} ended with {member.process.returncode}"

    def gateway(self) -> str:
        """Address of the review gateway that was started last and is alive; of nobody where none is."""
        alive = [member for member in self.members if member.role == "review-gateway" and member.alive]
        return f"http://127.0.0.1:{alive[-1].review_port if alive else 9}"

    def close(self) -> None:
        """Kill what still runs."""
        for member in self.members:
            if member.alive:
                member.kill()

    def logs(self) -> str:
        """Join the last lines of every process that the test did not end, and its own numbers, for a failing test."""
        left = [member for member in self.members if not member.killed]
        return "\n".join(f"--- {m.log.name}\n{m.log.read_text(errors='replace')[-1500:]}\n{m.signs_of_life()}" for m in left)


def _named(database: str, name: str) -> str:
    """Let a PostgreSQL server know who is connected."""
    if not database.startswith("postgresql://"):
        return database
    return f"{database}{'&' if '?' in database else '?'}application_name={name}"
