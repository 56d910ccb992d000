"""The losses by name: which items take part, with which labels, weights and base losses."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from actlabel.core.errors import UserError
from actlabel.trainer.losses import (
    ABSENT,
    BaseLoss,
    Floats,
    Ints,
    Weights,
    act_weights,
    cross_entropy,
    forward_corrected,
    generalised_cross_entropy,
    smoothed_cross_entropy,
    unbounded,
)
from actlabel.trainer.records import Records

GCE_Q: Final = 0.7
TRANSITION_PRIOR_ITEMS: Final = 5.0
"""How many reviews of each class the prior of the transition matrix is worth."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """What one model is trained to minimise: (1/|b|) Σ (human weight · ℓ(human label) + machine weight · ℓ(machine label))."""

    name: str
    loss: str  # in words, for the model card
    items: Ints  # positions in the data set that take part, in the order of their ids
    human: Ints  # labels over the whole data set
    machine: Ints
    weights: Weights
    human_base: BaseLoss
    machine_base: BaseLoss
    bounded: bool = True  # below: false where cross-entropy meets negative weights
    self_normalised: bool = False  # divide by the weights of the global batch instead of its number of items
    notes: tuple[str, ...] = field(default=())


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What an objective is made from."""

    records: Records
    train: Ints  # positions of the usable items that are not held out, in the order of their ids
    power: float = 1.0  # λ of the ACT loss
    random_review: Ints | None = None  # labels of a uniform random sample, ABSENT for items outside it
    allow_unbounded: bool = False  # experiments only: cross-entropy under weights that make it diverge


def _single(request: Request, name: str, loss: str, labels: Ints, base: BaseLoss) -> Objective:
    """Every item once, with one label."""
    return Objective(
        name=name,
        loss=loss,
        items=request.train,
        human=np.full_like(labels, ABSENT),
        machine=labels,
        weights=Weights(human=np.zeros(len(labels)), machine=np.ones(len(labels))),
        human_base=base,
        machine_base=base,
    )


def _act(request: Request, name: str, loss: str, base: BaseLoss) -> Objective:
    records = _with_pi(request, name)
    pi = np.where(records.usable, records.pi, 1.0)
    weights = act_weights(human=records.human, machine=records.machine, selected=records.selected, pi=pi, power=request.power)
    never = int(np.sum(pi[request.train] <= 0))
    wild = unbounded(human=records.human, machine=records.machine, weights=weights)[request.train]
    if base is cross_entropy and np.any(wild) and not request.allow_unbounded:
        raise UserError(
            f"{name}: {int(wild.sum())} corrected items were selected by chance (pi below 1), so that cross-entropy has no lower bound; "
            "use the loss act, whose base loss is bounded"
        )
    return Objective(
        name=name,
        loss=loss if request.power == 1 else f"{loss}, lambda {request.power}",
        items=request.train,
        human=records.human,
        machine=records.machine,
        weights=weights,
        human_base=base,
        machine_base=base,
        bounded=base is not cross_entropy or not np.any(wild),
        notes=(f"{never} items could never be selected (pi is 0): for them the machine label stands unchecked",) if never else (),
    )


def act(request: Request) -> Objective:
    """ACT with generalised cross-entropy: the default, bounded below whatever the draw."""
    return _act(request, "act", f"ACT, generalised cross-entropy q = {GCE_Q}", generalised_cross_entropy(GCE_Q))


def act_ce(request: Request) -> Objective:
    """ACT with cross-entropy. Raises ``UserError`` unless every corrected item was selected for certain."""
    return _act(request, "act-ce", "ACT, cross-entropy", cross_entropy)


def human_only(request: Request) -> Objective:
    """Cross-entropy on the reviewed items alone, unweighted."""
    return _reviewed(request, "human-only", "cross-entropy on reviewed items", np.ones(len(request.records)))


def machine_only(request: Request) -> Objective:
    """Cross-entropy on the machine's labels."""
    return _single(request, "machine-only", "cross-entropy on machine labels", request.records.machine, cross_entropy)


def merged_ce(request: Request) -> Objective:
    """Cross-entropy on the merged labels."""
    return _single(request, "merged-ce", "cross-entropy on merged labels", request.records.merged, cross_entropy)


def merged_gce(request: Request) -> Objective:
    """Generalised cross-entropy on the merged labels."""
    base = generalised_cross_entropy(GCE_Q)
    return _single(request, "merged-gce", f"generalised cross-entropy q = {GCE_Q} on merged labels", request.records.merged, base)


def merged_smooth(request: Request) -> Objective:
    """Cross-entropy with label smoothing on the merged labels."""
    base = smoothed_cross_entropy(0.1)
    return _single(request, "merged-smooth", "cross-entropy with label smoothing 0.1 on merged labels", request.records.merged, base)


