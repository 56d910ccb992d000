"""A campaign's beginning and end, in database and stream together."""

from collections.abc import Mapping

from actlabel.core import topics
from actlabel.host.host import Host
from actlabel.runtime.campaign_file import CampaignFile
from actlabel.runtime.campaigns import Campaign
from actlabel.runtime.database.port import load_statements
from actlabel.stream.port import TopicSettings


async def apply_campaign(host: Host, file: CampaignFile) -> Campaign:
    """Store the document, make the topics that are missing, and let every stage's group begin at offset 0, so that its lag shows at once.

    Safe to repeat: what an interrupted apply left out is made by the next. Raises ``UserError`` when a fixed field changed.
    """
    campaign = await host.campaigns.apply(file)
    await host.stream.create_topics(_topics(campaign))
    for stage, kind in topics.READS.items():
        if campaign.uid not in await host.campaigns.dedicated(stage):  # where it is, `dedicate` has done so
            await host.stream.commit_start(topics.group(stage), topics.topic(kind, campaign.uid))
    if file.mirror is not None:
        group = topics.campaign_group(topics.MIRROR, campaign.uid)
        await host.stream.commit_start(group, topics.topic(topics.MERGED, campaign.uid))
    return campaign


def _topics(campaign: Campaign) -> Mapping[str, TopicSettings]:
    wanted = (*topics.KINDS, *((topics.MERGED_JSON,) if campaign.file.mirror is not None else ()))
    compacted = (topics.MERGED, topics.MERGED_JSON)
    kinds = {kind: TopicSettings(partitions=campaign.partitions, compacted=kind in compacted) for kind in wanted}
    return {topics.topic(kind, campaign.uid): settings for kind, settings in kinds.items()}


async def delete_campaign(host: Host, name: str) -> Campaign:
    """Mark a campaign deleted, then remove its topics and rows; a record still in flight is dropped by its stage.

    Raises ``UserError`` when there is no such campaign. Repeating it after a crash finishes the work.
    """
    campaign = await host.campaigns.newest(name)
    await host.campaigns.delete(campaign.uid)
    await host.stream.delete_topics([*_topics(campaign), topics.topic(topics.MERGED_JSON, campaign.uid)])
    statements = load_statements("actlabel.host", "purge.sql")
    async with host.database.transaction() as session:
        for statement in statements.values():
            await session.execute(statement, campaign.uid)
    return campaign
