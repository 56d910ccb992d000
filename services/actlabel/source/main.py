"""The source role as a process: one follower for every campaign whose file names a topic."""

import asyncio
from collections.abc import Callable

from actlabel.core import topics
from actlabel.core.errors import UserError
from actlabel.host.host import Host
from actlabel.host.per_campaign import PerCampaign
from actlabel.runtime.campaigns import Campaign
from actlabel.source.open import open_source_stream, open_taker
from actlabel.stream.follower import Follower
from actlabel.stream.limits import Limits


async def run(host: Host) -> None:
    """Follow the sources of all campaigns until ``host.stop``. Any number of processes may: they share each topic's partitions."""
    sources = PerCampaign(
        name=topics.SOURCE,
        campaigns=host.campaigns,
        wants=lambda campaign: campaign.file.source is not None,
        work=lambda campaign, show, stop: _follow(host, campaign, show, stop),
    )
    sources.add_checks(host.health)
    await sources.run(host.stop)


async def _follow(host: Host, campaign: Campaign, show: Callable[[Follower], None], stop: asyncio.Event) -> None:
    source = campaign.file.source
    assert source is not None, "wanted"
    async with open_source_stream(host, source) as stream, open_taker(host, campaign, source) as taker:
        if not await stream.end_offsets(source.topic):
            raise UserError(f"source.topic: {source.topic!r} does not exist; correct the name, or create it")
        follower = Follower(
            stage=topics.SOURCE,
            uid=campaign.uid,
            group=topics.campaign_group(topics.SOURCE, campaign.uid),
            topic=source.topic,
            stream=stream,
            taker=taker,
            campaigns=host.campaigns,
            limits=Limits.of(host.settings),
            clock=host.clock,
        )
        show(follower)
        await follower.run(stop)
