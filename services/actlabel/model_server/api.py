"""``POST /v1/chat/completions`` and ``GET /v1/models``: requests are hostile input, every refusal is one line of JSON."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from itertools import count
from typing import Final

import orjson
from aiohttp import web

from actlabel.classifiers.content import Content
from actlabel.completions import completion
from actlabel.completions.protocol import Question, Refused, read_question
from actlabel.model_server.domain import judge
from actlabel.model_server.room import LARGEST_BODY_BYTES, Room
from actlabel.model_server.shelf import Served, Shelf
from actlabel.model_server.tokens import Tokens
from actlabel.runtime.clock import Clock
from actlabel.runtime.log import get_log
from actlabel.runtime.metrics import MODEL_REQUESTS, MODEL_SECONDS

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_JSON: Final = "application/json"
_BODY_TIMEOUT_S: Final = 30.0
_INLINE_BYTES: Final = 128 * 1024  # what is parsed on the event loop; larger bodies go to a thread
_RETRY_AFTER_S: Final = "1"
_log = get_log(__name__)


class Api:
    """The two routes, behind the tokens."""

    def __init__(self, *, shelf: Shelf, tokens: Tokens, clock: Clock) -> None:
        """Answer from the models of ``shelf``."""
        self._shelf = shelf
        self._tokens = tokens
        self._clock = clock
        self._room = Room()
        self._numbers = count(1)

    def application(self) -> web.Application:
        """Put routes and middlewares together."""
        app = web.Application(client_max_size=LARGEST_BODY_BYTES, middlewares=[_as_json, self._only_known])
        app.router.add_post("/v1/chat/completions", self._complete)
        app.router.add_get("/v1/models", self._list)
        return app

    @web.middleware
    async def _only_known(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if not self._tokens.allow(request.headers.get("Authorization", "")):
            raise Refused(401, "invalid_api_key", "the token is missing or wrong")
        return await handler(request)

    async def _complete(self, request: web.Request) -> web.Response:
        began_s = self._clock.monotonic()
        with self._room.taken(request.content_length):
            question = await _question(await _body(request))
            served = await self._shelf.get(question.model)
            body = await self._answer(question, served)
        MODEL_SECONDS.labels(model=served.model.name).observe(self._clock.monotonic() - began_s)
        MODEL_REQUESTS.labels(model=served.model.name, status="200").inc()
        return web.Response(body=body, content_type=_JSON)

    async def _answer(self, question: Question, served: Served) -> bytes:
        predictor = served.batcher.predictor
        chances = await served.batcher.ask(_asked(question, reads_images=predictor.reads_images))
        opinion = judge(question, predictor.labels, chances)
        text = completion.content(question, opinion)
        exact = replace(question, model=served.model.reference)
        more = {"probabilities": dict(zip(predictor.labels, chances, strict=True))}
        return completion.body(exact, text, number=next(self._numbers), at_s=self._clock.now(), more=more)

    async def _list(self, _: web.Request) -> web.Response:
        listed = self._shelf.listed()
        data = [{"id": name, "object": "model", "created": 0, "owned_by": "actlabel", "version": listed[name]} for name in sorted(listed)]
        return web.Response(body=orjson.dumps({"object": "list", "data": data}), content_type=_JSON)


async def _body(request: web.Request) -> bytes:
    try:
        async with asyncio.timeout(_BODY_TIMEOUT_S):
            return await request.read()
    except TimeoutError as error:
        raise Refused(408, "timeout", f"the body did not arrive within {_BODY_TIMEOUT_S:.0f} s") from error


async def _question(body: bytes) -> Question:
    return read_question(body) if len(body) <= _INLINE_BYTES else await asyncio.to_thread(read_question, body)


def _asked(question: Question, *, reads_images: bool) -> Content:
    """Take what the model looks at, as training put it together. Raises ``Refused`` (422, 400) where that is not there."""
    text = "\n".join(text for text in question.texts if text)
    if reads_images and not question.images:
        raise Refused(422, "no_image", "the model judges images, and the item has none")
    if not reads_images and not text.strip():
        raise Refused(422, "no_text", "the model judges texts, and the item has none")
    return Content("the item", text, question.image_bytes() if reads_images else None)


@web.middleware
async def _as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn what was raised into the error shape of the protocol; what nobody expected says nothing about our insides."""
    try:
        return await handler(request)
    except Refused as refused:
        return _error(refused)
    except web.HTTPException as error:
        return _error(Refused(error.status, "http", f"{request.method} {request.path[:100]}: {error.reason}"))
    except Exception as error:  # noqa: BLE001 - fails closed
        _log.error("A request failed", exc_info=error)
        return _error(Refused(500, "internal_error", "the server has a defect here; its log says more"))


def _error(refused: Refused) -> web.Response:
    headers = {"Retry-After": _RETRY_AFTER_S} if refused.status in {429, 503} else {}
    MODEL_REQUESTS.labels(model="", status=str(refused.status)).inc()
    return web.Response(body=completion.error_body(refused), status=refused.status, content_type=_JSON, headers=headers)
