"""The ACT loss against a float64 reference, its properties by enumeration, and its independence of the number of ranks."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch import Tensor

from actlabel.core.errors import UserError
from actlabel.trainer.losses import (
    ABSENT,
    BaseLoss,
    Batch,
    Weights,
    act_weights,
    cross_entropy,
    forward_corrected,
    generalised_cross_entropy,
    smoothed_cross_entropy,
    unbounded,
    weighted_items,
)

CLASSES = 3
BASES = {"ce": cross_entropy, "gce": generalised_cross_entropy(0.7)}


def reference_base(logits: np.ndarray, label: int, name: str) -> float:
    """One base loss in float64, from its definition."""
    p = np.exp(logits - logits.max())
    p = (p / p.sum())[label]
    return float(-np.log(p)) if name == "ce" else float((1 - p**0.7) / 0.7)


def reference_act(logits: np.ndarray, human: int, machine: int, selected: bool, pi: float, power: float, name: str) -> float:
    """One item's ACT loss in float64, as method.md section 5 writes it."""
    if pi in (0.0, 1.0):
        return reference_base(logits, machine if human == ABSENT else human, name)
    value = power * reference_base(logits, machine, name)
    if selected:
        value += (reference_base(logits, human, name) - power * reference_base(logits, machine, name)) / pi
    return value


def batch_of(human: np.ndarray, machine: np.ndarray, weights: Weights) -> Batch:
    return Batch(
        human_B=torch.from_numpy(human),
        machine_B=torch.from_numpy(machine),
        human_weight_B=torch.from_numpy(weights.human).float(),
        machine_weight_B=torch.from_numpy(weights.machine).float(),
    )


def act_items(
    logits: Tensor, human: np.ndarray, machine: np.ndarray, selected: np.ndarray, pi: np.ndarray, base: BaseLoss, power: float = 1.0
) -> Tensor:
    weights = act_weights(human=human, machine=machine, selected=selected, pi=pi, power=power)
    return weighted_items(logits, batch_of(human, machine, weights), human=base, machine=base)


@st.composite
def items(draw: st.DrawFn) -> tuple[np.ndarray, ...]:
    """Logits, true labels, machine labels, selections and inclusion probabilities; π of 0 is never selected, π of 1 always."""
    count = draw(st.integers(1, 6))
    logits = draw(hnp.arrays(np.float64, (count, CLASSES), elements=st.floats(-8, 8)))
    truth = draw(hnp.arrays(np.int64, count, elements=st.integers(0, CLASSES - 1)))
    machine = draw(hnp.arrays(np.int64, count, elements=st.integers(0, CLASSES - 1)))
    pi = draw(hnp.arrays(np.float64, count, elements=st.sampled_from([0.0, 0.05, 0.3, 0.9, 1.0])))
    chance = draw(hnp.arrays(np.bool_, count))
    selected = np.where(pi == 1, True, np.where(pi == 0, False, chance))
    return logits, truth, machine, selected, pi


