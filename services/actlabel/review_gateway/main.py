"""Runs the review gateway: the queue fed from the stream, the page and its API, the outbox. The only file here that sees everything."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

from aiohttp import web

from actlabel.core import topics
from actlabel.core.errors import RetryLater, UserError
from actlabel.host.campaign_gauges import CampaignGauges
from actlabel.host.host import Host
from actlabel.review_gateway.access import Door, errors_as_json, security_headers
from actlabel.review_gateway.answers import Answers
from actlabel.review_gateway.api import Api
from actlabel.review_gateway.arrivals import Arrivals
from actlabel.review_gateway.bodies import LARGEST_BODY_BYTES
from actlabel.review_gateway.guesses import Guesses
from actlabel.review_gateway.leases import Leases
from actlabel.review_gateway.outbox import Outbox
from actlabel.review_gateway.page import Page
from actlabel.review_gateway.reading import Reading
from actlabel.review_gateway.reviewers import Reviewers, read_operator_token
from actlabel.runtime.lifecycle import run_together, until
from actlabel.runtime.log import get_log
from actlabel.runtime.media import MediaStore
from actlabel.stream.limits import Limits
from actlabel.stream.stage import Stage

_LOG = get_log(__name__)
_LOOK_S: Final = 5.0


class _People:
    """Whether anybody can log in, as of the last look."""

    def __init__(self, reviewers: Reviewers) -> None:
        self._reviewers = reviewers
        self.missing: str | None = "not looked yet"

    async def look(self) -> None:
        before, self.missing = self.missing, await self._reviewers.missing()
        if self.missing is not None and self.missing != before:
            _LOG.warning("the review gateway is not ready", why=self.missing)


async def run(host: Host, *, serve_http: bool = True, started: Callable[[str], None] | None = None) -> None:
    """Work until ``host.stop``, then publish every answer that is due.

    ``started`` is told the URL of the page. Raises ``NotUsableYet`` for an unusable token file.
    """
    token = read_operator_token(host.settings.review_token_file)
    reviewers = Reviewers(database=host.database, clock=host.clock, operator_token=token)
    people = _People(reviewers)
    outbox = Outbox(database=host.database, producer=host.stream.producer(), clock=host.clock)
    stage = _stage(host)
    host.health.add_liveness(topics.REVIEW_GATEWAY, stage.liveness)
    host.health.add_readiness(topics.REVIEW_GATEWAY, stage.readiness)
    host.health.add_readiness("review people", lambda: people.missing)
    host.health.add_readiness("review outbox", outbox.trouble)
    gauges = CampaignGauges(database=host.database, stream=host.stream, campaigns=host.campaigns, clock=host.clock)
    await people.look()
    async with _page(host, reviewers, started) if serve_http else _nothing():
        await run_together(stage.run(host.stop), outbox.run(host.stop), _watch(host, people), gauges.run(host.stop))


def _stage(host: Host) -> Stage:
    return Stage(
        name=topics.REVIEW_GATEWAY,
        stream=host.stream,
        source_kind=topics.REVIEW,
        handle=Arrivals(database=host.database, clock=host.clock).handle,
        campaigns=host.campaigns,
        dead_letters=host.dead_letters(),
        limits=Limits.of(host.settings),
        clock=host.clock,
    )


def application(host: Host, reviewers: Reviewers) -> web.Application:
    """Put page and API together."""
    leases = Leases(database=host.database, clock=host.clock)
    answers = Answers(database=host.database, clock=host.clock, campaigns=host.campaigns, leases=leases)
    reading = Reading(database=host.database)
    door = Door(reviewers=reviewers, guesses=Guesses(host.clock))
    app = web.Application(client_max_size=LARGEST_BODY_BYTES, middlewares=[security_headers, errors_as_json, door.only_known])
    media = MediaStore(host.settings.storage)
    Api(campaigns=host.campaigns, leases=leases, answers=answers, reading=reading, media=media).add_routes(app)
    Page(reviewers=reviewers, door=door).add_routes(app)
    return app


@asynccontextmanager
async def _page(host: Host, reviewers: Reviewers, started: Callable[[str], None] | None) -> AsyncIterator[None]:
    """Serve while the block runs."""
    runner = web.AppRunner(application(host, reviewers), access_log=None, shutdown_timeout=5)
    await runner.setup()
    try:
        await _listen(runner, host)
        url = f"http://{host.settings.host}:{runner.addresses[0][1]}"
        _LOG.info("the review page is open", url=url)
        if started is not None:
            started(url)
        yield
    finally:
        await runner.cleanup()


async def _listen(runner: web.AppRunner, host: Host) -> None:
    try:
        await web.TCPSite(runner, host.settings.host, host.settings.review_port).start()
    except OSError as error:
        raise UserError(
            f"ACTLABEL_REVIEW_PORT: {host.settings.review_port} cannot be listened on ({error.strerror}); choose another"
        ) from error


@asynccontextmanager
async def _nothing() -> AsyncIterator[None]:
    yield


async def _watch(host: Host, people: _People) -> None:
    """Look now and then whether anybody can log in."""
    while not await until(host.stop, _LOOK_S):
        try:
            await people.look()
        except RetryLater as error:
            _LOG.warning("the database is out of reach", error=str(error))
