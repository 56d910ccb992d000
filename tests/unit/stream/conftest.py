"""Beds for the tests of the stage: with the machine's time, and with a time that only the test turns."""

from collections.abc import AsyncIterator

import pytest

from actlabel.runtime.clock import FakeClock, SystemClock
from actlabel.runtime.database.open import schema
from actlabel.runtime.database.sqlite import SqliteDatabase
from tests.unit.stream.bed import Bed


@pytest.fixture
async def memory_database() -> AsyncIterator[SqliteDatabase]:
    database = SqliteDatabase(":memory:")
    await database.open(schema())
    yield database
    await database.close()


@pytest.fixture
def bed(memory_database: SqliteDatabase) -> Bed:
    return Bed(memory_database, SystemClock())


@pytest.fixture
def still_bed(memory_database: SqliteDatabase) -> Bed:
    """Time stands until ``fake_clock(bed).advance``."""
    return Bed(memory_database, FakeClock())
