"""The labelling part of the demo: a campaign from its images to rest."""

import asyncio
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from actlabel.contracts.v1.item_pb2 import Item
from actlabel.core import topics
from actlabel.core.errors import Fatal
from actlabel.demo.reviewer import ScriptedReviewer
from actlabel.demo.screen import Screen
from actlabel.demo.system import Stages, System
from actlabel.host.campaign_life import apply_campaign
from actlabel.host.host import Host, open_host
from actlabel.host.progress import CampaignProgress, read_progress
from actlabel.intake.fields import Fields
from actlabel.intake.ingest import ingest
from actlabel.runtime.campaign_file import CampaignFile
from actlabel.runtime.campaigns import Campaign
from actlabel.runtime.lifecycle import until
from actlabel.stream.port import Partition

_LOOK_S = 0.5
_FIRST_LABELS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Labelled:
    """A campaign at rest."""

    campaign: Campaign
    progress: CampaignProgress


@asynccontextmanager
async def running(host: Host, stages: Stages) -> AsyncIterator[asyncio.TaskGroup]:
    """Run the stages, and what else is put into the group, while the block runs; then let all of them drain.

    Raises the first error of any of them, which ends the others.
    """
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(_whole(host, stages))
            yield group
            host.stop.set()
    except BaseExceptionGroup as errors:
        raise _first(errors) from errors


def _first(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    first = errors.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first


async def _whole(host: Host, stages: Stages) -> None:
    await stages(host)
    if not host.stop.is_set():
        raise Fatal("the stages ended before the demo did")


async def take(host: Host, campaign: Campaign, images: Path) -> None:
    """Ingest a folder of images and seal the campaign, as `actlabel ingest --gold label --seal` does. Raises ``UserError``.

    A running system may have all of them from an earlier demo: then there is nothing to take and nothing to seal.
    """
    register = host.register(campaign)
    await ingest(register, images, Fields(gold="label"), progress=lambda _what, _done, _all: None)
    if not (await host.campaigns.status(campaign.uid)).seals:
        await host.campaigns.seal(campaign.uid)


async def label(system: System, file: CampaignFile, images: Path, truth: Mapping[str, str], *, screen: Screen) -> Labelled:
    """Take a campaign from its images to rest: annotated, criticized, drawn, reviewed by the script, merged."""
    reviewer = ScriptedReviewer(address=system.review, token=system.token, campaign=file.name, truth=truth)
    async with open_host(system.settings, runs_stages=system.runs_stages) as host:
        campaign = await apply_campaign(host, file)
        async with running(host, system.stages) as group:
            await take(host, campaign, images)
            group.create_task(reviewer.work(host.stop))
            try:
                await _follow(host, campaign, screen)
            finally:
                screen.settled()
        return Labelled(campaign=campaign, progress=await read_progress(host, campaign.uid))


async def _follow(host: Host, campaign: Campaign, screen: Screen) -> None:
    """Show progress until nothing moves and nobody waits. Raises ``Fatal`` when the campaign was paused."""
    first_labels_shown = False
    while True:
        progress = await read_progress(host, campaign.uid)
        screen.progress(progress)
        if not first_labels_shown:
            first_labels_shown = await _show_first_labels(host, campaign, screen)
        if progress.status.pauses:
            raise Fatal(f"the campaign was paused: {'; '.join(progress.status.pauses.values())}")
        if progress.registered and not (progress.moving() or progress.open_reviews or progress.outbox):
            return
        await until(host.stop, _LOOK_S)


async def _show_first_labels(host: Host, campaign: Campaign, screen: Screen) -> bool:
    """Say a few labels as soon as they have been criticized."""
    topic = topics.topic(topics.CRITIQUED, campaign.uid)
    ends = await host.stream.end_offsets(topic)
    if sum(ends.values()) < _FIRST_LABELS:
        return False
    items = [item async for item in _items(host, ends)]
    for item in items[:_FIRST_LABELS]:
        screen.say(f"{item.id}: labelled {item.annotation.label}, wrong with probability {item.critique.error_probability:.2f}")
    return True


async def _items(host: Host, ends: Mapping[Partition, int]) -> AsyncIterator[Item]:
    for partition, end in ends.items():
        async for batch in host.stream.scan(partition, start=0, end=min(end, _FIRST_LABELS)):
            for record in batch:
                yield Item.FromString(record.value)


def free_port(wished: int = 0) -> int:
    """Return ``wished`` where it is free, else any free port of this machine."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", wished))
        except OSError:
            probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
