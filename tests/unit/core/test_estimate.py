"""The interval of label accuracy covers the truth, or says why there is none."""

import numpy as np
import pytest
from scipy.stats import t as scipy_t

from actlabel.core.designs import block_quota, design_block, design_exact, quantise, select
from actlabel.core.estimate import Tally, accuracy_interval, tally, wrong_labels
from actlabel.core.intervals import Interval, NoInterval, proportion
from actlabel.core.random_numbers import random_numbers
from actlabel.core.rules import Rule
from actlabel.core.student_t import t_quantile

CAMPAIGNS = 2000
LEAST_COVERED = 1870


def critic(kind, stance):
    """Error probabilities and truth of one population."""
    rng = np.random.default_rng(11)
    if kind == "stance":
        return stance.error_probability, stance.wrong
    if kind == "inverted":
        return 1 - stance.error_probability, stance.wrong
    if kind == "noise":
        return rng.random(len(stance.wrong)), stance.wrong
    wrong = rng.random(3000) < (0.25 if kind == "strong" else 0.03)
    return np.where(wrong, rng.beta(8, 2, 3000), rng.beta(1, 12, 3000)), wrong


def campaigns(design, wrong, seed=0):
    """Errors found per cell in 2,000 campaigns: within a cell selection is simple random sampling, so the count is hypergeometric."""
    errors = np.bincount(design.cell, weights=wrong).astype(int)
    return np.random.default_rng(seed).hypergeometric(errors, design.size - errors, design.selected, size=(CAMPAIGNS, len(errors)))


SETTINGS = [
    # critic, budget share, audit share, rule
    ("stance", 0.25, 0.1, "threshold"),
    ("stance", 0.25, 0.1, "exponential"),
    ("stance", 0.25, 0.2, "normalization"),
    ("stance", 0.4, 0.3, "threshold"),
    ("stance", 0.15, 1.0, "uniform"),
    ("inverted", 0.25, 0.1, "threshold"),
    ("inverted", 0.4, 0.3, "normalization"),
    ("noise", 0.25, 0.1, "threshold"),
    ("noise", 0.4, 0.3, "exponential"),
    ("strong", 0.25, 0.1, "threshold"),  # fell to .51 without the cap on the effective size
    ("strong", 0.15, 0.1, "exponential"),
    ("rare", 0.25, 0.1, "threshold"),
]


@pytest.mark.parametrize(("kind", "budget_share", "audit_share", "rule"), SETTINGS)
def test_interval_covers_in_1870_of_2000_campaigns(stance, kind, budget_share, audit_share, rule):
    epsilon, wrong = critic(kind, stance)
    budget = int(budget_share * len(wrong))
    share = audit_share if rule != "uniform" else 0.1
    design = design_exact(quantise(epsilon), budget=budget, audit_share=share, rule=Rule(name=rule))
    found = campaigns(design, wrong)
    low, high, estimate = wrong_labels(Tally(size=design.size, selected=design.selected, wrong=found[0]), found)
    covered = ((low <= wrong.sum() + 1e-9) & (wrong.sum() <= high + 1e-9)).sum()
    assert covered >= LEAST_COVERED
    assert estimate.mean() == pytest.approx(wrong.sum(), abs=5 * estimate.std() / np.sqrt(CAMPAIGNS) + 1e-9)  # unbiased
    assert ((high - low) < 0.35 * len(wrong)).all()  # and it says something


def test_interval_covers_when_the_draws_are_made_by_key(stance):
    """The same, through random numbers and selection of every item, in 2,000 keyed campaigns of 600 items."""
    rng = np.random.default_rng(3)
    items = rng.permutation(len(stance.wrong))[:600]
    epsilon, wrong, ids = quantise(stance.error_probability[items]), stance.wrong[items], [stance.ids[item] for item in items]
    design = design_exact(epsilon, budget=200, audit_share=0.2, rule=Rule())
    found = []
    for seed in range(CAMPAIGNS):
        chosen = select(design, random_numbers(seed.to_bytes(4, "big"), ids), ids)
        found.append(np.bincount(design.cell, weights=wrong & chosen, minlength=len(design.size)))
    low, high, _ = wrong_labels(Tally(size=design.size, selected=design.selected, wrong=np.array(found[0])), np.array(found))
    assert ((low <= wrong.sum()) & (wrong.sum() <= high)).sum() >= LEAST_COVERED


@pytest.mark.parametrize("audit_share", [0.1, 0.3])
def test_interval_covers_over_the_blocks_of_a_stream(stance, audit_share):
    order = np.random.default_rng(2).permutation(len(stance.wrong))
    epsilon, size, selected, found, taken = quantise(stance.error_probability), [], [], [], 0
    for start in range(0, len(order), 256):
        block = order[start : start + 256]
        quota = block_quota(budget=570, seen=start + len(block), expected=len(order), taken=taken)
        taken += quota
        design = design_block(epsilon[block], quota=quota, audit_share=audit_share, rule=Rule())
        size.append(design.size)
        selected.append(design.selected)
        found.append(campaigns(design, stance.wrong[block], seed=start))
    x = np.concatenate(found, axis=1)
    low, high, estimate = wrong_labels(Tally(size=np.concatenate(size), selected=np.concatenate(selected), wrong=x[0]), x)
    assert ((low <= stance.wrong.sum()) & (stance.wrong.sum() <= high)).sum() >= LEAST_COVERED
    assert estimate.mean() / len(order) == pytest.approx(stance.wrong.mean(), abs=0.002)


