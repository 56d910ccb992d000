"""How large a chaos run is."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Everything that a run is a function of, besides what the machine does meanwhile."""

    seed: int
    items: int
    faults: int
    replicas: int = 2  # of every role, at the beginning
    batches: int = 2  # each is sealed and drawn by itself
    budget_share: float = 0.1  # of the items, for human review
    latency_ms: float = 800.0  # of the endpoint, the median
    calls_in_flight: int = 40  # of one process
    window: int = 200  # items of one process
    dead_letters_per_minute: int = 60
    item_deadline_s: float = 60.0
    call_timeout_s: float = 10.0
    reviewers: int = 3
    review_s: float = 15.0  # that the reviews take at least, all reviewers at work
    patience_s: float = 45.0  # a watermark may stand still so long
    cap_usd: float = 100.0
    strays: int = 0  # repeated calls that no loss explains and that are not yet a violation (README)
    handovers_wait: bool = True  # a new owner of a partition waits for the running calls of the old one (chat/claims.py)

    @property
    def budget(self) -> int:
        """Reviews that the campaign allows."""
        return int(self.items * self.budget_share)
