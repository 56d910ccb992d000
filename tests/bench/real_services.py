"""The Kafka and the PostgreSQL of the tests, for a benchmark."""

import contextlib
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.services.kafka_broker import KafkaBroker
from tests.services.postgres_server import PostgresServer


@dataclass(frozen=True, kw_only=True)
class RealServices:
    """Both, running."""

    kafka: KafkaBroker
    postgres: PostgresServer

    @property
    def stream(self) -> str:
        """For ``ACTLABEL_STREAM``."""
        return f"kafka://{self.kafka.address}"


@contextlib.contextmanager
def real_services() -> Iterator[RealServices]:
    """Run one broker and one server while the block runs."""
    with tempfile.TemporaryDirectory(prefix="actlabel-") as kafka, tempfile.TemporaryDirectory(prefix="actlabel-") as postgres:
        services = RealServices(kafka=KafkaBroker(Path(kafka)), postgres=PostgresServer(Path(postgres)))
        try:
            services.kafka.start()
            services.postgres.start()
            yield services
        finally:
            services.kafka.kill()
            services.postgres.stop()
