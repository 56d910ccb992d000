"""A review desk on a SQLite database in memory with a clock that the test turns, and a running gateway with its callers."""

from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from actlabel.runtime.clock import FakeClock
from actlabel.runtime.database.open import open_database
from actlabel.stream.memory import MemoryStream
from tests.unit.review_gateway.client import Client
from tests.unit.review_gateway.gateway import OPERATOR_TOKEN, Gateway, running_gateway
from tests.unit.review_gateway.records import Desk, open_desk


@pytest.fixture
def clock() -> FakeClock:
    """A clock that moves only when told to."""
    return FakeClock()


@pytest.fixture
async def desk(clock: FakeClock) -> AsyncIterator[Desk]:
    """The queue with an empty campaign."""
    database = await open_database("sqlite:///:memory:")
    yield await open_desk(database, clock)
    await database.close()


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[Gateway]:
    database = await open_database("sqlite:///:memory:")
    async with running_gateway(database=database, stream=MemoryStream(), folder=tmp_path) as running:
        yield running
    await database.close()


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as session:
        yield session


@pytest.fixture
async def people(gateway: Gateway, http: aiohttp.ClientSession) -> dict[str, Client]:
    tokens = {
        "ann": await gateway.reviewer("ann"),
        "bob": await gateway.reviewer("bob"),
        "lea": await gateway.reviewer("lea", is_lead=True),
    }
    tokens |= {"operator": OPERATOR_TOKEN, "nobody": None, "stranger": "wrong-token-wrong-token-wrong-token"}
    return {name: Client(gateway, http, token) for name, token in tokens.items()}
