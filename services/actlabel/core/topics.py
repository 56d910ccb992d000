"""Names of topics and consumer groups: stage first, so that one prefix serves the access rules and the pattern of a stage."""

from typing import Final

ITEMS: Final = "items"
ANNOTATED: Final = "annotated"
CRITIQUED: Final = "critiqued"
REVIEW: Final = "review"
MERGED: Final = "merged"
DEAD: Final = "dead"
KINDS: Final = (ITEMS, ANNOTATED, CRITIQUED, REVIEW, MERGED, DEAD)

MERGED_JSON: Final = "merged-json"
"""The mirror of ``merged`` as JSON; there for campaigns whose file asks for it."""

ANNOTATOR: Final = "annotator"
CRITICIZER: Final = "criticizer"
SAMPLER: Final = "sampler"
REVIEW_GATEWAY: Final = "review-gateway"
SOURCE: Final = "source"
MIRROR: Final = "mirror"
READS: Final = {ANNOTATOR: ITEMS, CRITICIZER: ANNOTATED, SAMPLER: CRITIQUED, REVIEW_GATEWAY: REVIEW}
"""The kind of topic that each stage reads."""


def topic(kind: str, campaign_uid: str) -> str:
    """Name the topic of one kind of one campaign, ``actlabel.<kind>.<uid>``."""
    return f"{prefix(kind)}{campaign_uid}"


def prefix(kind: str) -> str:
    """Begin the names of all topics of this kind."""
    return f"actlabel.{kind}."


def campaign_of(topic_name: str) -> str:
    """Name the campaign uid of a topic of ours."""
    return topic_name.rpartition(".")[2]


def group(stage: str) -> str:
    """Name the consumer group of a stage, over all campaigns."""
    return f"actlabel.{stage}"


def campaign_group(stage: str, campaign_uid: str) -> str:
    """Name the consumer group that a stage has for one campaign alone."""
    return f"actlabel.{stage}.{campaign_uid}"
