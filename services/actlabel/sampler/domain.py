"""What a draw is, when one is due, and what it decides. Plain values and arrays; no input or output."""

import json
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from actlabel.core.designs import CutOff, Design, KeptCells, cut_offs, design_block, design_exact, select
from actlabel.core.errors import UserError
from actlabel.core.random_numbers import random_numbers
from actlabel.core.rules import EXPONENTIAL, Rule
from actlabel.sampler.allowance import Allowance

EXACT: Final = "exact"
STREAMING: Final = "streaming"


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """What decisions are a function of, besides the items themselves. Stored with a draw before any item is looked at."""

    rule: str
    beta: float
    audit_share: float
    seed: int
    key_sha256: str  # of the campaign's secret key: published before, so that the key can be shown afterwards
    campaign_version: int

    def to_json(self) -> str:
        """Write with sorted keys, so that equal parameters are equal text."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "Parameters":
        """Read what ``to_json`` wrote."""
        return cls(**json.loads(text))

    @property
    def core_rule(self) -> Rule:
        """The rule as the core knows it."""
        return Rule(name=self.rule, beta=self.beta)

    def differences(self, other: "Parameters") -> list[str]:
        """Name the fields that would make other choices out of the same items; the campaign's version is not one."""
        fields = ["rule", "audit_share", "seed", "key_sha256", *(["beta"] if self.rule == EXPONENTIAL else [])]
        return [field for field in fields if getattr(self, field) != getattr(other, field)]


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawRow:
    """A draw as stored."""

    draw: int
    batch: int
    mode: str
    budget: int
    selected: int
    population: int
    raises: int
    parameters: Parameters
    complete: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawPlan:
    """A draw that is due."""

    batch: int
    raises: int = 0  # the draw over the same batch whose choice it extends


def latest_by_batch(draws: Sequence[DrawRow]) -> dict[int, DrawRow]:
    """Return the latest complete draw of each batch."""
    return {row.batch: row for row in draws if row.complete}


def budget_of(plan: DrawPlan, draws: Sequence[DrawRow], allowance: Allowance, population: int) -> int:
    """Return the reviews of a draw that is due; negative when other batches took more than a count allows."""
    elsewhere = sum(row.selected for batch, row in latest_by_batch(draws).items() if batch != plan.batch)
    return allowance.of_batch(population, taken_elsewhere=elsewhere)


def due_draws(seals: Collection[int], draws: Sequence[DrawRow], allowance: Allowance, wanted: Parameters) -> list[DrawPlan]:
    """Say which draws are due in a campaign; ``seals``: its sealed batches.

    A sealed batch without a draw comes first. A raised budget is for the newest drawn batch (a count) or for each (a share), and only
    once every sealed batch is drawn. Raises ``UserError`` when a complete draw would have to be unmade.
    """
    latest = latest_by_batch(draws)
    for row in latest.values():
        _check_unchanged(row, wanted)
    undrawn = sorted(set(seals) - set(latest))
    if undrawn:
        return [DrawPlan(batch=batch) for batch in undrawn]
    raisable = latest if allowance.share is not None else {batch: latest[batch] for batch in [max(latest)]} if latest else {}
    return [plan for row in raisable.values() if (plan := _raise(row, draws, allowance)) is not None]


def _check_unchanged(row: DrawRow, wanted: Parameters) -> None:
    if row.mode != EXACT:
        raise UserError(f"sampler.mode: draw {row.draw} is {row.mode}; put it back, or make a new campaign")
    if changed := row.parameters.differences(wanted):
        raise UserError(
            f"{', '.join(changed)}: draw {row.draw} was made with other values, and a complete draw is not made again with another rule; "
            "put them back and apply, or make a new campaign"
        )


def _raise(row: DrawRow, draws: Sequence[DrawRow], allowance: Allowance) -> DrawPlan | None:
    plan = DrawPlan(batch=row.batch, raises=row.draw)
    budget = budget_of(plan, draws, allowance, row.population)
    if budget < row.budget:
        raise UserError(
            f"sampler.budget: allows {max(budget, 0)} reviews in batch {row.batch}, and draw {row.draw} has already chosen {row.selected}; "
            "a budget is only raised: apply one at least as high as before"
        )
    return plan if budget > row.budget else None


def check_mode(now: str, taken_in_as: str) -> None:
    """Raise ``UserError`` when a campaign asks for another mode than the one in which its items were taken in."""
    if now != taken_in_as:
        raise UserError(
            f"sampler.mode: is {now}, but items of this campaign were already taken in as {taken_in_as}; put it back and apply, "
            "or make a new campaign"
        )


def check_budget(row: DrawRow, allowance: Allowance) -> None:
    """Raise ``UserError`` when nothing is left for a batch that is to be audited. A budget that was stated as 0 is taken at its word."""
    stated_as_none = allowance.count == 0 and row.budget == 0
    if row.population and row.budget <= 0 and row.parameters.audit_share > 0 and not stated_as_none:
        raise UserError(
            f"sampler.budget: leaves no review for batch {row.batch} of {row.population} items, so nothing of it could be audited; "
            "raise it and apply"
        )
    if row.budget < 0:
        raise UserError(f"sampler.budget: other batches took {-row.budget} more reviews than it allows; raise it and apply")


@dataclass(frozen=True, slots=True, kw_only=True)
class Population:
    """The n items that a draw or a block decides upon, in any order."""

    ids: Sequence[str]  # (n,)
    epsilon_q16: NDArray[np.int64]  # (n,) error probabilities in units of 2^-16
    pages: Sequence[str] = ()  # the last id of every page that it was read in


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """What a draw or a block decided. n items in h cells."""

    population: Population
    design: Design
    chosen: NDArray[np.bool_]  # (n,)
    cut_offs: Sequence[CutOff | None]  # (h,)

    @property
    def selected(self) -> int:
        """How many items are reviewed."""
        return int(self.design.selected.sum())

    def manifest(self) -> str:
        """Write the cells as JSON: ``[lowest, highest, size, selected, cut-off number in hexadecimal, cut-off item]`` each."""
        design = self.design
        columns = (design.lowest.tolist(), design.highest.tolist(), design.size.tolist(), design.selected.tolist())
        rows = zip(*columns, self.cut_offs, strict=True)
        return json.dumps({"cells": [[*values, *_cut_off(cut)] for *values, cut in rows]}, separators=(",", ":"))


def _cut_off(cut: CutOff | None) -> tuple[str | None, str | None]:
    return (None, None) if cut is None else (f"{cut.number:016x}", cut.item_id)


def draw_batch(key: bytes, population: Population, *, budget: int, parameters: Parameters, keep: KeptCells | None) -> Drawn:
    """Decide a whole batch; ``keep``: the cells of the draw that it extends. Raises ``UserError`` when the audit exceeds the budget."""
    rule, audit_share = parameters.core_rule, parameters.audit_share
    return _drawn(key, population, design_exact(population.epsilon_q16, budget=budget, audit_share=audit_share, rule=rule, keep=keep))


def draw_block(key: bytes, population: Population, *, quota: int, parameters: Parameters) -> Drawn:
    """Decide a block of a stream, 1 ≤ quota ≤ n."""
    rule, audit_share = parameters.core_rule, parameters.audit_share
    return _drawn(key, population, design_block(population.epsilon_q16, quota=quota, audit_share=audit_share, rule=rule))


def _drawn(key: bytes, population: Population, design: Design) -> Drawn:
    ids = population.ids
    numbers = random_numbers(key, ids)
    chosen = select(design, numbers, ids)
    return Drawn(population=population, design=design, chosen=chosen, cut_offs=cut_offs(design, numbers, ids))
