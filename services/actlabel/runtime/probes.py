"""Signs of life over gRPC: the standard health service, answered from the checks of the process at the moment of the question.

``liveness`` and ``readiness`` are what their probes ask; ``startup`` serves as soon as anybody answers. The empty name and the names of
the services mean readiness. The reason is at ``/readyz`` and in the log: this protocol carries none.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from actlabel.runtime.health import Health

LIVENESS: Final = "liveness"
READINESS: Final = "readiness"
STARTUP: Final = "startup"
_LOOK_S: Final = 1.0
_Answer = health_pb2.HealthCheckResponse


class Probes(health_pb2_grpc.HealthServicer):
    """``grpc.health.v1.Health``."""

    def __init__(self, health: Health, services: Sequence[str]) -> None:
        """``services``: full names, of what this server offers."""
        self._health = health
        self._ready_names = {"", READINESS, *services}
        self._closing = False

    def close(self) -> None:
        """The server stops: nothing of it is ready from now on."""
        self._closing = True

    def _status(self, name: str) -> int | None:
        if name in self._ready_names:
            well = not self._closing and not self._health.ready()
        elif name == LIVENESS:
            well = not self._health.alive()
        elif name == STARTUP:
            well = True
        else:
            return None
        return _Answer.SERVING if well else _Answer.NOT_SERVING

    async def Check(self, request: Any, context: Any) -> Any:  # noqa: N802 - the protocol's name
        """Answer once; an unknown name is NOT_FOUND."""
        status = self._status(request.service)
        if status is None:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"there is no {request.service!r} here")
        return _Answer(status=status)

    async def Watch(self, request: Any, context: Any) -> AsyncIterator[Any]:  # noqa: ARG002, N802 - the protocol's
        """Answer at every change, as seen once a second."""
        before: int | None = -1
        while True:
            status = self._status(request.service)
            if status != before:
                before = status
                yield _Answer(status=_Answer.SERVICE_UNKNOWN if status is None else status)
            await asyncio.sleep(_LOOK_S)