def ipw(request: Request) -> Objective:
    """Reviewed items weighted by 1/π, normalised by all items."""
    weights = _inverse(request, "ipw") * _share_reviewed(request)
    return _reviewed(request, "ipw", "cross-entropy on reviewed items, weights 1/pi", weights)


def snipw(request: Request) -> Objective:
    """Reviewed items weighted by 1/π, normalised by the weights of the batch."""
    return _reviewed(
        request, "snipw", "cross-entropy on reviewed items, self-normalised weights 1/pi", _inverse(request, "snipw"), own=True
    )


def forward(request: Request) -> Objective:
    """Machine labels through a transition matrix estimated on the reviewed items, human labels as they are."""
    records = _with_pi(request, "forward")
    answered = records.human != ABSENT
    transition = transition_matrix(records, request.train)
    return Objective(
        name="forward",
        loss="cross-entropy, machine labels corrected forward by a transition matrix estimated with weights 1/pi",
        items=request.train,
        human=records.human,
        machine=records.machine,
        weights=Weights(human=answered * 1.0, machine=(~answered) * 1.0),
        human_base=cross_entropy,
        machine_base=forward_corrected(transition),
    )


def random_review(request: Request) -> Objective:
    """Merged cross-entropy as if a uniform random sample of the same budget had been reviewed. Raises ``UserError`` without that sample."""
    if request.random_review is None:
        raise UserError("random-review: needs the labels of a random sample; give a Parquet file with the columns id and label")
    labels = np.where(request.random_review != ABSENT, request.random_review, request.records.machine)
    return _single(request, "random-review", "cross-entropy, a uniform random sample reviewed instead", labels, cross_entropy)


OBJECTIVES: Final[Mapping[str, Callable[[Request], Objective]]] = {
    "act": act,
    "human-only": human_only,
    "machine-only": machine_only,
    "merged-ce": merged_ce,
    "merged-gce": merged_gce,
    "merged-smooth": merged_smooth,
    "ipw": ipw,
    "snipw": snipw,
    "forward": forward,
    "random-review": random_review,
    "act-ce": act_ce,
}


def _reviewed(request: Request, name: str, loss: str, weights: Floats, *, own: bool = False) -> Objective:
    records = request.records
    items = request.train[records.human[request.train] != ABSENT]
    if own or name == "ipw":
        items = items[records.selected[items] & (records.pi[items] > 0)]
    if not len(items):
        raise UserError(f"{name}: no item of the data set has a human label yet; answer some reviews first, or leave this loss out")
    return Objective(
        name=name,
        loss=loss,
        items=items,
        human=records.human,
        machine=records.machine,
        weights=Weights(human=weights, machine=np.zeros(len(records))),
        human_base=cross_entropy,
        machine_base=cross_entropy,
        self_normalised=own,
    )


def _inverse(request: Request, name: str) -> Floats:
    records = _with_pi(request, name)
    reviewed = records.selected & (records.pi > 0)
    return np.divide(1.0, records.pi, out=np.zeros(len(records)), where=reviewed)


def _share_reviewed(request: Request) -> float:
    """Batches are drawn from the reviewed items only, so that weights 1/π are scaled to keep (1/N) Σ δ/π ℓ."""
    return float(np.mean(request.records.selected[request.train])) if len(request.train) else 0.0


def _with_pi(request: Request, name: str) -> Records:
    missing = int(np.sum(np.isnan(request.records.pi[request.train])))
    if missing:
        raise UserError(f"{name}: {missing} items carry no inclusion probability; train on their labels with merged-ce instead")
    return request.records


def transition_matrix(records: Records, items: Ints) -> Floats:
    """Estimate T[y, ŷ] = P(machine says ŷ | truth y) on the reviewed ones of ``items``, weighted by 1/π; rows sum to 1.

    Each row is shrunk towards the machine's overall error rate spread evenly, which ``TRANSITION_PRIOR_ITEMS`` reviews outweigh.
    """
    classes = len(records.labels)
    chosen = items[records.selected[items] & (records.pi[items] > 0)]
    weight = 1 / records.pi[chosen]
    weight = weight * len(chosen) / weight.sum() if len(chosen) else weight
    counts = np.zeros((classes, classes))
    np.add.at(counts, (records.human[chosen], records.machine[chosen]), weight)
    right = (np.trace(counts) + 1) / (counts.sum() + 2)
    prior = np.full((classes, classes), (1 - right) / (classes - 1))
    np.fill_diagonal(prior, right)
    smooth = counts + TRANSITION_PRIOR_ITEMS * prior
    rows: Floats = smooth / smooth.sum(axis=1, keepdims=True)
    return rows
