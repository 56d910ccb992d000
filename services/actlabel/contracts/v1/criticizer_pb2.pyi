from actlabel.contracts.v1 import campaign_pb2 as _campaign_pb2
from actlabel.contracts.v1 import item_pb2 as _item_pb2
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class CriticizeRequest(_message.Message):
    __slots__ = ("campaign", "item")
    CAMPAIGN_FIELD_NUMBER: _ClassVar[int]
    ITEM_FIELD_NUMBER: _ClassVar[int]
    campaign: _campaign_pb2.CampaignChoice
    item: _item_pb2.Item
    def __init__(self, campaign: _Optional[_Union[_campaign_pb2.CampaignChoice, _Mapping]] = ..., item: _Optional[_Union[_item_pb2.Item, _Mapping]] = ...) -> None: ...

class CriticizeResponse(_message.Message):
    __slots__ = ("item",)
    ITEM_FIELD_NUMBER: _ClassVar[int]
    item: _item_pb2.Item
    def __init__(self, item: _Optional[_Union[_item_pb2.Item, _Mapping]] = ...) -> None: ...
