"""Who tries tokens is slowed down, without locking out those who already work from the same address."""

from collections import OrderedDict, deque
from typing import Final

from actlabel.review_gateway.refusals import TooMany
from actlabel.runtime.clock import Clock

_WRONG_PER_WINDOW: Final = 10
_WINDOW_S: Final = 60.0
_MOST_KEPT: Final = 10_000


class Guesses:
    """Ten wrong tokens a minute and address; then only tokens that were right before are looked at.

    Behind a proxy everybody has one address, so a plain lockout would let one stranger lock out the whole team.
    """

    def __init__(self, clock: Clock) -> None:
        """Keep the clock; nobody is suspected yet."""
        self._clock = clock
        self._wrong: OrderedDict[str, deque[float]] = OrderedDict()
        self._right: OrderedDict[bytes, None] = OrderedDict()

    def check(self, address: str, token_sha256: bytes) -> None:
        """Raise ``TooMany`` when this address guessed too often of late."""
        if token_sha256 in self._right:
            return
        recent = self._recent(address)
        if len(recent) >= _WRONG_PER_WINDOW:
            wait_s = max(int(recent[0] + _WINDOW_S - self._clock.monotonic()) + 1, 1)
            raise TooMany(f"Too many wrong tokens from this address; wait {wait_s} s", retry_after_s=wait_s)

    def wrong(self, address: str, token_sha256: bytes) -> None:
        """Note a wrong token; one that was right before has been withdrawn and is a stranger's now."""
        self._right.pop(token_sha256, None)
        self._recent(address).append(self._clock.monotonic())

    def right(self, token_sha256: bytes) -> None:
        """Note a token that was right."""
        self._right[token_sha256] = None
        self._right.move_to_end(token_sha256)
        if len(self._right) > _MOST_KEPT:
            self._right.popitem(last=False)

    def _recent(self, address: str) -> deque[float]:
        recent = self._wrong.setdefault(address, deque(maxlen=_WRONG_PER_WINDOW))
        self._wrong.move_to_end(address)
        if len(self._wrong) > _MOST_KEPT:
            self._wrong.popitem(last=False)
        while recent and recent[0] <= self._clock.monotonic() - _WINDOW_S:
            recent.popleft()
        return recent
