"""What the tests of the sampler stand on."""

from collections.abc import AsyncIterator

import pytest

from actlabel.runtime.database.open import open_database
from tests.unit.sampler.sampling import Sampling


@pytest.fixture
async def sampling() -> AsyncIterator[Sampling]:
    """A deployment on SQLite in memory."""
    database = await open_database("sqlite:///:memory:")
    yield Sampling(database)
    await database.close()
