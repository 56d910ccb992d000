"""One merged item as a flat record for those who know nothing of us: what the mirror topic and a followed export carry.

``MergedRecord`` is the contract; ``merged_record.schema.json`` beside this file is written from it (``python -m actlabel.dataset.flat``).
Records themselves are made as plain mappings: validating our own output for each item would cost more than making it.
"""

import base64
import json
import sys
from datetime import datetime
from typing import Any, Final, Literal

from google.protobuf.message import DecodeError
from pydantic import BaseModel, ConfigDict, Field

from actlabel.contracts.v1.item_pb2 import Item, Part
from actlabel.dataset.rows import Row, decided

FLAT_SCHEMA_VERSION: Final = 1

Rank = tuple[int, int, int]
"""Draw, review revision, content revision: of two records of one item the higher counts."""


class MergedPart(BaseModel):
    """One part of an item's content, in reading order. An image has its bytes in ``data_base64`` or lies in storage under ``uri``."""

    model_config = ConfigDict(extra="forbid")

    name: str
    kind: Literal["text", "image"]
    text: str | None
    mime_type: str | None
    sha256: str | None = Field(pattern=r"^[0-9a-f]{64}$", description="of the image's bytes")
    size_bytes: int | None
    uri: str | None = Field(description="relative to ACTLABEL_STORAGE")
    data_base64: str | None


class MergedRecord(BaseModel):
    """A labelled item. Keep, for each id, the record with the highest (draw, revision, content_revision); equal ones are copies."""

    model_config = ConfigDict(extra="forbid", title="actlabel merged record")

    schema_version: Literal[1]
    campaign: str
    campaign_uid: str
    campaign_version: int
    id: str = Field(description="the item's id; on a topic also the record's key")
    draw: int = Field(ge=0, description="the numbered draw that the decision belongs to")
    revision: int = Field(ge=0, description="of the review; 0: nobody has reviewed it")
    content_revision: int = Field(ge=0, description="of the content, from 1; it rises when other content was ingested under the same id")
    label: str = Field(description="the reviewer's label where there is one, else the model's")
    label_source: Literal["model", "human"]
    model_label: str
    human_label: str | None
    suggested_label: str | None = Field(description="by the critic; null where it agrees")
    p_error: float | None = Field(ge=0, le=1, description="that the model's label is wrong, as the critic said it")
    p_error_calibrated: float | None = Field(ge=0, le=1)
    pi: float | None = Field(gt=0, le=1, description="inclusion probability: with which the item was chosen for review")
    weight: float | None = Field(ge=1, description="1/pi where a reviewer answered, for estimates over all items; else null")
    sampled: bool = Field(description="whether it was chosen for review")
    outcome: Literal["labelled", "undecidable"] | None
    rule: str | None
    block: int
    cell: int
    cell_selected: int
    cell_size: int
    annotator_model: str
    critic_model: str | None
    reviewer: str | None
    batch: int
    cost_usd: float
    created_at: datetime | None
    reviewed_at: datetime | None
    metadata: dict[str, str]
    parts: list[MergedPart] | None = Field(description="null where the campaign's mirror carries no content, or it was too large")


def parse_merged(value: bytes, campaign_uid: str) -> Item | None:
    """Return the merged item of a record; None for what is none of this campaign."""
    try:
        item = Item.FromString(value)
    except DecodeError:
        return None
    return item if item.id and item.campaign.uid == campaign_uid and item.annotation.label else None


def rank_of(item: Item) -> Rank:
    """Rank a record among those of the same item."""
    return item.decision.draw, item.review.revision, item.revision


def flat(item: Item, campaign: str, *, content: bool) -> Row:
    """Make the record; times are aware ``datetime`` in UTC. ``campaign``: its name."""
    row = decided(item, {})
    del row["label_id"]
    pi = row["pi"]
    return {
        "schema_version": FLAT_SCHEMA_VERSION,
        "campaign": campaign,
        "campaign_uid": item.campaign.uid,
        **row,
        "revision": item.review.revision,
        "content_revision": item.revision,
        "weight": 1 / pi if pi and row["human_label"] is not None else None,
        "metadata": dict(item.content.metadata),
        "parts": [_part(part) for part in item.content.parts] if content else None,
    }


def _part(part: Part) -> dict[str, Any]:
    if part.WhichOneof("kind") != "media":
        return {**_NO_PART, "name": part.name, "kind": "text", "text": part.text}
    media = part.media
    inline = media.WhichOneof("source") == "inline"
    return {
        "name": part.name,
        "kind": "image",
        "text": None,
        "mime_type": media.mime_type,
        "sha256": media.sha256.hex(),
        "size_bytes": media.size_bytes,
        "uri": None if inline else media.uri,
        "data_base64": base64.b64encode(media.inline).decode() if inline else None,
    }


_NO_PART: Final = dict.fromkeys(MergedPart.model_fields)


def json_schema() -> str:
    """Write the contract as JSON Schema (draft 2020-12)."""
    document = {"$schema": "https://json-schema.org/draft/2020-12/schema", **MergedRecord.model_json_schema()}
    return json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.stdout.write(json_schema())
