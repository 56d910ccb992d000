"""Records as JSON for the page and for scripts. Everything in them is text from strangers: the page shows it as text."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from actlabel.contracts.v1.item_pb2 import Item, Part
from actlabel.review_gateway.answers import Undone
from actlabel.review_gateway.domain import SKIP_REASONS, Answer, Entry
from actlabel.review_gateway.leases import Lease
from actlabel.review_gateway.reading import Progress
from actlabel.runtime.campaigns import Campaign
from actlabel.runtime.database.port import Row

Json = dict[str, Any]


def campaign_view(campaign: Campaign) -> Json:
    """Say what a reviewer must know of a campaign."""
    review = campaign.file.review
    return {
        "name": campaign.name,
        "version": campaign.version,
        "task": task_view(campaign),
        "review": {
            "lease_seconds": review.lease_seconds,
            "undo_seconds": review.undo_seconds,
            "skips_to_undecidable": review.skips_to_undecidable,
        },
        "skip_reasons": [{"code": code, "text": text} for code, text in SKIP_REASONS.items()],
    }


def task_view(campaign: Campaign) -> Json:
    """Say what is asked, in one version of a campaign."""
    task = campaign.file.task
    return {
        "question": task.question,
        "guidelines": task.guidelines,
        "labels": [{"name": label.name, "description": label.description} for label in task.labels],
    }


def item_view(entry: Entry, campaign: Campaign) -> Json:
    """Show an item as its campaign version allows: without the models' words where reviewers shall not be led."""
    item = Item.FromString(entry.item)
    leads = campaign.file.review.show_suggestion
    return {
        "id": item.id,
        "version": item.campaign.version,
        "content": [_part(part, index) for index, part in enumerate(item.content.parts)],
        "suggestion": _suggestion(item) if leads and item.annotation.label else None,
        "critique": _critique(item) if leads and item.HasField("critique") else None,
        "metadata": dict(sorted(item.content.metadata.items())),
    }


def _part(part: Part, index: int) -> Json:
    if part.WhichOneof("kind") == "text":
        return {"kind": "text", "name": part.name, "text": part.text}
    return {"kind": "image", "name": part.name, "media": index, "bytes": part.media.size_bytes}


def _suggestion(item: Item) -> Json:
    annotation = item.annotation
    return {"label": annotation.label, "rationale": annotation.rationale, "model": annotation.model}


def _critique(item: Item) -> Json:
    critique = item.critique
    return {
        "error_probability": critique.error_probability,
        "suggested_label": critique.suggested_label or None,
        "reason": critique.reason,
        "evidence": list(critique.evidence),
        "model": critique.model,
    }


def answer_view(answer: Answer | None) -> Json | None:
    """Show an answer."""
    if answer is None:
        return None
    return {
        "revision": answer.revision,
        "outcome": "undecidable" if answer.label is None else "labelled",
        "label": answer.label,
        "comment": answer.comment,
        "reviewer": answer.reviewer,
        "answered_at": moment(answer.answered_at),
    }


def lease_view(lease: Lease, campaign: Campaign) -> Json:
    """Show an item with the token under which it is lent."""
    return {**item_view(lease.entry, campaign), "lease_token": lease.token, "lease_seconds": lease.seconds}


def undone_view(undone: Undone, campaign: Campaign) -> Json:
    """Show what came back."""
    item = lease_view(undone.lease, campaign)
    return {"item": item, "answer": answer_view(undone.answer), "published": undone.is_published}


def progress_view(progress: Progress) -> Json:
    """Show the counts."""
    return {
        "items": {state.value: number for state, number in progress.items.items()},
        "mine": {"answered": progress.answered_by_me, "skipped_waiting": progress.skipped_by_me_waiting},
    }


def history_view(row: Row) -> Json:
    """Show one of somebody's answers."""
    return {
        "id": row["item_id"],
        "revision": row["revision"],
        "outcome": "undecidable" if row["label"] is None else "labelled",
        "label": row["label"],
        "comment": row["comment"],
        "answered_at": moment(row["answered_at"]),
        "cursor": row["answered_at"],
        "published": row["revision"] <= row["started_revision"],
    }


def flag_view(row: Row) -> Json:
    """Show what somebody wants to talk about."""
    return {"id": row["item_id"], "reviewer": row["reviewer"], "comment": row["comment"], "created_at": moment(row["created_at"])}


def tasks_view(versions: Mapping[int, Campaign]) -> Json:
    """Show what is asked, by campaign version: an item is answered under its own."""
    return {str(version): task_view(campaign) for version, campaign in versions.items()}


def moment(seconds: float) -> str:
    """Write a moment as ISO 8601 in UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
