"""The sampler process: the only file that sees all of its parts."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

from actlabel.contracts.v1.item_pb2 import Item
from actlabel.contracts.v1.sampler_pb2_grpc import add_SamplerServicer_to_server
from actlabel.core import topics
from actlabel.core.errors import DeadLetter, RetryLater
from actlabel.host.host import Host
from actlabel.runtime.lifecycle import run_together, until
from actlabel.runtime.log import get_log
from actlabel.runtime.rpc import serve_rpc
from actlabel.sampler.block_closer import BlockCloser
from actlabel.sampler.blocks import Blocks
from actlabel.sampler.candidates import Candidates
from actlabel.sampler.draw_store import DrawStore
from actlabel.sampler.draws import Draws
from actlabel.sampler.emission import Emission, PutAside
from actlabel.sampler.handle import SamplerHandle
from actlabel.sampler.parameters import CampaignKeys, read_deployment_key
from actlabel.sampler.rpc import SERVICE, SamplerService
from actlabel.stream.dead_letters import DeadLetters
from actlabel.stream.limits import Limits
from actlabel.stream.port import Record
from actlabel.stream.stage import Stage

log = get_log(__name__)

_LOOK_S = 0.5
"""How often draws, emission and blocks are looked at."""


async def run(host: Host, *, serve_grpc: bool = True) -> None:
    """Sample until ``host.stop`` is set, then drain and return. Raises ``NotUsableYet`` when the secret key file cannot serve."""
    keys = CampaignKeys(host.campaigns, read_deployment_key(host.settings))
    store = DrawStore(host.database)
    if not serve_grpc:
        await _sample(host, store, keys)
        return
    service = SamplerService(store=store, campaigns=host.campaigns, keys=keys)
    async with serve_rpc(
        host=host.settings.host,
        port=host.settings.grpc_port,
        health_checks=host.health,
        services=[SERVICE],
        register=lambda server: add_SamplerServicer_to_server(service, server),  # type: ignore[no-untyped-call]  # generated
    ) as port:
        log.info("The sampler answers over gRPC.", grpc_port=port)
        await _sample(host, store, keys)


async def _sample(host: Host, store: DrawStore, keys: CampaignKeys) -> None:
    letters = host.dead_letters()
    limits = _limits(host)
    blocks = Blocks(
        store=store,
        campaigns=host.campaigns,
        closer=BlockCloser(store=store, keys=keys, clock=host.clock),
        patience_s=limits.item_deadline_s / 2,
    )
    draws = Draws(store=store, stream=host.stream, campaigns=host.campaigns, keys=keys, clock=host.clock)
    emission = Emission(store=store, stream=host.stream, campaigns=host.campaigns, put_aside=_put_aside(letters), stop=host.stop)
    handle = SamplerHandle(candidates=Candidates(host.database, host.clock), blocks=blocks, campaigns=host.campaigns)
    await run_together(
        _stage(host, handle, letters, limits).run(host.stop),
        _repeat(draws.step, host.stop),
        _repeat(emission.step, host.stop),
        _close_blocks(blocks, host.stop),
    )


def _limits(host: Host) -> Limits:
    """Items wait here for their block and hold no model call, so as many may be in the handler as are in the window."""
    return replace(Limits.of(host.settings), calls_in_flight=host.settings.window_items)


def _stage(host: Host, handle: SamplerHandle, letters: DeadLetters, limits: Limits) -> Stage:
    stage = Stage(
        name=topics.SAMPLER,
        stream=host.stream,
        source_kind=topics.CRITIQUED,
        handle=handle,
        campaigns=host.campaigns,
        dead_letters=letters,
        limits=limits,
        clock=host.clock,
    )
    host.health.add_liveness(topics.SAMPLER, stage.liveness)
    host.health.add_readiness(topics.SAMPLER, stage.readiness)
    return stage


def _put_aside(letters: DeadLetters) -> PutAside:
    async def put(record: Record, item: Item, error: DeadLetter) -> None:
        await letters.put(record, stage=topics.SAMPLER, version=item.campaign.version, reason=error.reason, detail=error.detail)

    return put


async def _repeat(step: Callable[[], Awaitable[None]], stop: asyncio.Event) -> None:
    while not stop.is_set():
        await _try(step)
        await until(stop, _LOOK_S)


async def _close_blocks(blocks: Blocks, stop: asyncio.Event) -> None:
    while not stop.is_set():
        await _try(blocks.step)
        await until(blocks.full, _LOOK_S)
    blocks.give_back()


async def _try(step: Callable[[], Awaitable[None]]) -> None:
    """Our own outages pass; the next look goes on from what is stored."""
    try:
        await step()
    except RetryLater as error:
        log.warning("The sampler waits for what is out of reach.", reason=str(error))
