"""What the acceptance tests stand on."""

import os
from pathlib import Path

import pytest

from actlabel.runtime.settings import Settings
from tests.acceptance.pipeline import make_settings


@pytest.fixture
def kafka_settings(tmp_path: Path, kafka_address: str, postgres_address: str) -> Settings:
    """Kafka and PostgreSQL, both the test's own as far as it can see."""
    return make_settings(tmp_path, stream=f"kafka://{kafka_address}", database=postgres_address)


@pytest.fixture
def stance_file() -> Path:
    """The recorded stance answers that lie beside the checkout; ``ACTLABEL_SHARED_DATA`` names another folder."""
    folder = Path(os.environ.get("ACTLABEL_SHARED_DATA", Path(__file__).parents[3] / "shared/data"))
    file = folder / "stance.jsonl"
    if not file.is_file():
        pytest.fail(f"{file}: the recorded answers are not there; set ACTLABEL_SHARED_DATA to their folder")
    return file
