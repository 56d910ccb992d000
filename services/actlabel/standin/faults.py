"""What goes wrong on purpose. Every draw is a function of seed, request and attempt, so that the order of requests changes nothing."""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, model_validator

Share = Annotated[float, Field(ge=0, le=1)]
Fate = Literal["answer", "rate_limit", "error", "hang", "nonsense", "disconnect"]

_L = TypeVar("_L", int, float)
_NORMAL = NormalDist()
_NONSENSE = (
    ("Sure! Here is the label you asked for.", "stop"),  # no JSON
    ('{"label": "no-such-label", "error_probability": 7, "surprise": [1, 2', "length"),  # cut off
    ('{"label": "no-such-label", "error_probability": 7}', "stop"),  # JSON outside the schema
    ("[]", "stop"),  # JSON of another type
    ("", "content_filter"),  # nothing at all
    ('```json\n{"verdict": null}\n```', "stop"),  # fenced, other keys
)


class Faults(BaseModel):
    """How a stand-in misbehaves; by default it does not. Shares are of all requests and add up to at most 1."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    seed: int = Field(0, ge=0, description="another seed, other requests fail")
    latency_ms: float = Field(0.0, ge=0, description="before every answer; the median where latency_sigma is above 0")
    latency_sigma: float = Field(0.0, ge=0, le=5, description="of a lognormal latency; 0: the latency is fixed")
    rate_limit: Share = Field(0.0, description="answered with 429")
    error: Share = Field(0.0, description="answered with 500")
    hang: Share = Field(0.0, description="never answered")
    nonsense: Share = Field(0.0, description="answered with something that is not what was asked for")
    disconnect: Share = Field(0.0, description="the connection breaks instead of an answer")
    retry_after_s: float = Field(1.0, ge=0, description="what a 429 says in Retry-After")
    concurrency: tuple[int, ...] = Field((), description="most requests at once, then 429; several take turns every step_s")
    requests_per_s: tuple[float, ...] = Field((), description="most requests a second, then 429; several take turns every step_s")
    full_speed: tuple[int, ...] = Field(
        (), description="requests at once that are answered at full speed, beyond it latency grows in proportion; several take turns"
    )
    step_s: float = Field(10.0, gt=0, description="how long one limit of several holds")

    @model_validator(mode="after")
    def _shares_fit(self) -> "Faults":
        if (total := math.fsum(share for _, share in self._shares())) > 1 + 1e-9:
            raise ValueError(f"the shares of faults add up to {total:g}, which is above 1")
        if any(limit <= 0 for limit in (*self.concurrency, *self.requests_per_s, *self.full_speed)):
            raise ValueError("limits are above 0")
        return self

    def _shares(self) -> Sequence[tuple[Fate, float]]:
        return (
            ("rate_limit", self.rate_limit),
            ("error", self.error),
            ("hang", self.hang),
            ("nonsense", self.nonsense),
            ("disconnect", self.disconnect),
        )

    @property
    def quiet(self) -> bool:
        """Say whether no request needs a draw."""
        return self.latency_ms == 0 and not any(share for _, share in self._shares())

    def verdict(self, request_digest: str, attempt: int) -> "Verdict":
        """Draw what happens to the ``attempt``-th arrival of a request."""
        if self.quiet:
            return _GOOD
        seeded = hashlib.blake2b(f"{self.seed}:{request_digest}:{attempt}".encode(), digest_size=24).digest()
        fate, latency, kind = (((int.from_bytes(seeded[i : i + 8], "big") >> 11) + 0.5) / 2**53 for i in (0, 8, 16))
        text, finish_reason = _NONSENSE[int(kind * len(_NONSENSE))]
        return Verdict(fate=self._fate(fate), latency_s=self._latency_s(latency), nonsense=text, finish_reason=finish_reason)

    def _fate(self, draw: float) -> Fate:
        for fate, share in self._shares():
            if draw < share:
                return fate
            draw -= share
        return "answer"

    def _latency_s(self, draw: float) -> float:
        return self.latency_ms / 1000 * math.exp(self.latency_sigma * _NORMAL.inv_cdf(draw))


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What happens to one request."""

    fate: Fate
    latency_s: float
    nonsense: str  # the content, where fate is nonsense
    finish_reason: str  # that goes with it


_GOOD = Verdict(fate="answer", latency_s=0.0, nonsense="", finish_reason="stop")


class Limits:
    """The state of concurrency and rate limits."""

    def __init__(self, started_s: float) -> None:
        """Begin with an empty server at ``started_s`` (monotonic)."""
        self._started_s = started_s
        self._filled_s = started_s
        self._tokens = 1.0

    def refuses(self, faults: Faults, *, now_s: float, in_flight: int) -> bool:
        """Say whether one more request, beside ``in_flight`` others, is too much now."""
        if faults.concurrency and in_flight >= self._present(faults.concurrency, faults, now_s):
            return True
        return bool(faults.requests_per_s) and not self._take(self._present(faults.requests_per_s, faults, now_s), now_s)

    def slowness(self, faults: Faults, *, now_s: float, in_flight: int) -> float:
        """Return the factor by which one more request, beside ``in_flight`` others, is answered more slowly: all share one machine."""
        if not faults.full_speed:
            return 1.0
        return max((in_flight + 1) / self._present(faults.full_speed, faults, now_s), 1.0)

    def _present(self, limits: Sequence[_L], faults: Faults, now_s: float) -> _L:
        return limits[int((now_s - self._started_s) / faults.step_s) % len(limits)]

    def _take(self, per_s: float, now_s: float) -> bool:
        """Take one token of a bucket that holds at most a second's worth."""
        self._tokens = min(max(per_s, 1.0), self._tokens + (now_s - self._filled_s) * per_s)
        self._filled_s = now_s
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True
