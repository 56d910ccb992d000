"""One record of a followed topic: its bytes into a checked record, or why it is none."""

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from actlabel.core.errors import DeadLetter, RetryLater, UserError
from actlabel.intake.decoders import Decoder
from actlabel.intake.fields import Fields
from actlabel.intake.mapping import mapped
from actlabel.intake.raw_record import RawRecord
from actlabel.intake.rows import Row
from actlabel.runtime.campaign_streams import RECORD_KEY, RECORD_PLACE, SourceFields
from actlabel.runtime.log import get_log
from actlabel.stream.handling import DEFECT
from actlabel.stream.port import Record

UNUSABLE: Final = "unusable"
_log = get_log(__name__)


class SourceReader:
    """Decodes and maps, by what the campaign file says."""

    def __init__(self, decoder: Decoder, fields: SourceFields) -> None:
        """``decoder`` is open."""
        self._decoder = decoder
        self._by = fields.id
        self._fields = Fields(id=fields.id, text=fields.text, image=fields.image, gold=fields.gold)

    async def read(self, record: Record) -> RawRecord:
        """Return the record, checked. Raises ``DeadLetter`` for one that cannot be used, ``RetryLater`` when a registry is out of reach."""
        try:
            columns = await self._decoder.decode(record.value)
            raw = mapped(Row(self._with_id(columns, record), place_of(record)), self._fields, None)
        except UserError as error:
            raise DeadLetter(UNUSABLE, str(error)) from error
        except (DeadLetter, RetryLater):
            raise
        except Exception as error:
            _log.exception("a record of a source failed in a way that it should not", topic=record.partition.topic)
            raise DeadLetter(DEFECT, f"{type(error).__name__}") from error
        if self._fields.image:
            await asyncio.sleep(0)  # images are decoded on this loop, which owes the group its heartbeats
        return raw

    def _with_id(self, columns: Mapping[str, Any], record: Record) -> Mapping[str, Any]:
        if self._by == RECORD_PLACE:
            return {**columns, RECORD_PLACE: "-".join(map(str, (*record.partition, record.offset)))}
        if self._by == RECORD_KEY:
            return {**columns, RECORD_KEY: _text_of(record.key)}
        return columns


def place_of(record: Record) -> str:
    """Say where a record stands, for messages."""
    return f"{record.partition.topic}/{record.partition.number} offset {record.offset}"


def _text_of(key: bytes) -> str:
    try:
        return key.decode()
    except UnicodeDecodeError as error:
        raise UserError("@key: the record's key is not UTF-8; name a field as id") from error
