"""A chat-completions endpoint with scripted behaviour, for a real HTTP server."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import orjson
from aiohttp import web
from aiohttp.test_utils import TestServer

Behaviour = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Endpoint:
    """Answers each request with the next behaviour of its script, the last one for ever; keeps what it was sent."""

    def __init__(self) -> None:
        self.script: list[Behaviour] = []
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.url = ""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.bodies.append(orjson.loads(await request.read()))
        self.headers.append(dict(request.headers))
        behave = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        return await behave(request)


@asynccontextmanager
async def serving(*script: Behaviour) -> AsyncIterator[Endpoint]:
    """Serve an endpoint of its own while the block runs."""
    scripted = Endpoint()
    scripted.script = list(script)
    app = web.Application()
    app.router.add_post("/v1/chat/completions", scripted.handle)
    server = TestServer(app)
    await server.start_server()
    scripted.url = str(server.make_url("/v1"))
    yield scripted
    await server.close()


def completion(text: str = '{"label": "cat"}', **more: Any) -> Behaviour:
    """Answer as a chat-completions endpoint does."""
    message = {"role": "assistant", "content": text}
    document = {
        "choices": [{"message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 11, "completion_tokens": 3},
        **more,
    }
    return reply(orjson.dumps(document))


def reply(body: bytes, *, status: int = 200, content_type: str = "application/json", headers: dict[str, str] | None = None) -> Behaviour:
    """Answer with these bytes."""

    async def behave(_: web.Request) -> web.StreamResponse:
        return web.Response(body=body, status=status, content_type=content_type, headers=headers)

    return behave


def error(status: int, message: str = "no", *, code: str = "", param: str = "", headers: dict[str, str] | None = None) -> Behaviour:
    """Refuse as a chat-completions endpoint does."""
    return reply(orjson.dumps({"error": {"message": message, "code": code, "param": param}}), status=status, headers=headers)
