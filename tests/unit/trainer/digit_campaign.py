"""A finished campaign on scikit-learn's digits, as records on a merged topic: systematic machine errors, a real draw, true answers."""

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

from actlabel.contracts.v1.item_pb2 import Item, Media, Review
from actlabel.core import topics
from actlabel.dataset.export import Exported, export
from actlabel.dataset.merged import read_merged
from actlabel.runtime.campaign_file import CampaignFile
from actlabel.runtime.campaigns import Campaign
from actlabel.runtime.media import MediaStore
from actlabel.stream.port import Stream, TopicSettings
from actlabel.stream.sqlite_stream import open_sqlite_stream

UID = "d161750f00d5"


@dataclass(frozen=True, slots=True, kw_only=True)
class Digits:
    """Images of 32 by 32 pixels as PNG, their true labels, wrong machine labels in a fixed pattern, and the draw's outcome."""

    png: list[bytes]
    truth: np.ndarray
    machine: np.ndarray
    epsilon: np.ndarray
    cell: np.ndarray
    cell_selected: np.ndarray
    cell_size: np.ndarray
    selected: np.ndarray


def png(pixels: np.ndarray) -> bytes:
    """Encode one digit (0 to 16) as a PNG of 32 by 32 pixels."""
    file = io.BytesIO()
    Image.fromarray((pixels * 15.9).astype(np.uint8)).resize((32, 32), Image.Resampling.BILINEAR).save(file, format="PNG")
    return file.getvalue()


def digits(*, items: int, budget: int, seed: int = 0, wrong_share: float = 0.25) -> Digits:
    """Draw ``items`` digits; a class is confused with its successor; half of the budget goes to the top of ε, half is spread evenly."""
    rng = np.random.default_rng(seed)
    data = load_digits()
    rows = rng.permutation(len(data.target))[:items]
    truth = data.target[rows]
    wrong = rng.random(items) < wrong_share
    machine = np.where(wrong, (truth + 1) % 10, truth)
    epsilon = np.clip(np.where(wrong, 0.6, 0.3) + 0.2 * rng.standard_normal(items), 0.01, 0.99)
    cell = np.zeros(items, dtype=np.int64)
    cell[np.argsort(-epsilon)[items // 4 :]] = 1
    size = np.bincount(cell)
    quota = np.array([min(size[0], budget - budget // 3), budget // 3])
    selected = np.zeros(items, dtype=bool)
    for number, count in enumerate(quota):
        selected[rng.choice(np.flatnonzero(cell == number), count, replace=False)] = True
    return Digits(
        png=[png(image) for image in data.images[rows]],
        truth=truth,
        machine=machine,
        epsilon=epsilon,
        cell=cell,
        cell_selected=quota[cell],
        cell_size=size[cell],
        selected=selected,
    )


def campaign() -> Campaign:
    """The campaign that these records belong to."""
    file = CampaignFile.model_validate(
        {
            "name": "digits",
            "task": {"question": "Which digit?", "labels": [str(digit) for digit in range(10)]},
            "annotator": {"endpoint": "http://localhost/v1", "model": "good"},
            "criticizer": {"endpoint": "http://localhost/v1", "model": "other"},
            "sampler": {"budget": 100},
            "spend_cap_usd": 1,
            "partitions": 3,
        }
    )
    return Campaign(uid=UID, name="digits", version=1, partitions=3, file=file)


def records(data: Digits) -> list[Item]:
    """Write the campaign's items as the sampler and the gateway would."""
    return [_item(data, row) for row in range(len(data.truth))]


def _item(data: Digits, row: int) -> Item:
    item = Item(id=f"digit-{row:04}", batch=1, revision=1)
    item.campaign.uid, item.campaign.version = UID, 1
    item.created_at.FromSeconds(1_700_000_000 + row)
    media = item.content.parts.add(name="image").media
    media.CopyFrom(_media(data.png[row]))
    item.annotation.label, item.annotation.model = str(data.machine[row]), "good"
    item.annotation.usage.cost_usd = 0.001
    item.critique.error_probability, item.critique.model = float(data.epsilon[row]), "other"
    decision = item.decision
    decision.draw, decision.rule, decision.selected = 1, "threshold", bool(data.selected[row])
    decision.cell, decision.cell_selected, decision.cell_size = int(data.cell[row]), int(data.cell_selected[row]), int(data.cell_size[row])
    decision.epsilon_q16 = round(float(data.epsilon[row]) * 2**16)
    if data.selected[row]:
        item.review.outcome, item.review.label = Review.OUTCOME_LABELLED, str(data.truth[row])
        item.review.reviewer, item.review.revision = "ann", 1
        item.review.reviewed_at.FromSeconds(1_700_000_500)
    return item


def _media(data: bytes) -> Media:
    return Media(mime_type="image/png", sha256=hashlib.sha256(data).digest(), size_bytes=len(data), inline=data)


async def publish(stream: Stream, items: list[Item]) -> None:
    """Append records to the merged topic."""
    name = topics.topic(topics.MERGED, UID)
    await stream.create_topics({name: TopicSettings(partitions=3, compacted=True)})
    for item in items:
        stream.producer().send(name, key=item.id.encode(), value=item.SerializeToString())
    await stream.producer().flush()


async def snapshot_of(items: list[Item], folder: Path, name: str = "dataset") -> Exported:
    """Send records through a stream on disk and export them."""
    stream = await open_sqlite_stream(str(folder / f"{name}.db"), runs_stages=False)
    try:
        await publish(stream, items)
        return await export(await read_merged(stream, UID), campaign(), MediaStore(str(folder / "storage")), folder / name)
    finally:
        await stream.close()


def write_test_folder(folder: Path, *, items: int, seed: int = 0, of: int = 1200) -> Path:
    """Write digits beyond the campaign's as a folder of images by class."""
    data = load_digits()
    rows = np.random.default_rng(seed).permutation(len(data.target))[of : of + items]
    for row in rows:
        path = folder / str(data.target[row]) / f"{row}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(data.images[row]))
    return folder
