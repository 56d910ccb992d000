"""The reference numbers of the method on recorded answers of a real model (method.md, sections 2 to 4)."""

import hashlib

import numpy as np
import pytest

from actlabel.core.calibration import fit_calibrator
from actlabel.core.designs import block_quota, design_block, design_exact, quantise, select
from actlabel.core.quality import auroc, brier, error_recall, oracle_curve, quality_curve, random_curve
from actlabel.core.random_numbers import random_numbers
from actlabel.core.rules import Rule

BUDGET = 570  # the number of wrong labels
SEEDS = 200


def recalls(stance, rule, audit_share):
    """Error recall of 200 seeds through the real draw, the share of draws that chose each item, and π."""
    design = design_exact(quantise(stance.error_probability), budget=BUDGET, audit_share=audit_share, rule=rule)
    chosen = np.array(
        [select(design, random_numbers(hashlib.sha256(str(seed).encode()).digest(), stance.ids), stance.ids) for seed in range(SEEDS)]
    )
    assert (chosen.sum(axis=1) == BUDGET).all()
    return np.array([error_recall(stance.wrong, row) for row in chosen]), chosen.mean(axis=0), design.inclusion()


@pytest.mark.parametrize(
    ("rule", "audit_share", "expected", "within"),
    [
        (Rule(name="uniform"), 0.0, 0.248, 0.005),
        (Rule(name="normalization"), 0.0, 0.339, 0.005),
        (Rule(name="exponential", beta=20.0), 0.0, 0.371, 0.005),
        (Rule(name="threshold"), 0.0, 0.402, 0.003),
        (Rule(name="threshold"), 0.1, 0.390, 0.005),  # a 10 % audit
    ],
)
def test_recall_over_200_seeds_and_selection_frequency(stance, rule, audit_share, expected, within):
    recall, frequency, pi = recalls(stance, rule, audit_share)
    assert recall.mean() == pytest.approx(expected, abs=within)
    assert error_recall(stance.wrong, pi) == pytest.approx(expected, abs=within)  # the expectation, ties averaged
    assert (frequency[pi == 0] == 0).all()
    assert (frequency[pi == 1] == 1).all()
    # π (1 - π) / 200 is each frequency's variance; over the cells' mean it must be that of honest π
    open_ = (pi > 0) & (pi < 1)
    z = (frequency - pi)[open_] / np.sqrt((pi * (1 - pi))[open_] / SEEDS)
    assert (z**2).mean() == pytest.approx(1.0, abs=0.12)
    assert np.abs(z).max() < 5


def stream(stance, *, order, audit_share, key, items=256):
    """Recall and chosen count of one streamed campaign."""
    epsilon, found, taken, seen = quantise(stance.error_probability)[order], 0, 0, 0
    for start in range(0, len(order), items):
        block = order[start : start + items]
        seen += len(block)
        quota = block_quota(budget=BUDGET, seen=seen, expected=len(order), taken=taken)
        ids = [stance.ids[item] for item in block]
        design = design_block(epsilon[start : start + items], quota=quota, audit_share=audit_share, rule=Rule())
        chosen = select(design, random_numbers(key, ids), ids)
        assert chosen.sum() == quota
        taken += quota
        found += stance.wrong[block][chosen].sum()
    return found / stance.wrong.sum(), taken


def test_streaming_spends_exactly_the_budget_and_finds_as_much(stance):
    rng = np.random.default_rng(1)
    runs = [stream(stance, order=rng.permutation(len(stance.ids)), audit_share=0.1, key=seed.to_bytes(4, "big")) for seed in range(SEEDS)]
    assert {taken for _, taken in runs} == {BUDGET}
    assert np.mean([recall for recall, _ in runs]) == pytest.approx(0.388, abs=0.003)


def test_quality_areas(stance):
    curve = quality_curve(stance.error_probability, stance.wrong)
    ones = np.ones(len(stance.wrong))
    assert random_curve().area == 0.5
    assert curve.area == pytest.approx(0.656, abs=0.0005)
    assert oracle_curve(stance.wrong.mean()).area == pytest.approx(0.876, abs=0.0005)
    assert curve.at(BUDGET / len(stance.wrong)) == pytest.approx(0.402, abs=0.0005)
    assert brier(stance.error_probability, stance.wrong, ones) == pytest.approx(0.185, abs=0.0005)
    lift = (curve.area - 0.5) / (oracle_curve(stance.wrong.mean()).area - 0.5)
    assert lift == pytest.approx(2 * auroc(stance.error_probability, stance.wrong, ones) - 1)


def test_label_accuracy_after_threshold_review(stance):
    design = design_exact(quantise(stance.error_probability), budget=BUDGET, audit_share=0.0, rule=Rule())
    before = 1 - stance.wrong.mean()
    after = before + (stance.wrong * design.inclusion()).mean()
    assert (before, after) == pytest.approx((0.752, 0.852), abs=0.0005)


def test_calibration_per_predicted_label_on_100_audits(stance):
    rng = np.random.default_rng(0)
    on_top, paid, raw = [], [], []
    for _ in range(100):
        audits = rng.choice(len(stance.wrong), 100, replace=False)
        curves = fit_calibrator(stance.error_probability[audits], stance.label[audits], stance.wrong[audits])
        calibrated = curves(stance.error_probability, stance.label)
        on_top.append(quality_curve(calibrated, stance.wrong).at(BUDGET / len(stance.wrong)))
        rest = np.setdiff1d(np.arange(len(stance.wrong)), audits)
        among_rest = quality_curve(calibrated[rest], stance.wrong[rest]).at((BUDGET - 100) / len(rest))
        paid.append((among_rest * stance.wrong[rest].sum() + stance.wrong[audits].sum()) / stance.wrong.sum())
        raw.append(brier(calibrated, stance.wrong, np.ones(len(stance.wrong))))
    assert np.mean(on_top) == pytest.approx(0.476, abs=0.005)
    assert np.mean(paid) == pytest.approx(0.461, abs=0.005)
    assert np.mean(raw) < 0.168  # the critic as it is: .185
