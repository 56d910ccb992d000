"""Campaigns, items and a producer under control, for the tests of the review gateway."""

import asyncio
import hashlib
import struct
import zlib
from dataclasses import dataclass, field

from actlabel.contracts.v1.item_pb2 import CampaignRef, Content, Item, Media, Part
from actlabel.core.errors import RetryLater
from actlabel.review_gateway.answers import Answers
from actlabel.review_gateway.arrivals import Arrivals
from actlabel.review_gateway.domain import Caller
from actlabel.review_gateway.leases import Leases
from actlabel.review_gateway.outbox import Outbox
from actlabel.review_gateway.reading import Reading
from actlabel.runtime.campaign_file import CampaignFile
from actlabel.runtime.campaigns import Campaign, Campaigns
from actlabel.runtime.clock import Clock, FakeClock
from actlabel.runtime.database.port import Database
from actlabel.stream.port import Headers

ANN = Caller(name="ann", is_lead=False)
BOB = Caller(name="bob", is_lead=False)
LEA = Caller(name="lea", is_lead=True)
LABELS = {"pro": "supports the claim", "con": "is against it", "neutral": "neither"}


def campaign_file(name: str = "stance", **review: object) -> CampaignFile:
    """A small campaign; ``review`` fields as in the campaign file."""
    model = {"endpoint": "http://127.0.0.1:1/v1", "model": "m"}
    return CampaignFile.model_validate(
        {
            "name": name,
            "task": {
                "question": "Where does the author stand?",
                "labels": LABELS,
                "guidelines": "Read the whole text.\nIrony counts as its opposite.",
            },
            "annotator": model,
            "criticizer": model,
            "sampler": {"rule": "threshold", "budget": 10},
            "review": {"lease_seconds": 60, "undo_seconds": 10, **review},
            "spend_cap_usd": 1,
            "partitions": 3,
        }
    )


def text_item(campaign: Campaign, item_id: str, text: str = "It will do more good than harm.", **changes: object) -> Item:
    """An item as the sampler sends it."""
    item = Item(
        id=item_id,
        campaign=CampaignRef(uid=campaign.uid, version=campaign.version),
        batch=1,
        revision=1,
        content=Content(parts=[Part(name="text", text=text)], metadata={"source": "letters"}),
    )
    item.annotation.label = "con"
    item.annotation.rationale = "It names a harm."
    item.annotation.model = "annotator-1"
    item.critique.error_probability = 0.73
    item.critique.suggested_label = "pro"
    item.critique.reason = "The author weighs harm against good and finds more good."
    item.critique.evidence.append("more good than harm")
    item.critique.model = "critic-1"
    item.decision.draw = 1
    item.decision.rule = "threshold"
    item.decision.cell_selected, item.decision.cell_size = 3, 4
    item.decision.selected = True
    for path, value in changes.items():
        target = item
        *parents, last = path.split("__")
        for parent in parents:
            target = getattr(target, parent)
        setattr(target, last, value)
    return item


def image_item(campaign: Campaign, item_id: str, content: bytes, **changes: object) -> Item:
    """An item whose content is one image, inline."""
    item = text_item(campaign, item_id, **changes)
    digest = hashlib.sha256(content).digest()
    media = Media(mime_type="image/png", sha256=digest, size_bytes=len(content), inline=content)
    item.content.ClearField("parts")
    item.content.parts.append(Part(name="image", media=media))
    return item


def png(width: int = 8, height: int = 8) -> bytes:
    """A grey PNG with a light diagonal."""
    rows = b"".join(b"\0" + bytes(240 if x == y else 40 + 10 * (x % 5) for x in range(width)) for y in range(height))
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    packed = [struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


class ControlledProducer:
    """A producer whose log is a list; a test can hold its acknowledgements back, or make it fail."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, bytes, bytes]] = []
        self.is_held = False
        self.failure: Exception | None = None
        self._waiting: list[asyncio.Future[None]] = []

    async def send(self, topic: str, *, key: bytes, value: bytes, headers: Headers = ()) -> None:
        """See ``Producer``."""
        if self.failure is not None:
            raise self.failure
        self.sent.append((topic, key, value))
        if self.is_held:
            acknowledged: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(acknowledged)
            await acknowledged

    async def flush(self) -> None:
        """See ``Producer``."""

    async def until_sent(self, number: int) -> None:
        """Let other tasks run until ``number`` records were handed over."""
        while len(self.sent) < number:  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0)

    def acknowledge(self) -> None:
        """Let everything held back succeed."""
        for future in self._waiting:
            future.set_result(None)
        self._waiting.clear()

    def lose(self) -> None:
        """Let everything held back fail: the log has it perhaps, we shall never know."""
        for future in self._waiting:
            if not future.done():
                future.set_exception(RetryLater("the broker went away"))
        self._waiting.clear()

    def merged(self) -> list[Item]:
        """What was sent, as items."""
        return [Item.FromString(value) for _, _, value in self.sent]


@dataclass(kw_only=True)
class Desk:
    """The whole queue on one database, with a campaign."""

    database: Database
    campaigns: Campaigns
    campaign: Campaign
    clock: Clock
    arrivals: Arrivals
    leases: Leases
    answers: Answers
    reading: Reading
    outbox: Outbox
    producer: ControlledProducer = field(default_factory=ControlledProducer)

    async def put(self, *ids: str, **changes: object) -> None:
        """Let text items arrive."""
        for item_id in ids:
            await self.arrivals.handle(text_item(self.campaign, item_id, **changes), self.campaign)

    async def take(self, caller: Caller, count: int = 1, **how: bool) -> dict[str, str]:
        """Claim; returns item id → lease token."""
        return {lease.entry.item_id: lease.token for lease in await self.leases.claim(self.campaign, caller, count=count, **how)}

    async def say(self, caller: Caller, item_id: str, token: str, label: str | None = "pro") -> int:
        """Submit."""
        return await self.answers.submit(self.campaign, caller, item_id, token=token, label=label, seconds=3.5, comment="")


async def open_desk(database: Database, clock: FakeClock | Clock, file: CampaignFile | None = None) -> Desk:
    """Apply a campaign and build the queue on it."""
    campaigns = Campaigns(database, clock)
    campaign = await campaigns.apply(file or campaign_file())
    leases = Leases(database=database, clock=clock)
    producer = ControlledProducer()
    return Desk(
        database=database,
        campaigns=campaigns,
        campaign=campaign,
        clock=clock,
        arrivals=Arrivals(database=database, clock=clock),
        leases=leases,
        answers=Answers(database=database, clock=clock, campaigns=campaigns, leases=leases),
        reading=Reading(database=database),
        outbox=Outbox(database=database, producer=producer, clock=clock),
        producer=producer,
    )
