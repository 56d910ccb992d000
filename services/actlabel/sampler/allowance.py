"""The human budget as a campaign states it, and what of it is due as a stream goes on. Pure."""

import math
from dataclasses import dataclass
from fractions import Fraction

from actlabel.core.designs import block_quota


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """A human budget as the campaign file states it: a count of reviews, or a share of the items."""

    count: int | None
    share: Fraction | None
    expected_items: int | None = None  # streaming with a count: over how many items it is spread

    @classmethod
    def parse(cls, budget: int | str, expected_items: int | None) -> "Allowance":
        """Read ``570`` or ``10%``; a share is exact, never a float."""
        if isinstance(budget, int):
            return cls(count=budget, share=None, expected_items=expected_items)
        return cls(count=None, share=Fraction(budget.rstrip(" %")) / 100)

    def of_batch(self, population: int, *, taken_elsewhere: int) -> int:
        """Return the reviews of one exact draw; a share is of the batch, a count is what other batches left of it (may be negative)."""
        if self.share is not None:
            return int(self.share * population)
        assert self.count is not None
        return min(self.count - taken_elsewhere, population)

    def due(self, seen: int, *, final_items: int | None) -> int:
        """Return the reviews that are due after ``seen`` items of a stream; ``final_items``: how many come in all, once that is known.

        One review of a share is held back until the last item, or the rest of a stream could be too few for a review of their own.
        """
        if self.share is not None:
            return int(self.share * seen) - (0 if _is_all(seen, final_items) else 1)
        assert self.count is not None
        return block_quota(budget=self.count, seen=seen, expected=final_items or self.expected_items or max(seen, 1), taken=0)

    def items_until(self, reviews: int, *, final_items: int | None) -> int | None:
        """Return how many items must be seen until so many ``reviews`` are due; None where they never will be."""
        if self.share is not None:
            before_the_end = math.ceil((reviews + 1) / self.share)
            at_the_end = max(final_items, math.ceil(reviews / self.share)) if final_items is not None else before_the_end
            return min(before_the_end, at_the_end)
        assert self.count is not None
        expected = final_items or self.expected_items
        if reviews > self.count or not expected:
            return None
        return -(-reviews * expected // self.count)


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockPlan:
    """What a stream may do now."""

    items: int  # the next block takes so many of those that wait; 0: none yet
    quota: int
    exhausted: bool = False  # the budget is used up: no item that may still come makes a review due


def least_block(allowance: Allowance, *, seen: int, taken: int, final_items: int | None) -> int | None:
    """Return how many items the next block of a stream needs for a review to be due; None where none ever will be."""
    enough = allowance.items_until(taken + 1, final_items=final_items)
    return max(1, enough - seen) if enough is not None else None


def plan_block(
    *, waiting: int, due_by_time: bool, block_items: int, allowance: Allowance, seen: int, taken: int, final_items: int | None
) -> BlockPlan:
    """Size the next block of a stream.

    It closes at ``block_items`` or by time, but never without a review: what waits then waits for more items. ``final_items``: how
    many come in all, where that is known. Once everything has come and no review is due for the rest, the budget is used up.
    """
    least = least_block(allowance, seen=seen, taken=taken, final_items=final_items)
    if least is None or waiting < least:
        nothing_more = least is None or _is_all(seen + waiting, final_items)
        return BlockPlan(items=0, quota=0, exhausted=waiting > 0 and nothing_more)
    if waiting < block_items and not due_by_time:
        return BlockPlan(items=0, quota=0)
    items = min(waiting, max(block_items, least))
    return BlockPlan(items=items, quota=min(items, allowance.due(seen + items, final_items=final_items) - taken))


def _is_all(items: int, final_items: int | None) -> bool:
    return final_items is not None and items >= final_items
