"""Rows of the queue as the domain sees them."""

from collections.abc import Mapping
from typing import Final

from actlabel.review_gateway.domain import Answer, Entry, State
from actlabel.review_gateway.refusals import NoSuchItem
from actlabel.runtime.database.port import Row, Session, load_statements

_COLUMNS: Final = (
    "uid",
    "item_id",
    "content_revision",
    "draw",
    "lease_token",
    "leased_by",
    "leased_at",
    "leased_until",
    "revision",
    "floor_revision",
    "started_revision",
    "published_draw",
)


def statements() -> Mapping[str, str]:
    """Read this room's SQL."""
    return load_statements("actlabel.review_gateway")


def entry_of(row: Row) -> Entry:
    """Read a row of ``review``."""
    return Entry(item=bytes(row["item"]), state=State(row["state"]), **{name: row[name] for name in _COLUMNS})


async def read_entry(session: Session, sql: Mapping[str, str], uid: str, item_id: str, *, lock: bool = False) -> Entry:
    """Return one row; ``lock`` holds it until the transaction ends. Raises ``NoSuchItem``."""
    rows = await session.fetch(sql["entry_locked" if lock else "entry"], uid, item_id)
    if not rows:
        raise NoSuchItem
    return entry_of(rows[0])


async def read_answer(session: Session, sql: Mapping[str, str], entry: Entry) -> Answer | None:
    """Return the newest answer about the present content, if there is one."""
    if not entry.is_answered:
        return None
    row = (await session.fetch(sql["answer"], entry.uid, entry.item_id, entry.revision))[0]
    return Answer(
        revision=row["revision"],
        label=row["label"],
        comment=row["comment"],
        reviewer=row["reviewer"],
        seconds=row["seconds"],
        suggestion_shown=bool(row["suggestion_shown"]),
        answered_at=row["answered_at"],
        lease_token=row["lease_token"],
    )
