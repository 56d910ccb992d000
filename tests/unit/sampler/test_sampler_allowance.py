"""Budgets of a stream, as mathematics: whatever arrives in whatever portions, never more than allowed and nothing left out."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actlabel.sampler.allowance import Allowance, BlockPlan, least_block, plan_block

SHARES = st.integers(1, 1000).map(lambda tenths: f"{tenths / 10}%")


@pytest.mark.parametrize(
    ("budget", "share"),
    [
        ("10%", Fraction(1, 10)),
        ("0.1 %", Fraction(1, 1000)),
        ("29%", Fraction(29, 100)),  # 0.29 as a float times 100 is 28.999…
        ("100%", Fraction(1)),
    ],
)
def test_a_share_is_exact(budget: str, share: Fraction) -> None:
    assert Allowance.parse(budget, None).share == share


def _run(allowance: Allowance, portions: list[int], *, block_items: int, sealed: bool) -> tuple[list[BlockPlan], int]:
    """Feed portions of arrivals; after the last, time closes what it can. Returns the blocks and how many items still wait."""
    total, waiting, seen, taken = sum(portions), 0, 0, 0
    blocks: list[BlockPlan] = []
    final = total if sealed else None
    for arrived, by_time in [*((portion, False) for portion in portions), (0, True)]:
        waiting += arrived
        while True:
            plan = plan_block(
                waiting=waiting,
                due_by_time=by_time,
                block_items=block_items,
                allowance=allowance,
                seen=seen,
                taken=taken,
                final_items=final,
            )
            if not plan.items:
                break
            blocks.append(plan)
            waiting, seen, taken = waiting - plan.items, seen + plan.items, taken + plan.quota
    return blocks, waiting


@given(portions=st.lists(st.integers(1, 60), min_size=1, max_size=20), block_items=st.integers(8, 64), budget=SHARES, sealed=st.booleans())
def test_a_share_is_never_exceeded_and_spent_in_full_where_the_end_is_known(
    portions: list[int], block_items: int, budget: str, sealed: bool
) -> None:
    allowance = Allowance.parse(budget, None)
    assert allowance.share is not None
    blocks, waiting = _run(allowance, portions, block_items=block_items, sealed=sealed)
    seen = taken = 0
    for block in blocks:
        seen, taken = seen + block.items, taken + block.quota
        assert 1 <= block.quota <= block.items
        assert taken <= allowance.share * seen
    whole = int(allowance.share * sum(portions))
    if sealed:
        assert waiting == (0 if whole else sum(portions))
    if sealed and waiting == 0 and max(b.items for b in blocks) <= 64:
        assert taken == whole or blocks[-1].quota == blocks[-1].items


@given(portions=st.lists(st.integers(1, 60), min_size=1, max_size=20), block_items=st.integers(8, 64), count=st.integers(1, 400))
def test_a_count_over_the_expected_items_is_spent_in_full(portions: list[int], block_items: int, count: int) -> None:
    total = sum(portions)
    count = min(count, total)
    blocks, waiting = _run(Allowance.parse(count, total), portions, block_items=block_items, sealed=False)
    assert waiting == 0
    assert sum(block.quota for block in blocks) == count
    assert min(block.quota for block in blocks) >= 1


@given(
    budget=st.one_of(SHARES, st.integers(0, 50)),
    seen=st.integers(0, 300),
    taken=st.integers(0, 60),
    final=st.one_of(st.none(), st.integers(1, 300)),
    waiting=st.integers(0, 400),
)
def test_least_block_is_the_least(budget: int | str, seen: int, taken: int, final: int | None, waiting: int) -> None:
    """By the definition: the first number of items after which one more review is due than was taken."""
    allowance = Allowance.parse(budget, 100)
    least = least_block(allowance, seen=seen, taken=taken, final_items=final)
    due = [allowance.due(seen + items, final_items=final) for items in range(1, waiting + 1)]
    found = next((items for items, reviews in enumerate(due, 1) if reviews > taken), None)
    if found is not None:
        assert least == found
    else:
        assert least is None or least > waiting


@pytest.mark.parametrize(
    ("budget", "expected", "seen", "taken", "final", "exhausted"),
    [
        (8, 40, 40, 8, None, True),  # the count is spent
        (8, 40, 20, 4, None, False),  # more is due as more items come
        ("10%", None, 20, 2, None, False),  # a share grows with the stream
        ("10%", None, 90, 9, 95, True),  # sealed: 95 items come in all, and 10 % of them are 9
        ("10%", None, 20, 2, 95, False),  # sealed, but more are on their way
        (0, 40, 0, 0, None, True),
    ],
)
def test_when_a_budget_is_used_up(
    budget: int | str, expected: int | None, seen: int, taken: int, final: int | None, exhausted: bool
) -> None:
    plan = plan_block(
        waiting=5,
        due_by_time=True,
        block_items=64,
        allowance=Allowance.parse(budget, expected),
        seen=seen,
        taken=taken,
        final_items=final,
    )
    assert plan == BlockPlan(items=0, quota=0, exhausted=exhausted) or (plan.items and not exhausted)


def test_nobody_waiting_is_not_a_budget_used_up() -> None:
    plan = plan_block(waiting=0, due_by_time=True, block_items=8, allowance=Allowance.parse(0, 1), seen=9, taken=0, final_items=None)
    assert plan == BlockPlan(items=0, quota=0)
