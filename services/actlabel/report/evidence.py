"""What is known about a campaign, as plain values and arrays: everything that a report is computed from."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Bools = NDArray[np.bool_]
Integers = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class DrawFacts:
    """One draw that counts: the latest complete one of its batch, or that of a stream."""

    number: int
    mode: str  # exact, streaming
    rule: str
    beta: float  # of the exponential rule
    audit_share: float  # of the budget
    budget: int  # reviews allowed
    selected: int
    population: int
    calibration_version: int  # 0: the critic's number as it is
    key_sha256: str  # of the secret key, fixed before any item was looked at
    blocks: int  # of a stream; 0 in exact mode
    audit_reviews: float  # spread over every level of doubt, whatever the rule says


@dataclass(frozen=True, kw_only=True)
class DecidedItems:
    """The n items that draws have decided upon, and what is known about each."""

    cell: Integers  # (n,) numbered over all draws and blocks
    cell_size: Integers  # (n,)
    cell_selected: Integers  # (n,)
    epsilon_q16: Integers  # (n,) calibrated error probability in units of 2^-16
    selected: Bools  # (n,) for review
    merged: Bools  # (n,) on the merged topic
    reviewed: Bools  # (n,) with a reviewer's label
    undecidable: Bools  # (n,) reviewers could not decide
    corrected: Bools  # (n,) the reviewer's label differs from the model's
    has_gold: Bools  # (n,) merged, and the user knows the true label
    model_wrong: Bools  # (n,) by gold
    final_wrong: Bools  # (n,) by gold

    def __len__(self) -> int:
        """Return n."""
        return len(self.cell)

    @property
    def error_probability(self) -> NDArray[np.float64]:
        """The calibrated error probability (n,)."""
        return self.epsilon_q16 / 65536.0


@dataclass(frozen=True, kw_only=True)
class Ledger:
    """Where the registered items are. Each is in one place."""

    registered: int
    merged: int
    in_review: int  # waiting for a reviewer or with one
    dead: int
    in_flight: int
    twice: int  # found in two places at once: a defect
    strangers: int  # on the merged topic without being registered: a defect

    @property
    def at_rest(self) -> bool:
        """Whether everything is accounted for and nothing moves."""
        return not (self.in_flight or self.twice or self.strangers)


@dataclass(frozen=True, kw_only=True)
class StageCost:
    """What the model calls of one stage cost."""

    stage: str
    answers: int
    cost_usd: float


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """Everything that the report of one campaign is computed from."""

    campaign: str
    uid: str
    version: int
    question: str
    annotator: str  # model
    criticizer: str  # model
    draws: Sequence[DrawFacts]
    items: DecidedItems
    ledger: Ledger
    costs: Sequence[StageCost]
    review_seconds: float  # of reviewers, over all answers that count
    seconds: float  # from the first registered item to the last answer
    unreadable: int  # records on the merged topic that are no items
