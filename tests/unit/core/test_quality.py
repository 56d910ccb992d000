"""Measures of a critic against references, ties and weights included."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actlabel.core.calibration import fit_calibrator, isotonic
from actlabel.core.designs import design_exact, quantise, select
from actlabel.core.quality import (
    auroc,
    bootstrap_interval,
    brier,
    error_recall,
    expected_calibration_error,
    quality_curve,
    recall_difference,
    reliability,
)
from actlabel.core.random_numbers import random_numbers
from actlabel.core.rules import Rule

judged = st.lists(st.tuples(st.sampled_from([0.0, 0.05, 0.2, 0.5, 1.0]), st.booleans(), st.integers(1, 3)), min_size=2, max_size=40)


@given(judged)
@settings(max_examples=100, deadline=None)
def test_auroc_is_the_share_of_pairs_in_order_with_ties_half_and_weights_as_copies(rows):
    epsilon, wrong, weight = (np.array(column) for column in zip(*rows, strict=True))
    bad, good = (np.repeat(epsilon, weight)[np.repeat(kind, weight)] for kind in (wrong, ~wrong))
    answer = auroc(epsilon, wrong, weight.astype(float))
    if len(bad) and len(good):
        pairs = np.sign(bad[:, None] - good[None, :])
        assert answer == pytest.approx(((pairs + 1) / 2).mean())
    else:
        assert np.isnan(answer)


@given(judged, st.randoms(use_true_random=False))
@settings(max_examples=100, deadline=None)
def test_curve_ends_at_one_and_ignores_the_order_within_ties(rows, random):
    shuffled = random.sample(rows, len(rows))
    curves = []
    for some in (rows, shuffled):
        epsilon, wrong, weight = (np.array(column) for column in zip(*some, strict=True))
        curves.append(quality_curve(epsilon, wrong, weight.astype(float)))
    one, other = curves
    assert one.recall == pytest.approx(other.recall)
    assert (one.budget[0], one.recall[0], one.budget[-1], one.recall[-1]) == pytest.approx((0, 0, 1, 1))
    assert (np.diff(one.recall) >= 0).all()


def test_calibration_measures_by_hand():
    epsilon = np.array([0.05, 0.05, 0.95, 1.0])
    wrong = np.array([False, True, True, True])
    weight = np.array([3.0, 1.0, 1.0, 1.0])
    assert brier(epsilon, wrong, weight) == pytest.approx((3 * 0.0025 + 0.9025 + 0.0025) / 6)
    # bin [0, .1): said .05, true 1/4, share 4/6; bin [.9, 1]: said .975, true 1, share 2/6
    assert expected_calibration_error(epsilon, wrong, weight) == pytest.approx(0.2 * 4 / 6 + 0.025 * 2 / 6)
    low, high = reliability(epsilon, wrong, weight)
    assert (low.said, low.true.estimate, low.items, low.share) == pytest.approx((0.05, 0.25, 2, 4 / 6))
    assert (high.said, high.true.estimate, high.items, high.share) == pytest.approx((0.975, 1.0, 2, 2 / 6))
    assert low.true.low < 0.25 < low.true.high


def test_weights_of_one_over_pi_recover_the_whole_from_reviewed_items(stance):
    """Brier and AUROC of all items, estimated from audited threshold review alone, on average over campaigns."""
    design = design_exact(quantise(stance.error_probability), budget=900, audit_share=0.3, rule=Rule())
    pi, ones = design.inclusion(), np.ones(len(stance.wrong))
    whole, weighted, naive = brier(stance.error_probability, stance.wrong, ones), [], []
    for seed in range(60):
        s = select(design, random_numbers(seed.to_bytes(4, "big"), stance.ids), stance.ids)
        weighted.append(brier(stance.error_probability[s], stance.wrong[s], 1 / pi[s]))
        naive.append(brier(stance.error_probability[s], stance.wrong[s], ones[s]))
    assert np.mean(weighted) == pytest.approx(whole, abs=0.004)
    assert abs(np.mean(naive) - whole) > 0.02


def test_bootstrap_covers_and_respects_strata(stance):
    rng = np.random.default_rng(4)
    ones = np.ones(len(stance.wrong))
    whole = brier(stance.error_probability, stance.wrong, ones)
    covered = 0
    for seed in range(40):
        some = rng.choice(len(stance.wrong), 300, replace=False)
        interval = bootstrap_interval(brier, stance.error_probability[some], stance.wrong[some], ones[some], replicates=200, seed=seed)
        covered += interval.low <= whole <= interval.high
    assert covered >= 34
    apart = bootstrap_interval(
        brier, np.array([0.0, 0.5, 1.0]), np.array([True, True, True]), np.ones(3), stratum=np.arange(3), replicates=50
    )
    assert apart.low == apart.high == apart.estimate  # one item per stratum leaves nothing to resample


def test_recall_difference(stance):
    chosen = np.argsort(-stance.error_probability, kind="stable")[:570]
    selected = np.isin(np.arange(len(stance.wrong)), chosen)
    interval = recall_difference(wrong=stance.wrong, selected=selected)
    assert interval.estimate == pytest.approx(error_recall(stance.wrong, selected) - 570 / 2299)
    assert 0 < interval.low < interval.estimate < interval.high
    assert interval == recall_difference(wrong=stance.wrong, selected=selected)
    by_chance = np.random.default_rng(0).permutation(selected)
    nothing = recall_difference(wrong=stance.wrong, selected=by_chance)
    assert nothing.low < 0 < nothing.high


def test_recall_difference_covers_in_repeated_campaigns(stance):
    """Campaigns over fresh samples of the population, each reviewed by threshold; the truth is the long-run difference."""
    rng = np.random.default_rng(9)
    intervals = []
    for seed in range(300):
        items = rng.choice(len(stance.wrong), 400)
        design = design_exact(quantise(stance.error_probability[items]), budget=100, audit_share=0.0, rule=Rule())
        ids = [str(number) for number in range(400)]
        selected = select(design, random_numbers(seed.to_bytes(4, "big"), ids), ids)
        intervals.append(recall_difference(wrong=stance.wrong[items], selected=selected, replicates=2000, seed=seed))
    truth = np.mean([interval.estimate for interval in intervals])
    covered = sum(interval.low <= truth <= interval.high for interval in intervals)
    assert covered >= 0.91 * 300


def test_recall_without_any_error_is_undefined():
    assert np.isnan(error_recall(np.zeros(3, bool), np.ones(3)))


@given(st.lists(st.tuples(st.integers(0, 8), st.floats(0, 1), st.floats(0.1, 5)), min_size=1, max_size=30))
@settings(max_examples=100, deadline=None)
def test_isotonic_rises_and_keeps_the_mean(points):
    x, y, weight = (np.array(column, dtype=float) for column in zip(*points, strict=True))
    curve = isotonic(x, y, weight)
    fitted = curve(x)
    assert (np.diff(curve.y) >= 0).all()
    assert (np.diff(curve.x) > 0).all()
    assert np.average(fitted, weights=weight) == pytest.approx(np.average(y, weights=weight))
    # the projection: no other non-falling curve through the levels is closer; try the two obvious ones
    loss = np.average((fitted - y) ** 2, weights=weight)
    assert loss <= np.average((np.average(y, weights=weight) - y) ** 2, weights=weight) + 1e-12


def test_isotonic_agrees_with_scipy(stance):
    from scipy.optimize import isotonic_regression  # noqa: PLC0415

    order = np.argsort(stance.error_probability, kind="stable")
    levels, inverse = np.unique(stance.error_probability, return_inverse=True)
    count = np.bincount(inverse)
    means = np.bincount(inverse, weights=stance.wrong) / count
    reference = isotonic_regression(means, weights=count).x
    curve = isotonic(stance.error_probability[order], stance.wrong[order].astype(float), np.ones(len(order)))
    assert curve(levels) == pytest.approx(reference)


def test_calibrator_draws_rare_labels_to_the_pooled_curve():
    epsilon = np.array([0.1] * 30 + [0.1])
    predicted = ["common"] * 30 + ["rare"]
    curves = fit_calibrator(epsilon, predicted, np.array([False] * 30 + [True]))
    common, rare, unseen = curves(np.array([0.1, 0.1, 0.1]), ["common", "rare", "unseen"])
    pooled = 1 / 31
    nudge = 0.1 / 512
    assert unseen == pytest.approx(pooled + nudge)
    assert common == pytest.approx(10 * pooled / 40 + nudge)
    assert rare == pytest.approx((1 + 10 * pooled) / 11 + nudge)
    with pytest.raises(ValueError, match="at least one"):
        fit_calibrator(np.array([]), [], np.array([], dtype=bool))
