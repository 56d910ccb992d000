"""The stream port: partitioned logs, consumer groups, idempotent produces.

Kafka's terms mean what they mean in Kafka. Everything here runs on one event loop; nothing is thread-safe.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

Headers = tuple[tuple[str, bytes], ...]
Handover = Callable[[], Awaitable[None]]
"""What an owner of partitions does after they were revoked and before another member can get them; see ``Stream.consumer``."""
Earlier = Callable[[str], str]
"""Topic → the group that read it before; see ``Stream.consumer``."""

MAX_RECORD_BYTES: Final = 8 * 2**20
"""The largest record that every backend takes: key, value and headers together."""


class Partition(NamedTuple):
    """One partition of one topic."""

    topic: str
    number: int


def only(topic: str) -> str:
    """Return the prefix that means this very topic: no name of a topic holds a ``$``."""
    return f"{topic}$"


def reads(prefix: str, topic: str) -> bool:
    """Say whether a topic is one of those that a prefix means."""
    return topic == prefix[:-1] if prefix.endswith("$") else topic.startswith(prefix)


@dataclass(frozen=True, slots=True)
class Record:
    """One record as read from a log."""

    partition: Partition
    offset: int
    key: bytes
    value: bytes
    headers: Headers
    timestamp_ms: int  # when the log took it, or the producer made it


class Rebalance(Protocol):
    """What a consumer tells its owner when its partitions change. Both are plain functions: state is ready before any record comes."""

    def assigned(self, partitions: Mapping[Partition, int], /) -> Mapping[Partition, int]:
        """Take partitions with their committed offsets (the log's start where there is none); return where to read each from.

        May be called again for a partition just revoked: the owner may adopt its old state and answer with a later offset.
        """

    def revoked(self, partitions: Collection[Partition], /) -> Mapping[Partition, int]:
        """Give partitions back; return the last offsets to commit for them. Work in progress may go on."""


class Producer(Protocol):
    """Appends records. Order per partition is the order of ``send`` calls."""

    def send(self, topic: str, *, key: bytes, value: bytes, headers: Headers = ()) -> Awaitable[None]:
        """Hand a record over now; the returned future is done when the log has it safely (acks=all).

        The partition follows from the key (murmur2 as in Kafka's clients, on every backend). The future raises ``RetryLater``
        when the log is out of reach for longer than the timeout, ``Fatal`` when the producer cannot go on, and ``DeadLetter`` when the
        record can never be taken: ``'too-large'`` (above ``MAX_RECORD_BYTES``) or ``'unknown-topic'`` (never made, or deleted).
        """

    async def flush(self) -> None:
        """Wait until everything handed over so far is acknowledged."""


class Consumer(Protocol):
    """One member of a consumer group that reads every topic whose name begins with a prefix, those made later included."""

    def assignment(self) -> frozenset[Partition]:
        """Say which partitions are this member's now."""

    async def poll(self, wanted: Collection[Partition], *, max_records: int, timeout_s: float) -> Sequence[Record]:
        """Return up to ``max_records`` from the ``wanted`` partitions, waiting up to ``timeout_s`` for the first.

        Returns early, with nothing, when the assignment changes; no record comes before ``assigned`` was told of its partition.
        Raises ``Fatal`` when this member can never read again. Must be called at least every few seconds, with nothing wanted too (then it
        only waits): that is the sign of life to the group.
        Records of partitions that are not wanted stay where they are. Partitions take turns.
        """

    def leave_out(self, topics: Collection[str]) -> None:
        """Read these topics no longer although they begin with the prefix; others that were left out before are read again.

        They are given back as in any rebalance. Where all members are in one process nothing is ever left out, and this does nothing.
        """

    async def ends(self) -> Mapping[Partition, int]:
        """Say, per partition of this member, the offset that the next record will get. Raises ``RetryLater``."""

    async def commit(self, offsets: Mapping[Partition, int]) -> bool:
        """Store the next offset to read, per partition; a partition no longer owned is left out silently. Raises ``RetryLater``.

        Returns whether the group took them: False where it counts this member as gone, which the member itself may learn only later.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicSettings:
    """How a topic is made."""

    partitions: int
    compacted: bool = False  # keep at least the last record of each key; nothing is ever removed by age


class Stream(Protocol):
    """A set of topics, and the way to read and write them."""

    async def create_topics(self, topics: Mapping[str, TopicSettings]) -> None:
        """Make the topics that do not exist yet; one that exists with another partition count raises ``UserError``."""

    async def delete_topics(self, names: Collection[str]) -> None:
        """Remove topics with their records and committed offsets; unknown names are ignored."""

    async def topics(self, prefix: str) -> Mapping[str, int]:
        """Name the topics that begin with ``prefix``, with their partition counts."""

    async def end_offsets(self, topic: str) -> Mapping[Partition, int]:
        """Say, per partition, the offset that the next record will get; nothing for a topic that does not exist."""

    async def committed(self, group: str, topic: str) -> Mapping[Partition, int | None]:
        """Say, per partition, what a group has committed; nothing for a topic that does not exist."""

    async def commit_start(self, group: str, topic: str) -> None:
        """Commit offset 0 where a group has committed nothing, so that its lag is visible before its first member starts."""

    def scan(self, partition: Partition, *, start: int, end: int) -> AsyncIterator[Sequence[Record]]:
        """Read offsets ``start <= offset < end`` outside any group, in batches. Ends at ``end`` even where its last offsets hold no record
        (compaction and transaction markers leave holes)."""

    def producer(self) -> Producer:
        """The one producer of this process."""

    async def consumer(
        self,
        group: str,
        *,
        topic_prefix: str,
        rebalance: Rebalance,
        handover: Handover | None = None,
        earlier: Earlier | None = None,
    ) -> Consumer:
        """Join a group that reads the topics that begin with ``topic_prefix``, or the one that ``only`` names.

        The consumer leaves it in ``close_consumer`` or when the stream closes.

        ``handover`` is awaited after ``rebalance.revoked`` and when the consumer leaves, before another member gets the partitions; the
        group waits for it for at most two seconds, whatever it raises. It may be called for partitions that then come back.
        ``earlier``: where this group has committed nothing of a topic, it goes on where that group stands. It counts where topics can be
        left out, that is where processes share a group.
        """

    async def close_consumer(self, consumer: Consumer) -> None:
        """Leave the group, so that others take over at once. Commits nothing."""

    async def close(self) -> None:
        """Flush, leave every group, release the backend."""
