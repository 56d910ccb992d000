"""A Schema Registry over HTTP: the two read endpoints of Confluent's REST API, as its reference documents them, over schemas in memory."""

import base64
import json
from types import TracebackType
from typing import Any

from aiohttp import web

_CONTENT_TYPE = "application/vnd.schemaregistry.v1+json"


class SchemaRegistryServer:
    """Use as an asynchronous context manager; ``address`` is its base URL. ``down`` lets it answer 503, ``requests`` counts."""

    def __init__(self, *, password: str | None = None) -> None:
        self._by_id: dict[int, dict[str, Any]] = {}
        self._by_subject: dict[tuple[str, int], int] = {}
        self._password = password
        self._runner: web.AppRunner | None = None
        self.address = ""
        self.requests: list[str] = []
        self.down = False

    def register(
        self, number: int, schema: object, *, subject: str | None = None, kind: str | None = None, references: tuple[str, ...] = ()
    ) -> None:
        """Store version 1 of a subject under a number; ``references`` are subjects."""
        entry: dict[str, Any] = {"schema": schema if isinstance(schema, str) else json.dumps(schema)}
        if kind is not None:
            entry["schemaType"] = kind  # left out for Avro, as the original does
        if references:
            entry["references"] = [{"name": name, "subject": name, "version": 1} for name in references]
        self._by_id[number] = entry
        self._by_subject[subject or f"subject-{number}", 1] = number

    async def __aenter__(self) -> "SchemaRegistryServer":
        app = web.Application(middlewares=[self._gate])
        app.router.add_get("/schemas/ids/{id}", self._schema)
        app.router.add_get("/subjects/{subject}/versions/{version}", self._version)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.address = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    @web.middleware
    async def _gate(self, request: web.Request, handler: Any) -> web.StreamResponse:
        self.requests.append(request.path)
        if self.down:
            return _error(503, 50301, "not available")
        wanted = "Basic " + base64.b64encode(f"reader:{self._password}".encode()).decode()
        if self._password is not None and request.headers.get("Authorization") != wanted:
            return _error(401, 40101, "Unauthorized")
        return await handler(request)

    async def _schema(self, request: web.Request) -> web.Response:
        entry = self._by_id.get(int(request.match_info["id"]))
        return _error(404, 40403, "Schema not found") if entry is None else _json(200, entry)

    async def _version(self, request: web.Request) -> web.Response:
        subject, version = request.match_info["subject"], int(request.match_info["version"])
        number = self._by_subject.get((subject, version))
        if number is None:
            return _error(404, 40401, "Subject not found")
        return _json(200, {"subject": subject, "version": version, "id": number, **self._by_id[number]})


def _json(status: int, body: object) -> web.Response:
    return web.Response(status=status, body=json.dumps(body).encode(), content_type=_CONTENT_TYPE)


def _error(status: int, code: int, message: str) -> web.Response:
    return _json(status, {"error_code": code, "message": message})
