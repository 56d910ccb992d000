"""Records that aiokafka cannot read: those with a header whose name is not UTF-8, which any producer can write and the broker takes.

aiokafka fails on one together with all else that it was about to return, now and every time again. So what was asked for is read anew,
record by record, and in place of such a record comes an empty one, which the stage puts aside as it does with all that is no item.
"""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, Final

_WAIT_MS: Final = 100

UNREADABLE: Final = UnicodeDecodeError
"""What aiokafka raises then. Positions are not to be trusted afterwards: seek before reading on."""


async def one_by_one(client: Any, asked: Sequence[Any]) -> dict[Any, list[Any]]:
    """Read one record of one of these partitions; an unreadable one comes as an empty one. Nothing where nothing came within a moment."""
    for tp in asked:
        position = await client.position(tp)
        try:
            records: dict[Any, list[Any]] = await client.getmany(tp, timeout_ms=_WAIT_MS, max_records=1)
        except UNREADABLE:
            client.seek(tp, position + 1)
            return {tp: [_Unreadable(position)]}
        if records:
            return records
    return {}


def was_unreadable(records: dict[Any, list[Any]]) -> bool:
    """Say whether ``one_by_one`` has found one."""
    return any(isinstance(record, _Unreadable) for found in records.values() for record in found)


class _Unreadable(SimpleNamespace):
    def __init__(self, offset: int) -> None:
        super().__init__(offset=offset, key=b"", value=b"", headers=(), timestamp=0)
