"""What processes that were killed had reserved: counted as if it were spent, until a person says what was.

Nothing here can say it by itself. The reservation bounds what the process spent since it last wrote its row; stored answers tell only what
was spent at least, for calls that were in flight, and answers that could not be used, left no row. The provider's bill knows.
"""

from dataclasses import dataclass

from actlabel.core.errors import UserError
from actlabel.runtime.clock import Clock
from actlabel.runtime.database.port import Database, load_statements

_ROUNDING_USD = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class Money:
    """What a campaign has spent and reserved, in dollars, over all its processes."""

    spent_usd: float  # as written by the processes, every few seconds
    held_usd: float  # reserved by processes that live
    lost_usd: float  # reserved by processes that ended without settling


async def read_money(database: Database, clock: Clock, uid: str) -> Money:
    """Look once."""
    sql = load_statements("actlabel.chat")
    sums = (await database.fetch(sql["spent"], uid))[0]
    lost = sum(row["reserved_usd"] for row in await database.fetch(sql["lost_reservations"], uid, clock.now()))
    return Money(spent_usd=sums["spent"], held_usd=max(sums["reserved"] - lost, 0.0), lost_usd=lost)


async def cost_of_answers(database: Database, uid: str) -> float:
    """Sum what the stored answers of a campaign cost, in dollars: at least so much was spent."""
    return float((await database.fetch(load_statements("actlabel.chat")["answers_cost"], uid))[0]["answers"])


async def settle(database: Database, clock: Clock, uid: str, *, spent_usd: float) -> float:
    """Count ``spent_usd`` as what all lost reservations together came to, and free the rest; returns what was freed.

    Only for processes that are gone: one that was merely out of reach for a minute may go on to spend what it had reserved.
    Raises ``UserError`` when there is nothing to settle, or the amount is more than was reserved.
    """
    sql = load_statements("actlabel.chat")
    async with database.transaction() as session:
        await session.fetch(sql["lock_spend"], uid)
        rows = await session.fetch(sql["lost_reservations"], uid, clock.now())
        lost = sum(row["reserved_usd"] for row in rows)
        if not rows:
            raise UserError("no process of this campaign ended without settling; there is nothing to settle")
        if not 0.0 <= spent_usd <= lost + _ROUNDING_USD:
            raise UserError(f"--spent-usd: {spent_usd:g} is not between 0 and ${lost:.4f}, which is all that those processes could spend")
        for row in rows:
            await session.execute(sql["settle_owner"], uid, row["owner"], spent_usd * row["reserved_usd"] / lost)
    return max(float(lost) - spent_usd, 0.0)
