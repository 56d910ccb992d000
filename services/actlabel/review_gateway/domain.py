"""Pure decisions of the review queue: what an arrival means, who may answer, what a merged record is."""

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum, StrEnum
from typing import Final

from actlabel.contracts.v1.item_pb2 import Item, Review
from actlabel.review_gateway.refusals import AlreadyAnswered, LeaseLost, NoSuchItem

OPERATOR: Final = "operator"
"""The reviewer name of whoever holds the operator's token."""

SKIP_REASONS: Final = {
    "unclear": "The question or the guidelines do not settle it",
    "no-label-fits": "No label fits",
    "unreadable": "The content is broken or unreadable",
    "not-my-field": "Somebody else knows this better",
    "rather-not": "I would rather not look at this",
}
"""The closed list, code → words, so that reasons can be counted."""


class State(StrEnum):
    """Where an item stands in the queue."""

    WAITING = "waiting"
    LEASED = "leased"
    ANSWERED = "answered"
    UNDECIDABLE = "undecidable"
    WITHDRAWN = "withdrawn"  # a later draw chose other items before anybody answered


SETTLED: Final = (State.ANSWERED, State.UNDECIDABLE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who asks."""

    name: str
    is_lead: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One row of the queue; the columns are explained in schema/40_review.sql."""

    uid: str
    item_id: str
    content_revision: int
    draw: int
    item: bytes
    state: State
    lease_token: str | None
    leased_by: str | None
    leased_at: float | None
    leased_until: float | None
    revision: int
    floor_revision: int
    started_revision: int
    published_draw: int

    @property
    def can_be_taken_back(self) -> bool:
        """Say whether the newest answer was never handed to the stream."""
        return self.revision > self.started_revision

    @property
    def is_answered(self) -> bool:
        """Say whether an answer about the present content exists."""
        return self.revision > self.floor_revision


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a reviewer said about an item."""

    revision: int
    label: str | None  # None: undecidable
    comment: str
    reviewer: str
    seconds: float
    suggestion_shown: bool
    answered_at: float  # seconds since 1970
    lease_token: str

    @property
    def state(self) -> State:
        """Where the item stands with this answer."""
        return State.UNDECIDABLE if self.label is None else State.ANSWERED


class Arrival(Enum):
    """What a record of the review topic means beside what is stored."""

    NEW = "new"
    KNOWN = "known"  # the same, or older
    LATER_DRAW = "later draw"
    NEW_CONTENT = "new content"


def arrival(entry: Entry | None, item: Item) -> Arrival:
    """Compare (content revision, draw): only what is higher changes anything, so order and repetition of deliveries do not matter."""
    if entry is None:
        return Arrival.NEW
    if item.revision != entry.content_revision:
        return Arrival.NEW_CONTENT if item.revision > entry.content_revision else Arrival.KNOWN
    return Arrival.LATER_DRAW if item.decision.draw > entry.draw else Arrival.KNOWN


def state_after(entry: Entry | None, meaning: Arrival, *, selected: bool) -> State:
    """Where an item stands after an arrival: an answer stays, a lease too; what the newest draw left out is withdrawn."""
    stays = None if meaning is Arrival.NEW_CONTENT else entry
    if stays is not None and (stays.is_answered or (selected and stays.state is State.LEASED)):
        return stays.state
    return State.WAITING if selected else State.WITHDRAWN


def queue_order(campaign_uid: str, item_id: str) -> int:
    """Return 63 bits that depend on nothing but the names."""
    digest = hashlib.sha256(f"{campaign_uid}\0{item_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def check_lease(entry: Entry, caller: Caller, token: str) -> None:
    """Let only the holder of the newest lease go on.

    A lease that ran out still counts until somebody else is given the item: no answer is thrown away needlessly. Raises ``LeaseLost``.
    """
    if entry.lease_token is None or entry.lease_token != token or entry.leased_by != caller.name:
        raise LeaseLost


def is_repeated(answer: Answer | None, caller: Caller, token: str, label: str | None) -> bool:
    """Say whether exactly this answer was taken before, its acknowledgement lost. Raises ``AlreadyAnswered`` for another label."""
    if answer is None or answer.lease_token != token or answer.reviewer != caller.name:
        return False
    if answer.label != label:
        raise AlreadyAnswered
    return True


def check_access(entry: Entry, caller: Caller, reviewers: frozenset[str]) -> None:
    """Let see an item only who holds it, who answered it (``reviewers``), or a lead. Raises ``NoSuchItem``: others learn nothing."""
    if not (caller.is_lead or entry.leased_by == caller.name or caller.name in reviewers):
        raise NoSuchItem


def merged_record(item: bytes, answer: Answer) -> bytes:
    """Complete an item with its review; the same item and answer give the same bytes."""
    merged = Item.FromString(item)
    review = Review(
        outcome=Review.OUTCOME_UNDECIDABLE if answer.label is None else Review.OUTCOME_LABELLED,
        label=answer.label or "",
        reviewer=answer.reviewer,
        revision=answer.revision,
        comment=answer.comment,
        seconds=answer.seconds,
        suggestion_shown=answer.suggestion_shown,
    )
    review.reviewed_at.FromDatetime(datetime.fromtimestamp(answer.answered_at, UTC))
    merged.review.CopyFrom(review)
    return merged.SerializeToString(deterministic=True)
