import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class CampaignRef(_message.Message):
    __slots__ = ("uid", "version")
    UID_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    uid: str
    version: int
    def __init__(self, uid: _Optional[str] = ..., version: _Optional[int] = ...) -> None: ...

class Item(_message.Message):
    __slots__ = ("id", "campaign", "batch", "revision", "created_at", "content", "annotation", "critique", "decision", "review")
    ID_FIELD_NUMBER: _ClassVar[int]
    CAMPAIGN_FIELD_NUMBER: _ClassVar[int]
    BATCH_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    ANNOTATION_FIELD_NUMBER: _ClassVar[int]
    CRITIQUE_FIELD_NUMBER: _ClassVar[int]
    DECISION_FIELD_NUMBER: _ClassVar[int]
    REVIEW_FIELD_NUMBER: _ClassVar[int]
    id: str
    campaign: CampaignRef
    batch: int
    revision: int
    created_at: _timestamp_pb2.Timestamp
    content: Content
    annotation: Annotation
    critique: Critique
    decision: Decision
    review: Review
    def __init__(self, id: _Optional[str] = ..., campaign: _Optional[_Union[CampaignRef, _Mapping]] = ..., batch: _Optional[int] = ..., revision: _Optional[int] = ..., created_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., content: _Optional[_Union[Content, _Mapping]] = ..., annotation: _Optional[_Union[Annotation, _Mapping]] = ..., critique: _Optional[_Union[Critique, _Mapping]] = ..., decision: _Optional[_Union[Decision, _Mapping]] = ..., review: _Optional[_Union[Review, _Mapping]] = ...) -> None: ...

class Content(_message.Message):
    __slots__ = ("parts", "sha256", "metadata")
    class MetadataEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    PARTS_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    parts: _containers.RepeatedCompositeFieldContainer[Part]
    sha256: bytes
    metadata: _containers.ScalarMap[str, str]
    def __init__(self, parts: _Optional[_Iterable[_Union[Part, _Mapping]]] = ..., sha256: _Optional[bytes] = ..., metadata: _Optional[_Mapping[str, str]] = ...) -> None: ...

class Part(_message.Message):
    __slots__ = ("name", "text", "media")
    NAME_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    MEDIA_FIELD_NUMBER: _ClassVar[int]
    name: str
    text: str
    media: Media
    def __init__(self, name: _Optional[str] = ..., text: _Optional[str] = ..., media: _Optional[_Union[Media, _Mapping]] = ...) -> None: ...

class Media(_message.Message):
    __slots__ = ("mime_type", "sha256", "size_bytes", "inline", "uri")
    MIME_TYPE_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    INLINE_FIELD_NUMBER: _ClassVar[int]
    URI_FIELD_NUMBER: _ClassVar[int]
    mime_type: str
    sha256: bytes
    size_bytes: int
    inline: bytes
    uri: str
    def __init__(self, mime_type: _Optional[str] = ..., sha256: _Optional[bytes] = ..., size_bytes: _Optional[int] = ..., inline: _Optional[bytes] = ..., uri: _Optional[str] = ...) -> None: ...

class Usage(_message.Message):
    __slots__ = ("input_tokens", "output_tokens", "cost_usd", "calls")
    INPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    COST_USD_FIELD_NUMBER: _ClassVar[int]
    CALLS_FIELD_NUMBER: _ClassVar[int]
    input_tokens: int
    output_tokens: int
    cost_usd: float
    calls: int
    def __init__(self, input_tokens: _Optional[int] = ..., output_tokens: _Optional[int] = ..., cost_usd: _Optional[float] = ..., calls: _Optional[int] = ...) -> None: ...

