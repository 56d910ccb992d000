"""The criticizer as a process: the stream loop and the gRPC server around one handler."""

from collections.abc import Sequence
from contextlib import AsyncExitStack

import grpc

from actlabel.chat.asker import Asker
from actlabel.chat.open import open_asker
from actlabel.contracts.v1.criticizer_pb2_grpc import add_CriticizerServicer_to_server
from actlabel.contracts.v1.item_pb2 import Item
from actlabel.core import topics
from actlabel.criticizer.handle import CriticizeItem
from actlabel.criticizer.rpc import SERVICE, CriticizerService
from actlabel.host.dedicated_stage import run_stage
from actlabel.host.host import Host
from actlabel.runtime.campaigns import Campaign
from actlabel.runtime.log import get_log
from actlabel.runtime.rpc import serve_rpc
from actlabel.stream.handling import Handle
from actlabel.stream.limits import Limits
from actlabel.stream.outgoing import Outgoing
from actlabel.stream.stage import Stage

_log = get_log(__name__)


async def run(host: Host, *, serve_grpc: bool = True) -> None:
    """Criticize items until ``host.stop`` is set, then drain. Raises ``UserError`` for settings that cannot be used."""
    async with AsyncExitStack() as stack:
        asker = await stack.enter_async_context(
            open_asker(stage=topics.CRITICIZER, settings=host.settings, database=host.database, campaigns=host.campaigns, clock=host.clock)
        )
        criticize = CriticizeItem(asker)
        if serve_grpc:
            await _serve(host, criticize, stack)
        host.health.add_readiness(f"{topics.CRITICIZER} model", asker.readiness)
        await run_stage(host, stage=topics.CRITICIZER, make=lambda uid: _stage(host, criticize, asker, uid))


async def _serve(host: Host, criticize: CriticizeItem, stack: AsyncExitStack) -> None:
    def register(server: grpc.aio.Server) -> None:
        add_CriticizerServicer_to_server(CriticizerService(criticize, host.campaigns), server)  # type: ignore[no-untyped-call]  # generated

    server = serve_rpc(
        host=host.settings.host, port=host.settings.grpc_port, health_checks=host.health, services=[SERVICE], register=register
    )
    _log.info("gRPC is served", stage=topics.CRITICIZER, port=await stack.enter_async_context(server))


def _stage(host: Host, criticize: CriticizeItem, asker: Asker, uid: str | None) -> Stage:
    return Stage(
        name=topics.CRITICIZER,
        stream=host.stream,
        source_kind=topics.ANNOTATED,
        handle=_handle(criticize),
        campaigns=host.campaigns,
        dead_letters=host.dead_letters(),
        limits=Limits.of(host.settings),
        clock=host.clock,
        places=lambda campaign: asker.places(campaign, campaign.file.criticizer),
        handover=asker.hand_over,
        campaign_uid=uid,
    )


def _handle(criticize: CriticizeItem) -> Handle:
    async def handle(item: Item, campaign: Campaign) -> Sequence[Outgoing]:
        done = await criticize(item, campaign)
        value = done.SerializeToString(deterministic=True)  # a redelivery emits the same bytes
        return (Outgoing(topic=topics.topic(topics.CRITIQUED, campaign.uid), key=item.id.encode(), value=value),)

    return handle
