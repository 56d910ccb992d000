"""Builds merged items and puts them on a log."""

import hashlib
from collections.abc import Sequence

from actlabel.contracts.v1.item_pb2 import Item, Media, Review
from actlabel.core import topics
from actlabel.runtime.campaign_file import CampaignFile
from actlabel.runtime.campaigns import Campaign
from actlabel.stream.port import Stream, TopicSettings

UID = "feedc0ffee01"
TOPIC = topics.topic(topics.MERGED, UID)


def campaign(labels: Sequence[str] = ("no", "yes")) -> Campaign:
    """A campaign with these labels."""
    file = CampaignFile.model_validate(
        {
            "name": "mood",
            "task": {"question": "Happy | sad?", "labels": list(labels)},
            "annotator": {"endpoint": "http://localhost/v1", "model": "good"},
            "criticizer": {"endpoint": "http://localhost/v1", "model": "other"},
            "sampler": {"budget": 2},
            "spend_cap_usd": 1,
        }
    )
    return Campaign(uid=UID, name="mood", version=1, partitions=3, file=file)


def item(name: str, label: str = "no", *, text: str = "some words", draw: int = 1) -> Item:
    """An item that the sampler left to the machine: one of four in its cell is reviewed."""
    made = Item(id=name, batch=1, revision=1)
    made.campaign.uid, made.campaign.version = UID, 1
    made.created_at.FromSeconds(1_700_000_000)
    made.content.parts.add(name="text").text = text
    made.content.metadata["source"] = "import"
    made.annotation.label, made.annotation.model, made.annotation.usage.cost_usd = label, "good", 0.25
    made.critique.error_probability, made.critique.model, made.critique.usage.cost_usd = 0.5, "other", 0.5
    decision = made.decision
    decision.draw, decision.rule, decision.epsilon_q16, decision.cell = draw, "threshold", 2**15, 3
    decision.cell_selected, decision.cell_size = 1, 4
    return made


def reviewed(made: Item, label: str, *, revision: int = 1, outcome: int = Review.OUTCOME_LABELLED) -> Item:
    """The item as the gateway publishes it after a review."""
    made.decision.selected = True
    made.review.outcome, made.review.label, made.review.reviewer, made.review.revision = outcome, label, "ann", revision
    made.review.reviewed_at.FromSeconds(1_700_000_600)
    return made


def with_image(made: Item, data: bytes, *, name: str = "photo", mime_type: str = "image/png") -> Item:
    """Add an image part, inline."""
    media = Media(mime_type=mime_type, sha256=hashlib.sha256(data).digest(), size_bytes=len(data), inline=data)
    made.content.parts.add(name=name).media.CopyFrom(media)
    return made


async def publish(stream: Stream, items: Sequence[Item]) -> None:
    """Append items to the merged topic, in this order."""
    await stream.create_topics({TOPIC: TopicSettings(partitions=3, compacted=True)})
    for made in items:
        stream.producer().send(TOPIC, key=made.id.encode(), value=made.SerializeToString())
    await stream.producer().flush()