@pytest.mark.parametrize("name", BASES)
@settings(max_examples=60, deadline=None)
@given(items(), st.sampled_from([1.0, 0.5, 0.0]))
def test_every_item_equals_the_reference(name: str, drawn: tuple[np.ndarray, ...], power: float) -> None:
    logits, truth, machine, selected, pi = drawn
    pi = np.where(pi == 0, 0.05, pi) if power != 1 else pi
    human = np.where(selected, truth, ABSENT)
    found = act_items(torch.from_numpy(logits).float(), human, machine, selected, pi, BASES[name], power)
    expected = [
        reference_act(logits[row], int(human[row]), int(machine[row]), bool(selected[row]), float(pi[row]), power, name)
        for row in range(len(pi))
    ]
    np.testing.assert_allclose(found.numpy(), expected, rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize("name", BASES)
@settings(max_examples=60, deadline=None)
@given(items())
def test_all_selected_for_certain_is_the_human_loss(name: str, drawn: tuple[np.ndarray, ...]) -> None:
    logits, truth, machine, _, _ = drawn
    everyone, ones = np.ones(len(truth), dtype=bool), np.ones(len(truth))
    found = act_items(torch.from_numpy(logits).float(), truth, machine, everyone, ones, BASES[name])
    torch.testing.assert_close(found, BASES[name](torch.from_numpy(logits).float(), torch.from_numpy(truth)))


@pytest.mark.parametrize("power", [1.0, 0.3])
@settings(max_examples=60, deadline=None)
@given(items())
def test_none_selected_is_lambda_times_the_machine_loss(power: float, drawn: tuple[np.ndarray, ...]) -> None:
    logits, _, machine, _, _ = drawn
    count = len(machine)
    nobody = np.zeros(count, dtype=bool)
    found = act_items(torch.from_numpy(logits).float(), np.full(count, ABSENT), machine, nobody, np.full(count, 0.4), cross_entropy, power)
    torch.testing.assert_close(found, power * cross_entropy(torch.from_numpy(logits).float(), torch.from_numpy(machine)))


def _outcomes(pi: np.ndarray) -> list[tuple[np.ndarray, float]]:
    """Every possible selection with its probability."""
    choices = itertools.product(*[[False, True] if 0 < p < 1 else [p == 1] for p in pi])
    return [(np.array(chosen), float(np.prod(np.where(chosen, pi, 1 - pi)))) for chosen in choices]


@pytest.mark.parametrize("power", [1.0, 0.6])
@pytest.mark.parametrize("name", BASES)
@settings(max_examples=60, deadline=None)
@given(items())
def test_the_expectation_over_selection_is_the_human_loss(name: str, power: float, drawn: tuple[np.ndarray, ...]) -> None:
    logits, truth, machine, _, pi = drawn
    pi = np.where(pi == 0, 0.05, pi)
    mean = torch.zeros(len(truth), dtype=torch.float64)
    for chosen, probability in _outcomes(pi):
        human = np.where(chosen, truth, ABSENT)
        mean += probability * act_items(torch.from_numpy(logits).float(), human, machine, chosen, pi, BASES[name], power).double()
    expected = [reference_base(logits[row], int(truth[row]), name) for row in range(len(truth))]
    np.testing.assert_allclose(mean.numpy(), expected, rtol=1e-3, atol=1e-3)


def test_the_expected_gradient_is_that_of_the_human_loss_on_a_convex_model() -> None:
    rng = np.random.default_rng(7)
    x = torch.from_numpy(rng.standard_normal((8, 4)))
    truth, machine = rng.integers(0, 3, 8), rng.integers(0, 3, 8)
    pi = np.array([0.1, 0.2, 0.5, 0.9, 1.0, 0.3, 0.4, 0.7])

    def gradient(human: np.ndarray, chosen: np.ndarray) -> Tensor:
        weight = torch.full((4, 3), 0.1, dtype=torch.float64, requires_grad=True)
        act_items(x @ weight, human, machine, chosen, pi, cross_entropy).sum().backward()
        assert weight.grad is not None
        return weight.grad

    mean = sum(probability * gradient(np.where(chosen, truth, ABSENT), chosen) for chosen, probability in _outcomes(pi))
    weight = torch.full((4, 3), 0.1, dtype=torch.float64, requires_grad=True)
    cross_entropy(x @ weight, torch.from_numpy(truth)).sum().backward()
    torch.testing.assert_close(mean, weight.grad, rtol=1e-4, atol=1e-4)


@settings(max_examples=60, deadline=None)
@given(items())
def test_a_threshold_without_ties_or_audit_is_cross_entropy_on_merged_labels(drawn: tuple[np.ndarray, ...]) -> None:
    logits, truth, machine, chance, _ = drawn
    pi = chance.astype(np.float64)
    human = np.where(chance, truth, ABSENT)
    found = act_items(torch.from_numpy(logits).float(), human, machine, chance, pi, cross_entropy)
    merged = torch.from_numpy(np.where(chance, truth, machine))
    torch.testing.assert_close(found, cross_entropy(torch.from_numpy(logits).float(), merged))


@settings(max_examples=60, deadline=None)
@given(items())
def test_equal_labels_add_no_variance(drawn: tuple[np.ndarray, ...]) -> None:
    _, truth, _, chance, _ = drawn
    pi = np.full(len(truth), 0.05)
    weights = act_weights(human=np.where(chance, truth, ABSENT), machine=truth, selected=chance, pi=pi)
    assert np.array_equal(weights.total, np.ones(len(truth)))


def test_labels_that_are_absent_are_never_evaluated() -> None:
    def strict(logits: Tensor, label: Tensor) -> Tensor:
        assert bool((label >= 0).all())
        return cross_entropy(logits, label)

    human, machine = np.array([ABSENT, 1, ABSENT]), np.array([0, 2, 1])
    selected, pi = np.array([False, True, False]), np.array([0.0, 0.5, 0.5])
    found = act_items(torch.zeros(3, 3), human, machine, selected, pi, strict)
    assert bool(torch.isfinite(found).all())


def test_lambda_beside_a_pi_of_zero_is_refused() -> None:
    with pytest.raises(UserError, match="only lambda = 1"):
        act_weights(human=np.array([ABSENT]), machine=np.array([0]), selected=np.array([False]), pi=np.array([0.0]), power=0.5)


def test_only_items_corrected_by_chance_are_unbounded() -> None:
    human, machine = np.array([1, 1, 1, ABSENT]), np.array([0, 1, 0, 0])
    selected, pi = np.array([True, True, True, False]), np.array([0.5, 0.5, 1.0, 0.5])
    weights = act_weights(human=human, machine=machine, selected=selected, pi=pi)
    assert unbounded(human=human, machine=machine, weights=weights).tolist() == [True, False, False, False]


@settings(max_examples=60, deadline=None)
@given(items(), st.floats(0.02, 0.99))
def test_with_gce_an_item_is_bounded_below(drawn: tuple[np.ndarray, ...], pi: float) -> None:
    logits, truth, machine, _, _ = drawn
    everyone = np.ones(len(truth), dtype=bool)
    found = act_items(torch.from_numpy(logits * 100).float(), truth, machine, everyone, np.full(len(truth), pi), BASES["gce"])
    assert float(found.min()) >= -(1 / pi - 1) / 0.7 - 1e-3


def test_gce_has_a_finite_gradient_where_the_probability_underflows() -> None:
    logits = torch.tensor([[200.0, -200.0]], requires_grad=True)
    generalised_cross_entropy(0.7)(logits, torch.tensor([1])).sum().backward()
    assert logits.grad is not None
    assert bool(torch.isfinite(logits.grad).all())


@settings(max_examples=60, deadline=None)
@given(items(), st.integers(1, 5))
def test_the_sum_over_ranks_does_not_depend_on_their_number(drawn: tuple[np.ndarray, ...], ranks: int) -> None:
    logits, truth, machine, selected, pi = drawn
    human = np.where(selected, truth, ABSENT)
    whole = act_items(torch.from_numpy(logits), human, machine, selected, pi, BASES["gce"]).sum()
    parts = [np.arange(len(pi))[rank::ranks] for rank in range(ranks)]
    total = sum(act_items(torch.from_numpy(logits[p]), human[p], machine[p], selected[p], pi[p], BASES["gce"]).sum() for p in parts)
    torch.testing.assert_close(torch.as_tensor(total), whole, rtol=1e-5, atol=1e-5)


def test_forward_correction_with_the_identity_is_cross_entropy() -> None:
    logits, labels = torch.randn(5, 3, generator=torch.manual_seed(0)), torch.tensor([0, 1, 2, 0, 1])
    near_identity = np.full((3, 3), 1e-12) + np.eye(3)
    torch.testing.assert_close(forward_corrected(near_identity)(logits, labels), cross_entropy(logits, labels))


def test_forward_correction_mixes_the_columns_of_the_transition_matrix() -> None:
    transition = np.array([[0.8, 0.2], [0.3, 0.7]])
    logits = torch.log(torch.tensor([[0.6, 0.4]]))
    found = forward_corrected(transition)(logits, torch.tensor([1]))
    np.testing.assert_allclose(found.numpy(), [-np.log(0.6 * 0.2 + 0.4 * 0.7)], rtol=1e-6)


def test_label_smoothing_by_hand() -> None:
    logits = torch.log(torch.tensor([[0.5, 0.25, 0.25]]))
    found = smoothed_cross_entropy(0.1)(logits, torch.tensor([0]))
    expected = -(0.9 * np.log(0.5) + 0.1 * np.mean(np.log([0.5, 0.25, 0.25])))
    np.testing.assert_allclose(found.numpy(), [expected], rtol=1e-6)
