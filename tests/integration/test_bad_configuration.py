"""What a stage does that cannot start: it stays alive, is not ready, says why in one line, and begins when it has been repaired."""

import asyncio
import inspect
import os
import re
import shutil
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import aiohttp
import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from actlabel.cli.model_process import run_model_process
from actlabel.cli.serve import ROLES
from actlabel.cli.stage_process import run_stage_process
from actlabel.host.campaign_life import apply_campaign
from actlabel.host.host import open_host
from actlabel.runtime import readiness_log
from actlabel.runtime.campaign_file import parse_campaign
from actlabel.runtime.database.open import open_database
from actlabel.runtime.settings import Settings, load_settings
from tests.services.processes import free_port
from tests.services.secured_kafka import SecuredKafka
from tests.unit.model_server.shelved import Place as ModelPlace

_WAIT_S = 40.0
_FILE = """
name: birds
task: {question: "Which?", labels: [bird, plane]}
annotator: {endpoint: "http://127.0.0.1:1", model: m}
criticizer: {endpoint: "http://127.0.0.1:1", model: m}
sampler: {budget: 10}
spend_cap_usd: 1
partitions: 2
"""
MODEL = "model"
_RIGHTS = {"topics": ("Describe", "Read", "Write"), "groups": ("Describe", "Read")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a case happens."""

    folder: Path
    kafka: SecuredKafka
    database: str

    def settings(self, **changes: Any) -> dict[str, Any]:
        """Settings that work, but for ``changes``."""
        return {"stream": self.kafka.scram(), "database": self.database, "storage": str(self.folder / "storage"), **changes}

    def file(self, name: str, content: str | None = None) -> Path:
        """A file of the case."""
        if content is not None:
            (self.folder / name).write_text(content)
        return self.folder / name


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One mistake."""

    role: str
    settings: Callable[[Place], dict[str, Any]]
    says: str  # a pattern for the line
    repair: Callable[[Place], Any] | None = None  # None: nothing that a test can do
    before: Callable[[Place], Any] | None = None


class Probed:
    """A process of a stage, as a kubelet sees it."""

    def __init__(self, settings: Settings, task: "asyncio.Task[None]") -> None:
        self._settings = settings
        self._task = task

    async def get(self, path: str) -> tuple[int, str]:
        url = f"http://127.0.0.1:{self._settings.http_port}/{path}"
        async with aiohttp.ClientSession() as http, http.get(url) as response:
            return response.status, await response.text()

    async def grpc(self, service: str) -> int:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{self._settings.grpc_port}") as channel:
            request = health_pb2.HealthCheckRequest(service=service)
            return int((await health_pb2_grpc.HealthStub(channel).Check(request, wait_for_ready=True, timeout=10)).status)

    async def until(self, holds: Callable[[int, str], bool]) -> str:
        async with asyncio.timeout(_WAIT_S):
            while True:
                assert not self._task.done(), self._task
                status, text = await self._ready()
                if holds(status, text):
                    return text
                await asyncio.sleep(0.05)

    async def _ready(self) -> tuple[int, str]:
        try:
            return await self.get("readyz")
        except aiohttp.ClientError:
            return 0, ""


@asynccontextmanager
async def serving(role: str, settings: dict[str, Any]) -> AsyncIterator[Probed]:
    ports = {name: free_port() for name in ("http_port", "grpc_port", "review_port", "model_port")}
    chosen = load_settings(**settings, **ports, session_timeout_s=6.0)
    task = asyncio.create_task(run_model_process(chosen) if role == MODEL else run_stage_process(chosen, ROLES[role]))
    try:
        yield Probed(chosen, task)
        assert not task.done(), task
        os.kill(os.getpid(), signal.SIGTERM)
        async with asyncio.timeout(_WAIT_S):
            await task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def _database_behind(place: Place) -> dict[str, Any]:
    """A folder for PostgreSQL's socket that is not there yet."""
    real = parse_qs(urlsplit(place.database).query)["host"][0]
    return place.settings(database=place.database.replace(real, str(place.folder / "socket")))


def _mend_database(place: Place) -> None:
    (place.folder / "socket").symlink_to(parse_qs(urlsplit(place.database).query)["host"][0])


async def _register(place: Place) -> None:
    opened = await open_database(place.database)
    settings = load_settings(**place.settings())
    await ModelPlace(settings=settings, database=opened).register("stance")
    await opened.close()


async def _mend_database_with_a_model(place: Place) -> None:
    await _register(place)
    _mend_database(place)


def _own_password(place: Place, content: str | None) -> dict[str, Any]:
    place.file("password", content)
    return place.settings(stream=place.kafka.scram().replace(str(place.kafka.file("password")), str(place.folder / "password")))


def _mend_password(place: Place) -> None:
    shutil.copy(place.kafka.file("password"), place.folder / "password")


async def _apply_without_topics(place: Place) -> None:
    async with open_host(load_settings(**place.settings()), runs_stages=False) as host:
        await host.campaigns.apply(parse_campaign(_FILE, where="birds"))


async def _apply(place: Place) -> None:
    async with open_host(load_settings(**place.settings()), runs_stages=False) as host:
        await apply_campaign(host, parse_campaign(_FILE, where="birds"))


_CASES = {
    "no key file": Case(
        role="sampler",
        settings=lambda p: p.settings(secret_key_file=p.file("key")),
        says=r"start: ACTLABEL_SECRET_KEY_FILE: .*/key cannot be read \(No such file",
        repair=lambda p: p.file("key", "x" * 40),
    ),
    "no token file": Case(
        role="review-gateway",
        settings=lambda p: p.settings(review_token_file=p.file("token")),
        says=r"start: ACTLABEL_REVIEW_TOKEN_FILE: .*/token cannot be read",
        repair=lambda p: p.file("token", "t" * 40),
    ),
    "no password file": Case(
        role="annotator",
        settings=lambda p: _own_password(p, None),
        says=r"start: ACTLABEL_STREAM: a file of the Kafka address cannot be used: .*No such file.*/password",
        repair=_mend_password,
    ),
    "wrong password": Case(
        role="criticizer",
        settings=lambda p: _own_password(p, "wrong"),
        says=r"start: ACTLABEL_STREAM: Kafka at .* does not let operator in with SCRAM-SHA-512 .*/password holds",
        repair=_mend_password,
    ),
    "no database": Case(
        role="mirror", settings=_database_behind, says=r"start: PostgreSQL cannot be used \(.*No such file", repair=_mend_database
    ),
    "no group rights": Case(
        role="annotator",
        settings=lambda p: p.settings(stream=p.kafka.scram("stage")),
        says=r"annotator: Kafka refuses this client's user .*GroupAuthorizationFailed.* must allow groups",
        repair=lambda p: p.kafka.allow("stage", **_RIGHTS),
    ),
    "no topic": Case(
        role="criticizer",
        settings=lambda p: p.settings(),
        before=_apply_without_topics,
        says=r"topics: actlabel\.annotated\.\w+ does not exist, or .* may not see it .*`actlabel campaign apply` of birds makes it",
        repair=_apply,
    ),
    "no database for models": Case(
        role=MODEL,
        settings=_database_behind,
        says=r"start: PostgreSQL cannot be used \(.*No such file",
        repair=_mend_database_with_a_model,
    ),
    "no token file for models": Case(
        role=MODEL,
        settings=lambda p: p.settings(model_token_file=p.file("token")),
        before=_register,
        says=r"start: ACTLABEL_MODEL_TOKEN_FILE: .*/token cannot be read",
        repair=lambda p: p.file("token", "t" * 40),
    ),
    "no broker": Case(
        role="source",
        settings=lambda p: p.settings(stream=f"kafka://127.0.0.1:{free_port()}"),
        says=r"start: ACTLABEL_STREAM: no Kafka broker at",
    ),
}


class Log:
    """The lines about readiness."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._news = asyncio.Event()

    def warning(self, sentence: str, *, why: str) -> None:
        self.lines.append(f"{sentence} {why}")
        self._news.set()

    def info(self, sentence: str) -> None:
        self.lines.append(sentence)
        self._news.set()

    async def until(self, pattern: str) -> None:
        async with asyncio.timeout(_WAIT_S):
            while not any(re.search(pattern, line) for line in self.lines):
                self._news.clear()
                await self._news.wait()


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Log:
    made = Log()
    monkeypatch.setattr(readiness_log, "_log", made)
    return made


@pytest.mark.parametrize("case", _CASES.values(), ids=_CASES)
async def test_it_waits_unready_with_one_line_and_works_once_repaired(
    case: Case, tmp_path: Path, secured_kafka: SecuredKafka, postgres_address: str, log: Log
) -> None:
    place = Place(folder=tmp_path, kafka=secured_kafka, database=postgres_address)
    if case.before is not None:
        await case.before(place)
    try:
        async with serving(case.role, case.settings(place)) as process:
            said = await process.until(lambda status, text: bool(re.search(case.says, text)))
            assert "\n" not in said.strip()
            assert (await process.get("readyz"))[0] == 503
            assert await process.get("healthz") == (200, "ok")
            if case.role != MODEL:  # which speaks HTTP alone
                statuses = [await process.grpc(name) for name in ("readiness", "", "liveness", "startup")]
                assert statuses == [2, 2, 1, 1]  # NOT_SERVING, SERVING
            await log.until(case.says)
            if case.repair is not None:
                mended = case.repair(place)
                if inspect.isawaitable(mended):
                    await mended
                await process.until(lambda status, text: status == 200)
                assert case.role == MODEL or await process.grpc("readiness") == 1
                await log.until("^The process is ready")
            assert log.lines.count("The process is ready.") == (case.repair is not None)
    finally:
        await secured_kafka.forbid("stage", **_RIGHTS)
