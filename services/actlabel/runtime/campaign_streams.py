"""The parts of a campaign file that name streams of other people: a topic to follow, and a mirror for those who know nothing of us."""

from pathlib import Path
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

RECORD_KEY: Final = "@key"
RECORD_PLACE: Final = "@place"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True)


class SourceFields(_Strict):
    """Which fields of a record mean what; ``order.text`` is ``text`` inside ``order``. The rest becomes metadata, which no model sees."""

    id: str = Field(
        RECORD_PLACE, min_length=1, description="a field; @key: the record's key; @place: <topic>-<partition>-<offset>, each record an item"
    )
    text: tuple[str, ...] = Field(("text",), description="parts in reading order; those that a record lacks are left out")
    image: tuple[str, ...] = Field((), description="bytes, base64 or a data URL; nothing is fetched from addresses that records name")
    gold: str | None = Field(None, description="the true label, for evaluation only")

    @model_validator(mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        """Take ``text: body`` and ``text: [title, body]`` alike."""
        if not isinstance(value, dict):
            return value
        return {key: [inner] if key in {"text", "image"} and isinstance(inner, str) else inner for key, inner in value.items()}

    @model_validator(mode="after")
    def _some_content(self) -> "SourceFields":
        if not self.text and not self.image:
            raise ValueError("text and image are both empty; name at least one field of content")
        return self


class Source(_Strict):
    """An existing Kafka topic whose records become items, for ever; `actlabel serve source` follows it with the group
    ``actlabel.source.<uid>``."""

    topic: str = Field(pattern=r"^[A-Za-z0-9._-]{1,249}$")
    servers: str | None = Field(
        None,
        pattern=r"^(kafka[a-z_+]*://)?\S+:\d+(\?\S+)?$",
        description="another Kafka than ours, written as ACTLABEL_STREAM is, its secrets in files; none: ours",
    )
    format: Literal["json", "avro", "protobuf"] = "json"
    schema_registry: str | None = Field(
        None, pattern=r"^https?://[^\s]+$", description="avro: where schemas are asked for, by their number"
    )
    schema_registry_auth_file: Path | None = Field(None, description="a file that holds user:password for the registry")
    descriptor_file: Path | None = Field(None, description="protobuf: made by protoc --include_imports --descriptor_set_out=FILE")
    message: str | None = Field(None, description="protobuf: the full name of the message, package included")
    fields: SourceFields = SourceFields()

    @model_validator(mode="after")
    def _complete(self) -> "Source":
        if self.format == "avro" and self.schema_registry is None:
            raise ValueError("format avro needs schema_registry, the address of the Schema Registry")
        if self.format == "protobuf" and (self.descriptor_file is None or self.message is None):
            raise ValueError("format protobuf needs descriptor_file and message")
        return self


class Mirror(_Strict):
    """A JSON copy of ``merged`` on the topic ``actlabel.merged-json.<uid>``, kept by `actlabel serve mirror`."""

    content: bool = Field(True, description="whether records carry the text and the images, or only ids and labels")