def counts(size=(100, 400), selected=(100, 40), wrong=(60, 4), unknown=()):
    return Tally(size=np.array(size), selected=np.array(selected), wrong=np.array(wrong), unknown=np.array(unknown, dtype=np.int64))


def test_formula_by_hand():
    """One cell in full and one in part, computed with pencil and paper from the definition."""
    interval = accuracy_interval(counts(), audit_reviews=40)
    n, p = 40, 4 / 40
    q = (n * p + 0.5) / (n + 1)
    shrunk = (4 + q) / 41
    g = (1 - 40 / 400) / 40
    v = g * shrunk * (1 - shrunk) * 41**2 / (40**2 + 41)
    effective = min(q * (1 - q) / v, 1 / g)
    t = scipy_t.ppf(0.975, 39)
    centre, scale = p + t**2 / (2 * effective), 1 + t**2 / effective
    half = t * np.sqrt(p * (1 - p) / effective + t**2 / (4 * effective**2))
    assert interval.estimate == pytest.approx(1 - (60 + 400 * p) / 500)
    assert interval.low == pytest.approx(1 - (60 + 400 * (centre + half) / scale) / 500)
    assert interval.high == pytest.approx(1 - (60 + 400 * (centre - half) / scale) / 500)


def test_merged_accuracy_subtracts_what_review_corrected():
    machine, merged = (accuracy_interval(counts(), audit_reviews=40, merged=m) for m in (False, True))
    for name in ("low", "high", "estimate"):
        assert getattr(merged, name) == pytest.approx(getattr(machine, name) + 64 / 500)


@pytest.mark.parametrize(
    ("tallied", "audits", "word"),
    [
        (counts(selected=(100, 0), wrong=(60, 0)), 100, "400 items could never be chosen"),  # pure threshold
        (counts(), 29.4, "about 29 reviews; an interval needs 30"),
    ],
)
def test_no_interval_says_why(tallied, audits, word):
    answer = accuracy_interval(tallied, audit_reviews=audits)
    assert isinstance(answer, NoInterval)
    assert word in answer.reason


def test_everything_reviewed_is_known_exactly():
    everything = accuracy_interval(counts(selected=(100, 400), wrong=(60, 40)), audit_reviews=0)
    assert everything == Interval(low=0.8, high=0.8, estimate=0.8)


def test_answers_that_are_missing_widen_to_both_extremes():
    complete = accuracy_interval(counts(), audit_reviews=40)
    gaps = accuracy_interval(counts(wrong=(50, 3), unknown=(20, 8)), audit_reviews=40)
    worst = accuracy_interval(counts(wrong=(70, 11)), audit_reviews=40)
    best = accuracy_interval(counts(wrong=(50, 3)), audit_reviews=40)
    assert (gaps.low, gaps.high) == (worst.low, best.high)
    assert gaps.low < gaps.estimate < gaps.high
    assert gaps.high - gaps.low > complete.high - complete.low
    assert worst.estimate < gaps.estimate < best.estimate
    unanswered = accuracy_interval(counts(wrong=(0, 0), unknown=(100, 40)), audit_reviews=40)
    assert unanswered.low < 0.05
    assert unanswered.high > 0.9


def test_tally_counts_by_cell_in_any_order():
    cell = np.array([7, 3, 7, 3, 7])
    size, selected = np.where(cell == 7, 3, 2), np.where(cell == 7, 2, 1)
    wrong, unknown = np.array([1, 0, 0, 1, 0], bool), np.array([0, 0, 1, 0, 0], bool)
    answer = tally(cell, size=size, selected=selected, wrong=wrong, unknown=unknown)
    assert (answer.size.tolist(), answer.selected.tolist()) == ([2, 3], [1, 2])
    assert (answer.wrong.tolist(), answer.unknown.tolist()) == ([1, 1], [0, 1])


def test_t_quantile_agrees_with_scipy():
    degrees = np.concatenate([np.logspace(-0.3, 6.9, 300), [1, 2, 3, 1e8]]).reshape(4, -1)
    for probability in (0.9, 0.975, 0.995):
        assert t_quantile(probability, degrees) == pytest.approx(scipy_t.ppf(probability, degrees), rel=5e-8)
    assert t_quantile(0.975, np.float64(5)) == pytest.approx(2.5705818356)


def test_proportion_is_wilsons():
    assert proportion(0, 10) == Interval(low=pytest.approx(0.0, abs=1e-12), high=pytest.approx(0.27753, abs=1e-5), estimate=0.0)
    assert proportion(90, 100) == Interval(low=pytest.approx(0.82563, abs=1e-5), high=pytest.approx(0.94477, abs=1e-5), estimate=0.9)
    assert isinstance(proportion(0, 0), NoInterval)
