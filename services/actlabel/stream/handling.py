"""From the bytes of a record to the item in them, or to why there is none."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from google.protobuf.message import DecodeError

from actlabel.contracts.v1.item_pb2 import Item
from actlabel.core.errors import DeadLetter
from actlabel.runtime.campaigns import Campaign
from actlabel.stream.outgoing import Outgoing
from actlabel.stream.port import Record

Handle = Callable[[Item, Campaign], Awaitable[Sequence[Outgoing]]]
"""What a stage does with one item.

It looks up, calls, stores, and returns what to produce. It may be called again for the same item at any time and must then mean the same.
Raises ``DeadLetter`` (put it aside), ``EndpointUnavailable`` (try again until the item's deadline), any other ``RetryLater`` (our own
outage: try again for ever), ``CampaignPaused`` (keep it until the pause is lifted), ``Fatal`` (this process must end). Anything else is
a defect and puts the item aside. It is cancelled at the item's deadline.
"""

Places = Callable[[Campaign], int]
"""How many handlers may work for a campaign at once in one process: its own bound, beside the bound of the process."""

UNDECODABLE: Final = "undecodable"
MISPLACED: Final = "misplaced"
DEADLINE: Final = "deadline"
DEFECT: Final = "defect"


def decode(record: Record, campaign_uid: str) -> Item:
    """Parse the record of a topic of ``campaign_uid``. Raises ``DeadLetter``: not an item, or one of another key or campaign."""
    try:
        item = Item.FromString(record.value)
    except DecodeError as error:
        raise DeadLetter(UNDECODABLE, f"the {len(record.value)} bytes of the record are not an Item") from error
    if item.campaign.uid != campaign_uid or item.id.encode() != record.key:
        raise DeadLetter(MISPLACED, "the item's id and campaign are not those of the record's key and topic")
    return item
