"""The breaker of one endpoint: one that is out of reach is left alone, and asked by one request at a time whether it is back. Pure."""

import random
from dataclasses import dataclass
from typing import Literal

State = Literal["closed", "open", "half-open"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """When it opens, and for how long."""

    failures: int = 8  # in a row, with no answer between them
    first_open_s: float = 1.0  # the first time it is open for up to so long, twice as long each time
    longest_open_s: float = 30.0
    refused_s: float = 300.0  # what a person must mend is looked at again after so long
    memory: float = 0.1  # weight of the last outcome in the health


class Breaker:
    """Closed: requests pass. Open: none until a moment. Half-open: one, whose outcome decides."""

    def __init__(self, *, chance: random.Random, policy: Policy = Policy()) -> None:
        """Begin closed and in health."""
        self._chance = chance
        self._policy = policy
        self.state: State = "closed"
        self.until_s = 0.0  # while open: when a probe may go
        self.health = 1.0  # a moving mean of outcomes; the share of requests that it is worth
        self.why = ""  # the last failure
        self._failures = 0
        self._times = 0  # opened in a row
        self._probing = False

    def lets(self, now_s: float) -> bool:
        """Say whether a request may go now."""
        return self.state == "closed" or (not self._probing and now_s >= self.until_s)

    def sent(self) -> bool:
        """A request goes; says whether it is the probe."""
        if self.state == "closed":
            return False
        self.state = "half-open"
        self._probing = True
        return True

    def answered(self) -> None:
        """One was answered, be it by a refusal of this one question: the endpoint is there."""
        if self._failures or self.state != "closed":
            self._failures = self._times = 0
            self.state, self._probing = "closed", False
        if self.health < 1.0:
            self.health = min(self.health + self._policy.memory * (1.001 - self.health), 1.0)

    def failed(self, now_s: float, why: str, *, probe: bool = False) -> None:
        """One was not answered: the connection broke, the time was up, the server is broken."""
        self.why = why
        self.health *= 1.0 - self._policy.memory
        self._failures += 1
        if probe or (self.state == "closed" and self._failures >= self._policy.failures):
            longest_s = min(self._policy.first_open_s * 2.0 ** min(self._times, 30), self._policy.longest_open_s)
            self._times += 1
            self._open(now_s + self._chance.uniform(0.0, longest_s))

    def refused(self, now_s: float, why: str) -> None:
        """It does not serve us until a person mends something."""
        self.why = why
        self._open(now_s + self._policy.refused_s)

    def abandoned(self) -> None:
        """The probe was cancelled: another one may go."""
        if self.state == "half-open":
            self.state, self._probing = "open", False

    def _open(self, until_s: float) -> None:
        self.state, self.until_s, self._probing = "open", until_s, False
