"""The mirror role as a process: one follower of ``merged`` for every campaign whose file asks for a mirror."""

import asyncio
from collections.abc import Callable

from actlabel.core import topics
from actlabel.host.host import Host
from actlabel.host.per_campaign import PerCampaign
from actlabel.mirror.take import TakeMerged
from actlabel.runtime.campaigns import Campaign
from actlabel.stream.follower import Follower
from actlabel.stream.limits import Limits


async def run(host: Host) -> None:
    """Mirror all campaigns that ask for it until ``host.stop``. Any number of processes may: they share each topic's partitions."""
    mirrors = PerCampaign(
        name=topics.MIRROR,
        campaigns=host.campaigns,
        wants=lambda campaign: campaign.file.mirror is not None,
        work=lambda campaign, show, stop: _follow(host, campaign, show, stop),
    )
    mirrors.add_checks(host.health)
    await mirrors.run(host.stop)


async def _follow(host: Host, campaign: Campaign, show: Callable[[Follower], None], stop: asyncio.Event) -> None:
    assert campaign.file.mirror is not None, "wanted"
    follower = Follower(
        stage=topics.MIRROR,
        uid=campaign.uid,
        group=topics.campaign_group(topics.MIRROR, campaign.uid),
        topic=topics.topic(topics.MERGED, campaign.uid),
        stream=host.stream,
        taker=TakeMerged(
            campaign=campaign,
            database=host.database,
            producer=host.stream.producer(),
            content=campaign.file.mirror.content,
        ),
        campaigns=host.campaigns,
        limits=Limits.of(host.settings),
        clock=host.clock,
    )
    show(follower)
    await follower.run(stop)
