"""gRPC servers: health and reflection on each, one table from our errors to status codes."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TypeVar

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from actlabel.core.errors import ActlabelError, CampaignPaused, DeadLetter, RetryLater, UserError

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
async def serve_rpc(*, host: str, port: int, services: Sequence[str], register: Callable[[grpc.aio.Server], None]) -> AsyncIterator[int]:
    """Serve gRPC while the block runs and yield the port. ``services``: full names, for reflection and health.

    Health answers for the empty name and for each service; it turns NOT_SERVING before the server stops.
    """
    server = grpc.aio.server()
    register(server)
    status = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(status, server)
    reflection.enable_server_reflection([*services, health.SERVICE_NAME, reflection.SERVICE_NAME], server)
    bound = server.add_insecure_port(f"{host}:{port}")
    await server.start()
    for name in ("", *services):
        await status.set(name, health_pb2.HealthCheckResponse.SERVING)
    try:
        yield bound
    finally:
        await status.enter_graceful_shutdown()
        await server.stop(grace=5)
