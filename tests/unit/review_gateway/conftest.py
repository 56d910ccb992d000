"""A review desk on a SQLite database in memory, with a clock that the test turns."""

from collections.abc import AsyncIterator

import pytest

from actlabel.runtime.clock import FakeClock
from actlabel.runtime.database.open import open_database
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
