"""What everything that talks to Kafka shares: how a client is made, limits, and errors translated once into what to do next."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final, TypeVar

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    KafkaError,
    TopicAuthorizationFailedError,
    TransactionalIdAuthorizationFailed,
)
from aiokafka.structs import TopicPartition

from actlabel.core.errors import RetryLater
from actlabel.stream.kafka_address import KafkaAddress
from actlabel.stream.kafka_connection import has_lost_connection
from actlabel.stream.kafka_knock import why_no_connection
from actlabel.stream.kafka_secrets import FreshClient
from actlabel.stream.port import MAX_RECORD_BYTES, Partition, Record

BATCH_BYTES: Final = 256 * 2**10  # of one produce per partition: the only lever on throughput
MESSAGE_BYTES: Final = MAX_RECORD_BYTES + 64 * 2**10  # what a topic takes: the largest record and its framing
REQUEST_TIMEOUT_MS: Final = 20_000
_ANSWER_TIMEOUT_S: Final = 30.0
_BACKOFF_S: Final = 0.2
_T = TypeVar("_T")

_REFUSED: Final = {
    TopicAuthorizationFailedError: "topics `actlabel.…` (Describe, Read, Write)",
    GroupAuthorizationFailedError: "groups `actlabel.…` (Describe, Read)",
    ClusterAuthorizationFailedError: "the cluster (IdempotentWrite)",
    TransactionalIdAuthorizationFailed: "transactional ids `actlabel.…`",
}


class Refused(RetryLater):
    """Kafka's access rules are in the way until a person changes them; asking again at once is of no use."""


def named(partition: Partition) -> Any:
    """Name a partition as aiokafka does."""
    return TopicPartition(partition.topic, partition.number)


def refusal(error: BaseException) -> Refused | None:
    """Say that Kafka's access rules are in the way, and which; None where it is something else."""
    needed = next((what for kind, what in _REFUSED.items() if isinstance(error, kind)), None)
    if needed is None:
        return None
    what = " ".join(str(error).split())
    return Refused(f"Kafka refuses this client's user ({what}); its access rules must allow {needed}")


def as_record(partition: Partition, record: Any) -> Record:
    """Turn aiokafka's record into ours; what is absent becomes empty."""
    headers = tuple([(name, value or b"") for name, value in record.headers])
    return Record(partition, record.offset, record.key or b"", record.value or b"", headers, record.timestamp)


@contextmanager
def translated_kafka_errors() -> Iterator[None]:
    """Raise ``Refused`` where Kafka's rules are in the way, another ``RetryLater`` where it is out of reach."""
    try:
        yield
    except (KafkaError, OSError, TimeoutError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not isinstance(error, KafkaError) and not has_lost_connection(error):
            raise
        raise refusal(error) or RetryLater(f"Kafka is out of reach ({type(error).__name__}: {error})") from error


class KafkaCluster:
    """Makes every client of one address, and knows what stands between us and it."""

    def __init__(self, address: KafkaAddress) -> None:
        """Connects to nothing yet."""
        self.address = address

    def consumer(self, **options: Any) -> Any:
        """Make an ``AIOKafkaConsumer``, not yet started, that reads committed records and commits nothing by itself."""
        made = AIOKafkaConsumer(
            isolation_level="read_committed", enable_auto_commit=False, request_timeout_ms=REQUEST_TIMEOUT_MS, **self._options(), **options
        )
        FreshClient.take_over(made._client, self.address)  # noqa: SLF001 - see there
        return made

    def producer(self, **options: Any) -> Any:
        """Make an ``AIOKafkaProducer``, not yet started."""
        made = AIOKafkaProducer(request_timeout_ms=REQUEST_TIMEOUT_MS, **self._options(), **options)
        FreshClient.take_over(made.client, self.address)
        return made

    def admin(self, **options: Any) -> Any:
        """Make an ``AIOKafkaAdminClient``, not yet started."""
        made = AIOKafkaAdminClient(request_timeout_ms=REQUEST_TIMEOUT_MS, **self._options(), **options)
        FreshClient.take_over(made._client, self.address)  # noqa: SLF001
        return made

    def _options(self) -> dict[str, Any]:
        """The secrets are placeholders: an empty password, and a TLS side that trusts nobody."""
        options: dict[str, Any] = {"bootstrap_servers": self.address.servers, "security_protocol": self.address.protocol}
        if self.address.tls:
            options["ssl_context"] = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        if self.address.sasl:
            options |= {"sasl_mechanism": self.address.mechanism, "sasl_plain_username": self.address.user, "sasl_plain_password": ""}
        return options

    async def why_no_connection(self, timeout_s: float = 5.0) -> str | None:
        """Connect and log in once; return one line that says why that does not work, None when it does."""
        return await why_no_connection(self.address, timeout_s=timeout_s)

    @asynccontextmanager
    async def explained(self) -> AsyncIterator[None]:
        """Translate errors as ``translated_kafka_errors``, with the reason, where one can be seen."""
        try:
            with translated_kafka_errors():
                yield
        except Refused:
            raise
        except RetryLater as error:
            raise RetryLater(await self.why_no_connection() or str(error)) from error

    async def answered(self, ask: Callable[[], Awaitable[_T]]) -> _T:
        """Ask until Kafka answers, through restarts and moving leaders; ``RetryLater`` means to ask again.

        Raises ``Refused`` at once, and another ``RetryLater`` when it takes too long: with the reason, where one can be seen.
        """
        deadline = asyncio.get_running_loop().time() + _ANSWER_TIMEOUT_S
        while True:
            try:
                with translated_kafka_errors():
                    async with asyncio.timeout_at(deadline):
                        return await ask()
            except Refused:
                raise
            except RetryLater as error:
                if asyncio.get_running_loop().time() + _BACKOFF_S > deadline:
                    raise RetryLater(await self.why_no_connection() or str(error)) from error
                await asyncio.sleep(_BACKOFF_S)
