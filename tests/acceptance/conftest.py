"""What the acceptance tests stand on."""

import os
from pathlib import Path

import pytest

from actlabel.runtime.settings import Settings
from actlabel.stream.kafka_address import parse_kafka_address
from actlabel.stream.kafka_client import KafkaCluster
from actlabel.stream.kafka_topics import KafkaTopics
from tests.acceptance.pipeline import make_settings


@pytest.fixture
async def kafka_settings(tmp_path: Path, kafka_address: str, postgres_address: str) -> Settings:
    """Kafka and PostgreSQL, both the test's own as far as it can see.

    What earlier tests left on the shared Kafka is removed: every process of a stage would join for it and count its lag.
    """
    address = f"kafka://{kafka_address}"
    await _remove_topics(address)
    return make_settings(tmp_path, stream=address, database=postgres_address)


async def _remove_topics(address: str) -> None:
    topics = KafkaTopics(KafkaCluster(parse_kafka_address(address, where="kafka_address")))
    await topics.start()
    try:
        await topics.delete([name for name in await topics.partitions() if name.startswith("actlabel.")])
    finally:
        await topics.close()


@pytest.fixture
def stance_file() -> Path:
    """The recorded stance answers that lie beside the checkout; ``ACTLABEL_SHARED_DATA`` names another folder."""
    folder = Path(os.environ.get("ACTLABEL_SHARED_DATA", Path(__file__).parents[3] / "shared/data"))
    file = folder / "stance.jsonl"
    if not file.is_file():
        pytest.fail(f"{file}: the recorded answers are not there; set ACTLABEL_SHARED_DATA to their folder")
    return file
