"""The losses by name: who takes part, with which weights, and what is refused."""

from dataclasses import replace

import numpy as np
import pytest

from actlabel.core.errors import UserError
from actlabel.trainer.losses import ABSENT
from actlabel.trainer.objectives import OBJECTIVES, Request, transition_matrix
from actlabel.trainer.plan import BASELINES, LOSSES
from actlabel.trainer.records import Records

# item:        0 certain+corrected, 1 by chance+corrected, 2 by chance+confirmed, 3 not chosen, 4 could never be
HUMAN = np.array([1, 1, 0, ABSENT, ABSENT])
MACHINE = np.array([0, 0, 0, 1, 0])
PI = np.array([1.0, 0.25, 0.25, 0.25, 0.0])


def records(**changes: object) -> Records:
    made = Records(
        ids=np.array(list("abcde")),
        labels=("no", "yes"),
        human=HUMAN,
        machine=MACHINE,
        selected=HUMAN != ABSENT,
        pi=PI,
        usable=np.ones(5, dtype=bool),
        mixed_draws=False,
    )
    return replace(made, **changes)


def request(**changes: object) -> Request:
    return replace(Request(records=records(), train=np.arange(5)), **changes)


def test_every_name_has_a_definition_and_back() -> None:
    assert set(OBJECTIVES) == set(LOSSES)
    assert set(BASELINES) < set(LOSSES)
    for name in set(LOSSES) - {"act-ce", "random-review"}:
        assert OBJECTIVES[name](request()).name == name


def test_act_weights_follow_the_recorded_probabilities() -> None:
    objective = OBJECTIVES["act"](request())
    assert objective.weights.human.tolist() == [1, 4, 1, 0, 0]
    assert objective.weights.machine.tolist() == [0, -3, 0, 1, 1]
    assert "1 items could never be selected" in objective.notes[0]


def test_act_with_cross_entropy_is_refused_under_chance_and_allowed_under_certainty() -> None:
    with pytest.raises(UserError, match="1 corrected items were selected by chance"):
        OBJECTIVES["act-ce"](request())
    wild = OBJECTIVES["act-ce"](request(allow_unbounded=True))
    assert (wild.bounded, OBJECTIVES["act"](request()).bounded) == (False, True)
    certain = records(pi=np.where(HUMAN != ABSENT, 1.0, 0.0))
    assert OBJECTIVES["act-ce"](request(records=certain)).weights.machine.min() == 0


def test_human_only_uses_reviewed_items_alone() -> None:
    objective = OBJECTIVES["human-only"](request())
    assert objective.items.tolist() == [0, 1, 2]
    assert objective.weights.machine.sum() == 0


def test_merged_labels_are_the_human_ones_where_there_are_any() -> None:
    assert OBJECTIVES["merged-ce"](request()).machine.tolist() == [1, 1, 0, 1, 0]
    assert OBJECTIVES["machine-only"](request()).machine.tolist() == MACHINE.tolist()


def test_ipw_estimates_the_mean_over_all_items() -> None:
    objective = OBJECTIVES["ipw"](request())
    # batches are drawn from the three reviewed items: the mean there equals (1/N) Σ δ/π
    assert objective.weights.human[objective.items].mean() == pytest.approx((1 + 4 + 4) / 5)
    assert OBJECTIVES["snipw"](request()).self_normalised


def test_random_review_needs_its_sample() -> None:
    with pytest.raises(UserError, match="needs the labels of a random sample"):
        OBJECTIVES["random-review"](request())
    sample = np.array([ABSENT, ABSENT, ABSENT, 0, 1])
    assert OBJECTIVES["random-review"](request(random_review=sample)).machine.tolist() == [0, 0, 0, 0, 1]


def test_without_inclusion_probabilities_weighted_losses_are_refused() -> None:
    blind = records(pi=np.array([np.nan, 0.5, 0.5, 0.5, 0.5]))
    for name in ("act", "ipw", "snipw", "forward"):
        with pytest.raises(UserError, match="carry no inclusion probability"):
            OBJECTIVES[name](request(records=blind))
    assert len(OBJECTIVES["merged-ce"](request(records=blind)).items) == 5


def test_losses_on_reviewed_items_say_when_there_are_none() -> None:
    nobody = records(human=np.full(5, ABSENT), selected=np.zeros(5, dtype=bool))
    for name in ("human-only", "ipw", "snipw"):
        with pytest.raises(UserError, match="no item of the data set has a human label"):
            OBJECTIVES[name](request(records=nobody))


def test_a_human_answer_from_an_earlier_draw_counts_only_where_chance_has_no_say() -> None:
    kept = records(selected=np.array([True, False, True, False, False]))
    objective = OBJECTIVES["act"](request(records=kept))
    assert (objective.weights.human[1], objective.weights.machine[1]) == (0, 1)
    assert OBJECTIVES["merged-ce"](request(records=kept)).machine[1] == 1


def test_the_transition_matrix_recovers_the_machine_and_its_rows_sum_to_one() -> None:
    rng = np.random.default_rng(3)
    truth = rng.integers(0, 3, 60_000)
    confusion = np.array([[0.9, 0.1, 0.0], [0.0, 0.7, 0.3], [0.2, 0.0, 0.8]])
    machine = np.array([rng.choice(3, p=confusion[y]) for y in truth])
    # the machine's errors are chosen more often; the weights undo that
    pi = np.where(machine == truth, 0.1, 0.8)
    selected = rng.random(len(truth)) < pi
    made = Records(
        ids=np.arange(len(truth)).astype(np.str_),
        labels=("a", "b", "c"),
        human=np.where(selected, truth, ABSENT),
        machine=machine,
        selected=selected,
        pi=pi,
        usable=np.ones(len(truth), dtype=bool),
        mixed_draws=False,
    )
    found = transition_matrix(made, np.arange(len(truth)))
    np.testing.assert_allclose(found.sum(axis=1), 1)
    np.testing.assert_allclose(found, confusion, atol=0.02)


def test_the_transition_matrix_without_reviews_is_its_prior() -> None:
    nobody = records(human=np.full(5, ABSENT), selected=np.zeros(5, dtype=bool))
    np.testing.assert_allclose(transition_matrix(nobody, np.arange(5)), 0.5)
