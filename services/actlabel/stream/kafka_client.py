"""What everything that talks to Kafka shares: names, limits, and errors translated once into what to do next."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, TypeVar

from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    KafkaError,
    TopicAuthorizationFailedError,
    TransactionalIdAuthorizationFailed,
)
from aiokafka.structs import TopicPartition

from actlabel.core.errors import Fatal, RetryLater
from actlabel.stream.port import MAX_RECORD_BYTES, Partition

BATCH_BYTES: Final = 256 * 2**10  # of one produce per partition: the only lever on throughput
MESSAGE_BYTES: Final = MAX_RECORD_BYTES + 64 * 2**10  # what a topic takes: the largest record and its framing
REQUEST_TIMEOUT_MS: Final = 20_000
_ANSWER_TIMEOUT_S: Final = 30.0
_BACKOFF_S: Final = 0.2
_T = TypeVar("_T")

_REFUSED: Final = (
    TopicAuthorizationFailedError,
    GroupAuthorizationFailedError,
    ClusterAuthorizationFailedError,
    TransactionalIdAuthorizationFailed,
)


def named(partition: Partition) -> Any:
    """Name a partition as aiokafka does."""
    return TopicPartition(partition.topic, partition.number)


def refused(error: BaseException) -> bool:
    """Say whether Kafka's access rules are in the way, which no retry changes."""
    return isinstance(error, _REFUSED)


@contextmanager
def translated_kafka_errors() -> Iterator[None]:
    """Raise ``Fatal`` where Kafka refuses this client, ``RetryLater`` where it is out of reach."""
    try:
        yield
    except (KafkaError, OSError, TimeoutError) as error:
        if refused(error):
            raise Fatal(
                f"Kafka refuses this client ({error!r}): its user needs access to topics and groups that begin with `actlabel.`"
            ) from error
        raise RetryLater(f"Kafka is out of reach ({type(error).__name__}: {error})") from error


async def answered(ask: Callable[[], Awaitable[_T]]) -> _T:
    """Ask until Kafka answers, through restarts and moving leaders; ``RetryLater`` means to ask again.

    Raises ``RetryLater`` when that takes too long and ``Fatal`` when Kafka refuses.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + _ANSWER_TIMEOUT_S
    while True:
        try:
            with translated_kafka_errors():
                return await asyncio.wait_for(ask(), deadline - loop.time())
        except RetryLater:
            if loop.time() + _BACKOFF_S > deadline:
                raise
            await asyncio.sleep(_BACKOFF_S)
