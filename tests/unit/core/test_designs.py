"""The design is exact: budget to the item, floors kept, order irrelevant, raises drop nothing."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from actlabel.core.designs import (
    KeptCells,
    block_quota,
    cut_offs,
    design_block,
    design_exact,
    quantise,
    select,
)
from actlabel.core.errors import UserError
from actlabel.core.random_numbers import random_number, random_numbers
from actlabel.core.rules import RULES, Rule

KEY = b"k" * 32


@st.composite
def populations(draw, largest=900):
    """Error probabilities with heavy ties, with few levels or many, including populations of one level."""
    items = draw(st.integers(1, largest))
    levels = draw(st.sampled_from([1, 2, 5, 15, 400, 65537]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return rng.choice(rng.integers(0, 65537, levels), items).astype(np.int64)


rules = st.builds(Rule, name=st.sampled_from(RULES), beta=st.floats(0.5, 60))
audits = st.sampled_from([0.0, 0.01, 0.05, 0.1, 0.3, 0.7])


def names(items):
    return [f"item-{number}" for number in range(items)]


def exact_or_refused(epsilon, **options):
    try:
        return design_exact(epsilon, **options)
    except UserError as error:
        assert "lower audit_share" in str(error)  # noqa: PT017 - the only refusal that a sensible input may meet
        assume(False)


@given(populations(), rules, audits, st.floats(0, 1))
@settings(max_examples=300, deadline=None)
def test_exact_design_keeps_budget_floors_and_probabilities(epsilon, rule, audit_share, share):
    budget = int(share * len(epsilon))
    design = exact_or_refused(epsilon, budget=budget, audit_share=audit_share, rule=rule)
    assert design.selected.sum() == budget
    assert (np.bincount(design.cell, minlength=len(design.size)) == design.size).all()
    assert (design.selected <= design.size).all()
    assert (np.diff(design.lowest) < 0).all()
    assert ((design.lowest[design.cell] <= epsilon) & (epsilon <= design.highest[design.cell])).all()
    pi = design.inclusion()
    assert pi.sum() == pytest.approx(budget)
    if audit_share and budget:
        floor = np.minimum(design.size, np.maximum(4, np.ceil(audit_share * budget * design.size / len(epsilon) - 1e-9)))
        assert (design.selected >= floor).all()
        assert ((pi > 0) & (pi <= 1)).all()


@given(populations(), st.floats(0, 1))
@settings(max_examples=200, deadline=None)
def test_pure_threshold_takes_the_top_and_samples_only_the_tied_level(epsilon, share):
    budget = max(1, int(share * len(epsilon)))
    pi = design_exact(epsilon, budget=budget, audit_share=0.0, rule=Rule()).inclusion()
    boundary = np.sort(epsilon)[::-1][budget - 1]
    tied = (epsilon == boundary).sum()
    above = (epsilon > boundary).sum()
    assert (pi[epsilon > boundary] == 1).all()
    assert (pi[epsilon < boundary] == 0).all()
    assert (pi[epsilon == boundary] == (budget - above) / tied).all()


@given(populations(largest=300), rules, audits, st.floats(0.01, 1), st.integers(0, 2**32 - 1))
@settings(max_examples=150, deadline=None)
def test_order_of_the_items_changes_nothing(epsilon, rule, audit_share, share, seed):
    budget = max(1, int(share * len(epsilon)))
    ids = names(len(epsilon))
    numbers = random_numbers(KEY, ids)
    numbers[: len(ids) // 2] = 7  # ties in the random number are broken by the id
    order = np.random.default_rng(seed).permutation(len(epsilon))
    shuffled_ids = [ids[item] for item in order]
    for make in (
        lambda values: exact_or_refused(values, budget=budget, audit_share=audit_share, rule=rule),
        lambda values: design_block(values, quota=budget, audit_share=audit_share, rule=rule),
    ):
        one, other = make(epsilon), make(epsilon[order])
        assert (one.cell[order] == other.cell).all()
        assert (one.selected == other.selected).all()
        assert (select(one, numbers, ids)[order] == select(other, numbers[order], shuffled_ids)).all()
        assert cut_offs(one, numbers, ids) == cut_offs(other, numbers[order], shuffled_ids)


@given(populations(), rules, audits, st.lists(st.floats(0.02, 1), min_size=2, max_size=4))
@settings(max_examples=200, deadline=None)
def test_raising_the_budget_keeps_the_cells_nested_and_drops_no_chosen_item(epsilon, rule, audit_share, shares):
    ids = names(len(epsilon))
    numbers = random_numbers(KEY, ids)
    kept, before, cells = None, np.zeros(len(ids), bool), None
    for budget in sorted(int(share * len(epsilon)) for share in shares):
        if kept is None:
            design = exact_or_refused(epsilon, budget=budget, audit_share=audit_share, rule=rule)
        else:
            design = exact_or_refused(epsilon, budget=budget, audit_share=audit_share, rule=rule, keep=kept)
            pairs = np.unique(np.stack([design.cell, cells]), axis=1)
            assert len(np.unique(pairs[0])) == pairs.shape[1]  # every new cell lies within one old cell
        chosen = select(design, numbers, ids)
        assert chosen.sum() == budget
        assert not (before & ~chosen).any()
        assert not (audit_share and budget and design.has_zero)
        kept, before, cells = design.kept, chosen, design.cell


@given(populations(), st.floats(0, 1), st.floats(0, 1))
@settings(max_examples=100, deadline=None)
def test_pure_threshold_is_nested_even_without_knowing_the_earlier_draw(epsilon, share, more):
    ids = names(len(epsilon))
    numbers = random_numbers(KEY, ids)
    budgets = sorted(int(part * len(epsilon)) for part in (share, more))
    small, large = (select(design_exact(epsilon, budget=b, audit_share=0.0, rule=Rule()), numbers, ids) for b in budgets)
    assert not (small & ~large).any()


@given(populations(), rules, audits, st.floats(0, 1))
@settings(max_examples=300, deadline=None)
def test_block_spends_its_quota_and_with_audit_leaves_no_zero(epsilon, rule, audit_share, share):
    quota = max(1, int(share * len(epsilon)))
    design = design_block(epsilon, quota=quota, audit_share=audit_share, rule=rule)
    assert design.selected.sum() == quota
    assert ((design.selected >= 0) & (design.selected <= design.size)).all()
    assert design.has_zero is bool((design.inclusion() == 0).any())
    if audit_share:
        assert not design.has_zero
    if audit_share and quota > 4:
        assert (design.selected >= np.minimum(design.size, 2)).all() or rule.name == "threshold"


@given(st.integers(0, 5000), st.integers(1, 10**6), st.lists(st.integers(1, 400), min_size=1, max_size=50))
def test_block_quotas_never_exceed_the_budget(budget, expected, blocks):
    taken = seen = 0
    for block in blocks:
        seen += block
        quota = block_quota(budget=budget, seen=seen, expected=expected, taken=taken)
        assert quota >= 0
        taken += quota
        assert taken == budget * min(seen, expected) // expected <= budget


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"budget": 1000}, "budget"),  # more reviews than items
        ({"budget": -1}, "budget"),
        ({"budget": 50, "audit_share": 1.5}, "audit_share"),
        ({"budget": 5, "audit_share": 1.0}, "lower audit_share"),  # floors of 4 in two cells
        ({"budget": 50, "epsilon": np.array([], dtype=np.int64)}, "no items"),
        ({"budget": 1, "epsilon": np.array([70000])}, "between 0 and 1"),
    ],
)
def test_senseless_input_is_refused_in_one_line(options, word):
    options = {"audit_share": 0.1, "rule": Rule(), "epsilon": np.repeat([0, 60000], 100), **options}
    epsilon = options.pop("epsilon")
    with pytest.raises(UserError, match=word) as caught:
        design_exact(epsilon, **options)
    assert "\n" not in str(caught.value)


def test_what_an_operator_mistypes_is_refused():
    with pytest.raises(UserError, match="not a sampling rule"):
        Rule(name="treshold")
    with pytest.raises(UserError, match="beta"):
        Rule(name="exponential", beta=float("nan"))
    with pytest.raises(UserError, match="number 2"):
        quantise(np.array([0.1, float("nan")]))
    with pytest.raises(UserError, match="waits"):
        design_block(np.array([1, 2]), quota=0, audit_share=0.1, rule=Rule())
    kept = KeptCells(lowest=np.array([0]), selected=np.array([3]))
    with pytest.raises(UserError, match="only raised"):
        design_exact(np.array([1, 2, 3, 4]), budget=2, audit_share=0.0, rule=Rule(), keep=kept)
    with pytest.raises(UserError, match="expected_items"):
        block_quota(budget=1, seen=1, expected=0, taken=0)


def test_quantise_rounds_and_clips():
    assert quantise(np.array([-1, 0, 0.5, 1, 2, 1e-6])).tolist() == [0, 0, 32768, 65536, 65536, 0]


def test_random_numbers_are_the_documented_hash():
    # printf %s stance_0 | openssl dgst -sha256 -mac HMAC -macopt key:secret
    assert random_number(b"secret", "stance_0") == 0xC8285F349845874E
    ids = ["a", "ä", "item-1", ""]
    assert random_numbers(b"secret", ids).tolist() == [random_number(b"secret", item_id) for item_id in ids]
    assert random_numbers(b"secret", []).shape == (0,)
    assert random_number(b"other", "a") != random_number(b"secret", "a")


def test_cut_off_separates_the_selected_from_the_rest():
    epsilon = np.repeat([0, 20000, 60000], 40)
    ids = names(120)
    numbers = random_numbers(KEY, ids)
    design = design_exact(epsilon, budget=60, audit_share=0.0, rule=Rule())
    chosen, cuts = select(design, numbers, ids), cut_offs(design, numbers, ids)
    assert cuts[2] is None
    for item, cell in enumerate(design.cell):
        cut = cuts[cell]
        assert chosen[item] == (cut is not None and (int(numbers[item]), ids[item]) <= (cut.number, cut.item_id))
    with pytest.raises(ValueError, match="ids"):
        select(design, numbers, ids[:5])