class Annotation(_message.Message):
    __slots__ = ("label", "rationale", "model", "strategy", "result_id", "usage", "created_at")
    LABEL_FIELD_NUMBER: _ClassVar[int]
    RATIONALE_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    STRATEGY_FIELD_NUMBER: _ClassVar[int]
    RESULT_ID_FIELD_NUMBER: _ClassVar[int]
    USAGE_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    label: str
    rationale: str
    model: str
    strategy: str
    result_id: str
    usage: Usage
    created_at: _timestamp_pb2.Timestamp
    def __init__(self, label: _Optional[str] = ..., rationale: _Optional[str] = ..., model: _Optional[str] = ..., strategy: _Optional[str] = ..., result_id: _Optional[str] = ..., usage: _Optional[_Union[Usage, _Mapping]] = ..., created_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class Critique(_message.Message):
    __slots__ = ("error_probability", "suggested_label", "reason", "evidence", "model", "strategy", "result_id", "usage", "created_at")
    ERROR_PROBABILITY_FIELD_NUMBER: _ClassVar[int]
    SUGGESTED_LABEL_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    EVIDENCE_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    STRATEGY_FIELD_NUMBER: _ClassVar[int]
    RESULT_ID_FIELD_NUMBER: _ClassVar[int]
    USAGE_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    error_probability: float
    suggested_label: str
    reason: str
    evidence: _containers.RepeatedScalarFieldContainer[str]
    model: str
    strategy: str
    result_id: str
    usage: Usage
    created_at: _timestamp_pb2.Timestamp
    def __init__(self, error_probability: _Optional[float] = ..., suggested_label: _Optional[str] = ..., reason: _Optional[str] = ..., evidence: _Optional[_Iterable[str]] = ..., model: _Optional[str] = ..., strategy: _Optional[str] = ..., result_id: _Optional[str] = ..., usage: _Optional[_Union[Usage, _Mapping]] = ..., created_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class Decision(_message.Message):
    __slots__ = ("draw", "rule", "epsilon_q16", "cell", "cell_selected", "cell_size", "selected", "calibration_version", "block")
    DRAW_FIELD_NUMBER: _ClassVar[int]
    RULE_FIELD_NUMBER: _ClassVar[int]
    EPSILON_Q16_FIELD_NUMBER: _ClassVar[int]
    CELL_FIELD_NUMBER: _ClassVar[int]
    CELL_SELECTED_FIELD_NUMBER: _ClassVar[int]
    CELL_SIZE_FIELD_NUMBER: _ClassVar[int]
    SELECTED_FIELD_NUMBER: _ClassVar[int]
    CALIBRATION_VERSION_FIELD_NUMBER: _ClassVar[int]
    BLOCK_FIELD_NUMBER: _ClassVar[int]
    draw: int
    rule: str
    epsilon_q16: int
    cell: int
    cell_selected: int
    cell_size: int
    selected: bool
    calibration_version: int
    block: int
    def __init__(self, draw: _Optional[int] = ..., rule: _Optional[str] = ..., epsilon_q16: _Optional[int] = ..., cell: _Optional[int] = ..., cell_selected: _Optional[int] = ..., cell_size: _Optional[int] = ..., selected: _Optional[bool] = ..., calibration_version: _Optional[int] = ..., block: _Optional[int] = ...) -> None: ...

class Review(_message.Message):
    __slots__ = ("outcome", "label", "reviewer", "revision", "comment", "seconds", "suggestion_shown", "reviewed_at")
    class Outcome(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        OUTCOME_UNSPECIFIED: _ClassVar[Review.Outcome]
        OUTCOME_LABELLED: _ClassVar[Review.Outcome]
        OUTCOME_UNDECIDABLE: _ClassVar[Review.Outcome]
    OUTCOME_UNSPECIFIED: Review.Outcome
    OUTCOME_LABELLED: Review.Outcome
    OUTCOME_UNDECIDABLE: Review.Outcome
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    REVIEWER_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    COMMENT_FIELD_NUMBER: _ClassVar[int]
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    SUGGESTION_SHOWN_FIELD_NUMBER: _ClassVar[int]
    REVIEWED_AT_FIELD_NUMBER: _ClassVar[int]
    outcome: Review.Outcome
    label: str
    reviewer: str
    revision: int
    comment: str
    seconds: float
    suggestion_shown: bool
    reviewed_at: _timestamp_pb2.Timestamp
    def __init__(self, outcome: _Optional[_Union[Review.Outcome, str]] = ..., label: _Optional[str] = ..., reviewer: _Optional[str] = ..., revision: _Optional[int] = ..., comment: _Optional[str] = ..., seconds: _Optional[float] = ..., suggestion_shown: _Optional[bool] = ..., reviewed_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class DeadLetter(_message.Message):
    __slots__ = ("campaign", "item_id", "stage", "reason", "detail", "topic", "partition", "offset", "key", "value", "created_at")
    CAMPAIGN_FIELD_NUMBER: _ClassVar[int]
    ITEM_ID_FIELD_NUMBER: _ClassVar[int]
    STAGE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    campaign: CampaignRef
    item_id: str
    stage: str
    reason: str
    detail: str
    topic: str
    partition: int
    offset: int
    key: bytes
    value: bytes
    created_at: _timestamp_pb2.Timestamp
    def __init__(self, campaign: _Optional[_Union[CampaignRef, _Mapping]] = ..., item_id: _Optional[str] = ..., stage: _Optional[str] = ..., reason: _Optional[str] = ..., detail: _Optional[str] = ..., topic: _Optional[str] = ..., partition: _Optional[int] = ..., offset: _Optional[int] = ..., key: _Optional[bytes] = ..., value: _Optional[bytes] = ..., created_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...
