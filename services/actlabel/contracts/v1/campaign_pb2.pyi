from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class Campaign(_message.Message):
    __slots__ = ("uid", "name", "version", "document")
    UID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    DOCUMENT_FIELD_NUMBER: _ClassVar[int]
    uid: str
    name: str
    version: int
    document: bytes
    def __init__(self, uid: _Optional[str] = ..., name: _Optional[str] = ..., version: _Optional[int] = ..., document: _Optional[bytes] = ...) -> None: ...

class CampaignChoice(_message.Message):
    __slots__ = ("name", "document_yaml")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DOCUMENT_YAML_FIELD_NUMBER: _ClassVar[int]
    name: str
    document_yaml: str
    def __init__(self, name: _Optional[str] = ..., document_yaml: _Optional[str] = ...) -> None: ...
