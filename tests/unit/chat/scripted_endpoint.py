"""A chat-completions endpoint with scripted behaviour, for a real HTTP server."""

from collections.abc import Awaitable, Callable
from typing import Any

import orjson
from aiohttp import web

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
