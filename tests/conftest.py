"""Real services for the tests: started once per run, on free ports and in temporary folders, and stopped at its end.

What cannot start fails the run with one line that says what to install; nothing is skipped. A test that uses a service is marked by it,
so that ``-m "not kafka and not postgres and not browser and not prometheus and not ray and not kubectl"`` is the subset that needs nothing.
"""

import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from actlabel.runtime.database.open import open_database
from actlabel.runtime.database.port import Database
from actlabel.runtime.settings import Settings
from actlabel.stream.open import open_stream
from actlabel.stream.port import Stream
from tests.services import browser, processes
from tests.services.dashboard_queries import ALERTS
from tests.services.kafka_broker import KafkaBroker
from tests.services.postgres_server import PostgresServer
from tests.services.prometheus_server import PrometheusServer, program
from tests.services.secured_kafka import SecuredKafka

_T = TypeVar("_T")
_Broker = TypeVar("_Broker", bound=KafkaBroker)
_SERVICE_FIXTURES = {
    "kafka": {"kafka_address", "killable_kafka", "secured_kafka", "killable_secured_kafka"},
    "postgres": {"postgres_server", "postgres_address", "killable_postgres"},
    "browser": {"chromium_path"},
    "prometheus": {"prometheus", "promtool"},
}


@pytest.hookimpl(tryfirst=True)  # before -m chooses
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test by the services that its fixtures start."""
    for item in items:
        used = set(getattr(item, "fixturenames", ()))
        for mark, fixtures in _SERVICE_FIXTURES.items():
            if used & fixtures:
                item.add_marker(mark)


def _or_end_the_run(request: pytest.FixtureRequest, begin: Callable[[], _T]) -> _T:
    try:
        return begin()
    except processes.CannotStartError as error:
        why = str(error)
    request.session.shouldfail = why  # no test after this one
    pytest.fail(why, pytrace=False)


@pytest.fixture(scope="session")
def kafka_address(request: pytest.FixtureRequest) -> Iterator[str]:
    """``host:port`` of the run's Kafka. Tests share it: name topics and groups by a campaign uid of your own."""
    for broker in _running_kafka(request):
        yield broker.address


@pytest.fixture
def killable_kafka(request: pytest.FixtureRequest) -> Iterator[KafkaBroker]:
    """A Kafka of the test's own, running, that it may kill and start again."""
    yield from _running_kafka(request)


@pytest.fixture(scope="session")
def secured_kafka(request: pytest.FixtureRequest) -> Iterator[SecuredKafka]:
    """The run's Kafka with TLS, logins, client certificates and access rules."""
    yield from _running_kafka(request, SecuredKafka)


@pytest.fixture
def killable_secured_kafka(request: pytest.FixtureRequest) -> Iterator[SecuredKafka]:
    """Another of the test's own, that it may kill and start again."""
    yield from _running_kafka(request, SecuredKafka)


def _running_kafka(request: pytest.FixtureRequest, kind: Callable[[Path], _Broker] = KafkaBroker) -> Iterator[_Broker]:
    with tempfile.TemporaryDirectory(prefix="actlabel-") as folder:
        broker = kind(Path(folder))
        _or_end_the_run(request, broker.start)
        yield broker
        broker.kill()


@pytest.fixture(scope="session")
def postgres_server(request: pytest.FixtureRequest) -> Iterator[PostgresServer]:
    """The run's PostgreSQL."""
    yield from _running_postgres(request)


@pytest.fixture
def killable_postgres(request: pytest.FixtureRequest) -> Iterator[PostgresServer]:
    """A PostgreSQL of the test's own, running, that it may kill and start again."""
    yield from _running_postgres(request)


def _running_postgres(request: pytest.FixtureRequest) -> Iterator[PostgresServer]:
    with tempfile.TemporaryDirectory(prefix="actlabel-") as folder:
        server = PostgresServer(Path(folder))
        _or_end_the_run(request, server.start)
        yield server
        server.stop()


@pytest.fixture
def postgres_address(postgres_server: PostgresServer) -> Iterator[str]:
    """The ``postgresql://`` address of an empty database."""
    address = postgres_server.create_database()
    yield address
    postgres_server.drop_database(address)


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def database_address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """What ``ACTLABEL_DATABASE`` may be, each in turn: an empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'actlabel.db'}"
    return str(request.getfixturevalue("postgres_address"))


@pytest.fixture
async def database(database_address: str) -> AsyncIterator[Database]:
    """An open database with actlabel's tables, on SQLite and on PostgreSQL."""
    opened = await open_database(database_address)
    yield opened
    await opened.close()


@pytest.fixture(params=["sqlite", pytest.param("kafka", marks=pytest.mark.kafka)])
def stream_address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """What ``ACTLABEL_STREAM`` may be, each in turn. The Kafka is shared by the run."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'stream.db'}"
    return f"kafka://{request.getfixturevalue('kafka_address')}"


@pytest.fixture
async def stream(stream_address: str) -> AsyncIterator[Stream]:
    """An open stream that may run stages, on SQLite and on Kafka."""
    opened = await open_stream(Settings(stream=stream_address, session_timeout_s=6.0), runs_stages=True)
    yield opened
    await opened.close()


@pytest.fixture
def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on."""
    return processes.free_port()


@pytest.fixture(scope="session")
def chromium_path(request: pytest.FixtureRequest) -> str:
    """The machine's Chromium, for Playwright's ``executable_path``."""
    return _or_end_the_run(request, browser.chromium)


@pytest.fixture
def prometheus(request: pytest.FixtureRequest) -> Iterator[PrometheusServer]:
    """A Prometheus of the test's own with our rules; it scrapes what the test names."""
    with tempfile.TemporaryDirectory(prefix="actlabel-") as folder:
        server = PrometheusServer(Path(folder), rules=ALERTS)
        _or_end_the_run(request, server.start)
        yield server
        server.stop()


@pytest.fixture(scope="session")
def promtool(request: pytest.FixtureRequest) -> str:
    """Prometheus' checker of rules."""
    return _or_end_the_run(request, lambda: program("promtool"))
