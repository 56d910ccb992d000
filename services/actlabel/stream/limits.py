"""How much a stage may take on: the policy, set once per process."""

from dataclasses import dataclass

from actlabel.runtime.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds of one stage in one process; the first six are settings of the same name, the rest is tuning."""

    calls_in_flight: int = 512  # handlers at work at any moment
    window_items: int = 2000  # items dispatched but not committed: what is read again after a crash
    window_bytes: int = 256 * 2**20  # keys and values of those items
    item_deadline_s: float = 900.0  # in the handler, waits between attempts included, waits for our own outages left out
    drain_deadline_s: float = 25.0
    commit_interval_s: float = 0.5

    lend_to_campaign: int = 2  # how many times what is free a campaign may hold (see fair_share.py)
    lend_to_partition: int = 2  # the same for one partition of the window
    poll_records: int = 500  # at most so many from one poll
    poll_s: float = 0.05  # how long one poll waits for a record
    poll_pause_s: float = 0.08  # after a poll that brought few, so that a steady trickle is read in handfuls
    learn_s: float = 1.0  # how often pauses are read
    retry_first_s: float = 0.5  # the first wait before another attempt is up to this, twice as long each time
    retry_most_s: float = 30.0
    stuck_margin_s: float = 60.0  # beyond the item deadline, before a stage calls itself stuck

    @classmethod
    def of(cls, settings: Settings) -> "Limits":
        """Take what a process is told by its environment."""
        return cls(
            calls_in_flight=settings.calls_in_flight,
            window_items=settings.window_items,
            window_bytes=settings.window_bytes,
            item_deadline_s=settings.item_deadline_s,
            drain_deadline_s=settings.drain_deadline_s,
            commit_interval_s=settings.commit_interval_s,
        )
