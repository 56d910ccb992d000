"""The ACT loss (arXiv 2511.09833) and the base losses beneath it and its baselines.

Legend of shapes: B items of a batch on this rank, C classes.
``logits_BC`` float32, ``label_B`` int64 in [0, C), ``weight_B`` float32; what is returned per item is float32 [B].

The loss of an item is a weighted sum of at most two base losses, one at the human label and one at the machine label. The weights depend on
the data alone, so they are computed once, in float64, and stored as float32. A batch's loss is the sum over its items divided by the number
of items of the *global* batch: ranks add up their sums, so the value does not depend on how many there are.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from actlabel.core.errors import UserError

BaseLoss = Callable[[Tensor, Tensor], Tensor]
"""(logits_BC, label_B) → loss_B."""

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

ABSENT: Final = -1
"""In an array of labels: there is none."""


def cross_entropy(logits_BC: Tensor, label_B: Tensor) -> Tensor:  # noqa: N803 - shapes
    """Return −log p(label). Unbounded: with negative weights it can diverge (method.md, section 5.3)."""
    return functional.cross_entropy(logits_BC, label_B, reduction="none")


def generalised_cross_entropy(q: float = 0.7) -> BaseLoss:
    """Return (1 − p^q) / q, between 0 and 1/q (Zhang and Sabuncu 2018)."""

    def loss(logits_BC: Tensor, label_B: Tensor) -> Tensor:  # noqa: N803
        # p^q as exp(q log p): the derivative of p ** q is infinite where p underflows, this one is 0
        log_p_B = -cross_entropy(logits_BC, label_B)  # noqa: N806
        return (1 - torch.exp(q * log_p_B)) / q

    return loss


def smoothed_cross_entropy(smoothing: float = 0.1) -> BaseLoss:
    """Return cross-entropy against the label mixed with ``smoothing`` of the uniform distribution."""

    def loss(logits_BC: Tensor, label_B: Tensor) -> Tensor:  # noqa: N803
        return functional.cross_entropy(logits_BC, label_B, reduction="none", label_smoothing=smoothing)

    return loss


def forward_corrected(transition: Floats) -> BaseLoss:
    """Return −log Σ_y p(y) T[y, label] for a machine label, T[y, ŷ] = P(ŷ | y) (Patrini and others 2017)."""
    log_t_CC = torch.log(torch.as_tensor(transition, dtype=torch.float32))  # noqa: N806

    def loss(logits_BC: Tensor, label_B: Tensor) -> Tensor:  # noqa: N803
        columns_BC = log_t_CC.to(logits_BC.device).T[label_B]  # noqa: N806
        return -torch.logsumexp(functional.log_softmax(logits_BC, dim=1) + columns_BC, dim=1)

    return loss


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """The weights of the two base losses of every item of a data set, float64 [N]."""

    human: Floats  # 0 where there is no human label, or none that counts
    machine: Floats

    @property
    def total(self) -> Floats:
        """Return how much an item weighs in all: the sum of the absolute weights."""
        return np.abs(self.human) + np.abs(self.machine)


def act_weights(*, human: Ints, machine: Ints, selected: Bools, pi: Floats, power: float = 1.0) -> Weights:
    """Return the weights of λ·ℓ(ŷ) + (δ/π)·(ℓ(y) − λ·ℓ(ŷ)) for N items.

    ``human``, ``machine``: labels [N], ``ABSENT`` where there is none; ``selected``: δ, true only with a human label; ``pi``: the recorded
    inclusion probability; ``power``: λ. Where the draw left nothing to chance (π is 0 or 1) the item counts once, with its human label if
    it has one. Equal labels are folded into one term, so that they add no variance. Raises ``UserError`` for λ ≠ 1 beside a π of 0.
    """
    assert bool(np.all(~selected | (human != ABSENT))), "an item counts as selected only with its answer"
    if power != 1.0 and bool(np.any(pi <= 0)):
        raise UserError(f"lambda is {power} while some items could not be selected (pi is 0); only lambda = 1 is right for them")
    certain = (pi <= 0) | (pi >= 1)
    drawn = ~certain & selected
    same = drawn & (human == machine)
    ratio = np.divide(1.0, pi, out=np.ones_like(pi), where=drawn)
    of_human = np.where(drawn, ratio, 0.0) + np.where(certain & (human != ABSENT), 1.0, 0.0)
    of_machine = np.where(drawn, power * (1 - ratio), np.where(certain, (human == ABSENT) * 1.0, power))
    return Weights(human=np.where(same, power + (1 - power) * ratio, of_human), machine=np.where(same, 0.0, of_machine))


def unbounded(*, human: Ints, machine: Ints, weights: Weights) -> Bools:
    """Say which items have a negative weight on a label that the human corrected: with cross-entropy nothing bounds their loss."""
    wild: Bools = (weights.machine < 0) & (human != machine)
    return wild


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What the loss needs to know about the items of one batch on one rank."""

    human_B: Tensor  # int64; only read where human_weight_B is not 0  # noqa: N815
    machine_B: Tensor  # int64; only read where machine_weight_B is not 0  # noqa: N815
    human_weight_B: Tensor  # float32  # noqa: N815
    machine_weight_B: Tensor  # float32  # noqa: N815


def weighted_items(logits_BC: Tensor, batch: Batch, *, human: BaseLoss, machine: BaseLoss) -> Tensor:  # noqa: N803
    """Return the loss of every item, float32 [B]. A base loss is evaluated only at labels whose weight is not 0."""
    logits_BC = logits_BC.float()  # noqa: N806
    loss_B = logits_BC.new_zeros(len(logits_BC))  # noqa: N806
    for base, label_B, weight_B in (  # noqa: N806
        (human, batch.human_B, batch.human_weight_B),
        (machine, batch.machine_B, batch.machine_weight_B),
    ):
        rows = torch.nonzero(weight_B).flatten()
        if len(rows):
            loss_B = loss_B.index_add(0, rows, weight_B[rows] * base(logits_BC[rows], label_B[rows]))  # noqa: N806
    return loss_B
