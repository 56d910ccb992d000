"""What aiokafka's connections lack on uvloop.

uvloop has no error of its own for a write to a connection that is gone: it raises ``RuntimeError``, which aiokafka does not expect there.
Its task that renews the metadata ended with it, so that what waited for metadata waited for ever; a process that stopped then ended with 1.
"""

from typing import Any

from aiokafka.conn import AIOKafkaConnection, CloseReason
from aiokafka.errors import KafkaConnectionError


def has_lost_connection(error: BaseException) -> bool:
    """Say whether aiokafka wrote to a connection that is gone."""
    return isinstance(error, RuntimeError) and "the handler is closed" in str(error)


class PlainSpokenConnection(AIOKafkaConnection):  # type: ignore[misc]  # aiokafka has no types
    """A connection that says in aiokafka's own words that it is gone."""

    @classmethod
    def take_over(cls, connection: Any) -> Any:
        """Let one that is open behave so. aiokafka makes its connections itself."""
        connection.__class__ = cls
        return connection

    def send(self, request: Any, expect_response: bool = True) -> Any:
        """Send; raises ``KafkaConnectionError`` where the connection is gone."""
        try:
            return super().send(request, expect_response)
        except RuntimeError as error:
            if not has_lost_connection(error):
                raise
            self.close(reason=CloseReason.CONNECTION_BROKEN)
            raise KafkaConnectionError(f"Connection at {self.host}:{self.port} broken: {error}") from error
