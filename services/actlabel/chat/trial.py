"""Trying a campaign over gRPC: one that is stored, or a document as it is."""

import hashlib

from actlabel.contracts.v1.campaign_pb2 import CampaignChoice
from actlabel.core.errors import UserError
from actlabel.runtime.campaign_file import CampaignFile, parse_campaign
from actlabel.runtime.campaigns import Campaign, Campaigns

_PREFIX = "trial-"


async def chosen(choice: CampaignChoice, campaigns: Campaigns) -> Campaign:
    """Return the campaign that a request names or brings along. Raises ``UserError``."""
    match choice.WhichOneof("choice"):
        case "name":
            return await campaigns.newest(choice.name)
        case "document_yaml":
            return trial(parse_campaign(choice.document_yaml, where="document_yaml"))
    raise UserError("campaign: give the name of a campaign, or a document to try")


def trial(file: CampaignFile) -> Campaign:
    """Make a campaign of a document without storing it.

    Its uid comes from its name: results and the spend cap are shared by all drafts of one name, so that editing a draft pays again only
    for what is asked in other words. Its version comes from the whole document.
    """
    digest = hashlib.sha256(file.canonical_json().encode()).digest()
    uid = _PREFIX + hashlib.sha256(file.name.encode()).hexdigest()[:16]
    return Campaign(uid=uid, name=file.name, version=int.from_bytes(digest[:4], "big"), partitions=file.partitions, file=file)


def is_trial(campaign: Campaign) -> bool:
    """Say whether a campaign is a document being tried: nothing about it is stored but its results and what they cost."""
    return campaign.uid.startswith(_PREFIX)
