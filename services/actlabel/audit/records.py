"""From the records of the topics to facts."""

from google.protobuf.message import DecodeError

from actlabel.audit.facts import Fact, Flag, Place, decision_digest, short_digest, source_of
from actlabel.contracts.v1.item_pb2 import DeadLetter as Letter
from actlabel.contracts.v1.item_pb2 import Item, Review
from actlabel.stream.port import Record

_SCALE = 1 << 16


def record_fact(place: Place, record: Record, *, uid: str, is_early: bool) -> Fact:
    """Return what one record of a topic says; nothing in it is trusted, so one that is no item of its key is ``UNREADABLE``."""
    flags = Flag.EARLY if is_early else 0
    if place == Place.LETTER:
        return _letter(record, flags)
    try:
        item = Item.FromString(record.value)
    except DecodeError:
        return _fact(place, record, flags | Flag.UNREADABLE)
    if item.campaign.uid != uid or item.id.encode() != record.key:
        return _fact(place, record, flags | Flag.UNREADABLE)
    return _item(place, record, item, flags)


def _item(place: Place, record: Record, item: Item, flags: int) -> Fact:
    decision = item.decision
    has_decision = item.HasField("decision")
    if has_decision:
        flags |= (Flag.SELECTED if decision.selected else 0) | (0 if decision.calibration_version else Flag.UNCALIBRATED)
    if item.HasField("review"):
        flags |= Flag.HUMAN
    return _fact(
        place,
        record,
        flags,
        revision=item.revision,
        draw=decision.draw,
        review=item.review.revision,
        annotation=short_digest(item.annotation.label, item.annotation.result_id) if item.HasField("annotation") else 0,
        critique=short_digest(item.critique.error_probability, item.critique.result_id) if item.HasField("critique") else 0,
        epsilon=decision.epsilon_q16 if has_decision else _quantised(item.critique.error_probability),
        human=_human(item.review) if item.HasField("review") else 0,
        decision=_decision(item) if has_decision else 0,
    )


def _quantised(probability: float) -> int:
    """Round as ``core.designs.quantise`` does, a number at a time; what is no probability was put aside by the sampler."""
    return round(probability * _SCALE) if 0.0 <= probability <= 1.0 else 0


def _decision(item: Item) -> int:
    decision = item.decision
    return decision_digest(
        draw=decision.draw,
        block=decision.block,
        cell=decision.cell,
        cell_selected=decision.cell_selected,
        cell_size=decision.cell_size,
        epsilon_q16=decision.epsilon_q16,
        selected=decision.selected,
    )


def _human(review: Review) -> int:
    return human_digest(None if review.outcome == Review.OUTCOME_UNDECIDABLE else review.label, review.reviewer)


def human_digest(label: str | None, reviewer: str) -> int:
    """Return 32 bits of an answer; never 0."""
    return short_digest(label, reviewer) or 1


def _letter(record: Record, flags: int) -> Fact:
    try:
        letter = Letter.FromString(record.value)
    except DecodeError:
        return _fact(Place.LETTER, record, flags | Flag.UNREADABLE)
    source = source_of(letter.topic)
    return Fact(Place.LETTER, flags, record.partition.number, _revision(letter), 0, 0, letter.offset, source, 0, 0, 0, 0, 0)


def _revision(letter: Letter) -> int:
    """Return the content revision that a letter is about; 0 where its bytes are no item, or stayed where they were."""
    try:
        return int(Item.FromString(letter.value).revision)
    except DecodeError:
        return 0


def _fact(
    place: Place,
    record: Record,
    flags: int,
    *,
    revision: int = 0,
    draw: int = 0,
    review: int = 0,
    annotation: int = 0,
    critique: int = 0,
    epsilon: int = 0,
    human: int = 0,
    decision: int = 0,
) -> Fact:
    return Fact(
        place, flags, record.partition.number, revision, draw, review, record.offset, 0, annotation, critique, epsilon, human, decision
    )
