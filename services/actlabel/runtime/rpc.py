"""gRPC servers: health and reflection on each, one table from our errors to status codes."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TypeVar

import grpc
from grpc_health.v1 import health, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from actlabel.core.errors import ActlabelError, CampaignPaused, DeadLetter, RetryLater, UserError
from actlabel.runtime.health import Health
from actlabel.runtime.probes import Probes

_STATUS: dict[type[ActlabelError], grpc.StatusCode] = {
    UserError: grpc.StatusCode.INVALID_ARGUMENT,
    DeadLetter: grpc.StatusCode.FAILED_PRECONDITION,
    CampaignPaused: grpc.StatusCode.RESOURCE_EXHAUSTED,
    RetryLater: grpc.StatusCode.UNAVAILABLE,
}
_T = TypeVar("_T")


async def answer(context: "grpc.aio.ServicerContext[object, object]", work: Awaitable[_T], *, about: str = "") -> _T:
    """Await ``work``; an error of ours ends the call with its status and its one line, which begins with ``about``."""
    try:
        return await work
    except ActlabelError as error:
        await context.abort(_STATUS.get(type(error), grpc.StatusCode.INTERNAL), f"{about}{error}")
        raise


@asynccontextmanager
async def serve_rpc(
    *,
    host: str,
    port: int,
    health_checks: Health,
    services: Sequence[str] = (),
    register: Callable[[grpc.aio.Server], None] = lambda _: None,
) -> AsyncIterator[int]:
    """Serve gRPC while the block runs and yield the port. ``services``: full names, for reflection and health; none: only these two.

    Health answers as ``Probes`` says; it turns NOT_SERVING before the server stops. Raises ``UserError`` where the port is taken.
    """
    server = grpc.aio.server()
    register(server)
    probes = Probes(health_checks, services)
    health_pb2_grpc.add_HealthServicer_to_server(probes, server)
    reflection.enable_server_reflection([*services, health.SERVICE_NAME, reflection.SERVICE_NAME], server)
    try:
        bound = server.add_insecure_port(f"{host}:{port}")
    except RuntimeError as error:
        raise UserError(f"ACTLABEL_GRPC_PORT: {port} cannot be listened on; choose another") from error
    await server.start()
    try:
        yield bound
    finally:
        probes.close()
        await server.stop(grace=5)
