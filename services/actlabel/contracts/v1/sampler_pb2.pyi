from actlabel.contracts.v1 import item_pb2 as _item_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class PlanRequest(_message.Message):
    __slots__ = ("error_probability", "budget", "rule", "audit_share", "beta")
    ERROR_PROBABILITY_FIELD_NUMBER: _ClassVar[int]
    BUDGET_FIELD_NUMBER: _ClassVar[int]
    RULE_FIELD_NUMBER: _ClassVar[int]
    AUDIT_SHARE_FIELD_NUMBER: _ClassVar[int]
    BETA_FIELD_NUMBER: _ClassVar[int]
    error_probability: _containers.RepeatedScalarFieldContainer[float]
    budget: int
    rule: str
    audit_share: float
    beta: float
    def __init__(self, error_probability: _Optional[_Iterable[float]] = ..., budget: _Optional[int] = ..., rule: _Optional[str] = ..., audit_share: _Optional[float] = ..., beta: _Optional[float] = ...) -> None: ...

class PlanResponse(_message.Message):
    __slots__ = ("inclusion_probability", "expected_error_recall", "random_error_recall", "interval_note")
    INCLUSION_PROBABILITY_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_ERROR_RECALL_FIELD_NUMBER: _ClassVar[int]
    RANDOM_ERROR_RECALL_FIELD_NUMBER: _ClassVar[int]
    INTERVAL_NOTE_FIELD_NUMBER: _ClassVar[int]
    inclusion_probability: _containers.RepeatedScalarFieldContainer[float]
    expected_error_recall: float
    random_error_recall: float
    interval_note: str
    def __init__(self, inclusion_probability: _Optional[_Iterable[float]] = ..., expected_error_recall: _Optional[float] = ..., random_error_recall: _Optional[float] = ..., interval_note: _Optional[str] = ...) -> None: ...

class GetBudgetRequest(_message.Message):
    __slots__ = ("campaign",)
    CAMPAIGN_FIELD_NUMBER: _ClassVar[int]
    campaign: str
    def __init__(self, campaign: _Optional[str] = ...) -> None: ...

class GetBudgetResponse(_message.Message):
    __slots__ = ("budget", "taken", "answered", "draw")
    BUDGET_FIELD_NUMBER: _ClassVar[int]
    TAKEN_FIELD_NUMBER: _ClassVar[int]
    ANSWERED_FIELD_NUMBER: _ClassVar[int]
    DRAW_FIELD_NUMBER: _ClassVar[int]
    budget: int
    taken: int
    answered: int
    draw: int
    def __init__(self, budget: _Optional[int] = ..., taken: _Optional[int] = ..., answered: _Optional[int] = ..., draw: _Optional[int] = ...) -> None: ...

class ExplainRequest(_message.Message):
    __slots__ = ("campaign", "item_id")
    CAMPAIGN_FIELD_NUMBER: _ClassVar[int]
    ITEM_ID_FIELD_NUMBER: _ClassVar[int]
    campaign: str
    item_id: str
    def __init__(self, campaign: _Optional[str] = ..., item_id: _Optional[str] = ...) -> None: ...

class ExplainResponse(_message.Message):
    __slots__ = ("decision", "explanation")
    DECISION_FIELD_NUMBER: _ClassVar[int]
    EXPLANATION_FIELD_NUMBER: _ClassVar[int]
    decision: _item_pb2.Decision
    explanation: str
    def __init__(self, decision: _Optional[_Union[_item_pb2.Decision, _Mapping]] = ..., explanation: _Optional[str] = ...) -> None: ...
