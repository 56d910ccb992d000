"""One merged item as the flat row that every export format writes."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from google.protobuf.timestamp_pb2 import Timestamp

from actlabel.contracts.v1.item_pb2 import Item, Media, Part, Review
from actlabel.core.errors import DeadLetter, UserError
from actlabel.dataset.layout import content_keys
from actlabel.dataset.merged import Merged, final_label, human_label
from actlabel.runtime.media import MediaStore

Row = dict[str, Any]

_OUTCOMES: Final = {Review.OUTCOME_LABELLED: "labelled", Review.OUTCOME_UNDECIDABLE: "undecidable"}
_ENDINGS: Final = {
    "image/png": "png",
    "image/jpeg": "jpg",
    "image/webp": "webp",
    "image/gif": "gif",
    "image/bmp": "bmp",
    "image/tiff": "tiff",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RowMaker:
    """Turns the items of one data set into rows; content that travels by reference is fetched from storage."""

    merged: Merged
    label_ids: Mapping[str, int]  # position in the label set
    media: MediaStore

    async def rows(self) -> AsyncIterator[Row]:
        """Yield one row per item. Raises ``UserError`` when media is missing in storage, ``RetryLater`` when it is out of reach."""
        async for item in self.merged.items():
            yield {**decided(item, self.label_ids), **await self._content(item)}

    async def _content(self, item: Item) -> Row:
        columns = self.merged.layout.columns
        return {columns[key]: await self._cell(item, part) for key, part in content_keys(item.content)}

    async def _cell(self, item: Item, part: Part) -> str | dict[str, Any]:
        if part.WhichOneof("kind") == "text":
            return part.text
        try:
            data = await self.media.get(part.media)
        except DeadLetter as error:
            raise UserError(f"item {item.id!r}, part {part.name!r}: {error.detail}; is ACTLABEL_STORAGE the one used at ingest?") from error
        return {"bytes": data, "path": file_name(part.media)}


def file_name(media: Media) -> str:
    """Name the file of an image by its content: no record chooses a path."""
    return f"{media.sha256.hex()}.{_ENDINGS.get(media.mime_type, 'bin')}"


def decided(item: Item, label_ids: Mapping[str, int]) -> Row:
    """Return all columns besides the content. Times are UTC; what a stage has not said is None."""
    label, human = final_label(item), human_label(item)
    return {
        "id": item.id,
        "label": label,
        "label_id": label_ids.get(label),
        "label_source": "model" if human is None else "human",
        "model_label": item.annotation.label,
        "human_label": human,
        **_critique(item),
        **_decision(item),
        **_review(item),
        "annotator_model": item.annotation.model,
        "campaign_version": item.campaign.version,
        "batch": item.batch,
        "cost_usd": item.annotation.usage.cost_usd + item.critique.usage.cost_usd,
        "created_at": _time(item.created_at) if item.HasField("created_at") else None,
        "metadata": [{"key": key, "value": value} for key, value in sorted(item.content.metadata.items())],
    }


def _critique(item: Item) -> Row:
    known = item.HasField("critique")
    return {
        "p_error": item.critique.error_probability if known else None,
        "suggested_label": item.critique.suggested_label or None,
        "critic_model": item.critique.model or None,
    }


def _decision(item: Item) -> Row:
    decision = item.decision
    known = decision.cell_size > 0
    return {
        "p_error_calibrated": decision.epsilon_q16 / 2**16 if known else None,
        "pi": decision.cell_selected / decision.cell_size if known else None,
        "sampled": decision.selected,
        "rule": decision.rule or None,
        **{name: getattr(decision, name) for name in ("draw", "block", "cell", "cell_selected", "cell_size")},
    }


def _review(item: Item) -> Row:
    review = item.review
    return {
        "outcome": _OUTCOMES.get(review.outcome),
        "reviewer": review.reviewer or None,
        "reviewed_at": _time(review.reviewed_at) if review.HasField("reviewed_at") else None,
    }


def _time(stamp: Timestamp) -> datetime:
    return stamp.ToDatetime(tzinfo=UTC)
