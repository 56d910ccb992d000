"""Signs of life over HTTP: ``/healthz`` (is this process alive), ``/readyz`` (may it get work, and if not why), ``/metrics``."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib.metadata import version
from platform import python_version
from typing import Final

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from actlabel.core.errors import UserError
from actlabel.runtime import metrics
from actlabel.runtime.lifecycle import until

_LAST_FETCH_S: Final = 60.0

Check = Callable[[], str | None]
"""Returns None when all is well, or one line that says what is not."""


class Health:
    """What a process knows about itself. Liveness never depends on Kafka, the database or a model."""

    def __init__(self) -> None:
        """Begin without checks: alive and ready, of no role."""
        self.role = ""
        self._scraped = asyncio.Event()
        self._liveness: dict[str, Check] = {}
        self._readiness: dict[str, Check] = {}

    def add_liveness(self, name: str, check: Check) -> None:
        """A failed one asks for a restart of the process."""
        self._liveness[name] = check

    def add_readiness(self, name: str, check: Check) -> None:
        """A failed one keeps work away for now."""
        self._readiness[name] = check

    def knows(self, name: str) -> bool:
        """Say whether a readiness check of that name was added."""
        return name in self._readiness

    def forget(self) -> None:
        """Drop every check: what they were about has ended."""
        self._liveness.clear()
        self._readiness.clear()

    def alive(self) -> list[str]:
        """List what is wrong, a line each; empty when alive."""
        return _failures(self._liveness)

    def ready(self) -> list[str]:
        """List what is missing, a line each; empty when ready."""
        return _failures(self._readiness)

    def add_routes(self, app: web.Application) -> None:
        """Serve the three paths from an aiohttp application."""
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/metrics", self._metrics)

    async def _healthz(self, _: web.Request) -> web.Response:
        return _answer(self.alive())

    async def _readyz(self, _: web.Request) -> web.Response:
        return _answer(self.ready())

    async def _metrics(self, request: web.Request) -> web.Response:
        parts = {name: check() is None for name, check in self._readiness.items()} or {"process": True}
        metrics.replace(metrics.READY, {(self.role, name): float(ready) for name, ready in parts.items()})
        response = web.Response(body=generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})
        await response.prepare(request)
        await response.write_eof()
        self._scraped.set()  # only now: who waits for this ends the process
        return response

    async def scraped(self, *, most_s: float) -> bool:
        """Wait until the metrics have been fetched once more; False where nobody came for ``most_s``."""
        self._scraped.clear()
        return await until(self._scraped, most_s)


def _failures(checks: dict[str, Check]) -> list[str]:
    answers = ((name, check()) for name, check in checks.items())
    return [f"{name}: {why}" for name, why in answers if why is not None]


def _answer(failures: list[str]) -> web.Response:
    return web.Response(text="\n".join(failures) or "ok", status=503 if failures else 200)


async def serve_health(health: Health, *, role: str, host: str, port: int) -> tuple[web.AppRunner, int]:
    """Serve the signs of life; returns the runner (to clean up) and the port in use. Raises ``UserError`` where the port is taken."""
    health.role = role
    metrics.BUILD.labels(version("actlabel"), python_version()).set(1)
    app = web.Application()
    health.add_routes(app)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
    except OSError as error:
        await runner.cleanup()
        raise UserError(f"ACTLABEL_HTTP_PORT: {port} cannot be listened on ({error.strerror}); choose another") from error
    return runner, int(runner.addresses[0][1])


@asynccontextmanager
async def shown_to_the_end(health: Health, *, role: str, host: str, port: int) -> AsyncIterator[None]:
    """Serve the signs of life of a job while the block runs, unless ``port`` is 0; where it ended well, until that has been fetched.

    Whoever collects metrics comes every 15 to 60 seconds: a job that left at once would take its results along.
    """
    if not port:
        yield
        return
    runner, _ = await serve_health(health, role=role, host=host, port=port)
    try:
        yield
        await health.scraped(most_s=_LAST_FETCH_S)
    finally:
        await runner.cleanup()
