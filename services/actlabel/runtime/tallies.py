"""Counting on the hot path: plain numbers of one event loop, added to the registry whenever somebody reads it.

A labelled counter of prometheus_client checks, locks and adds at every increment; the eight of one model call cost as much as parsing
its answer (tests/bench/README.md). Nothing is lost: who reads the registry, be it ``/metrics`` or a test, reads these first.
"""

from bisect import bisect_left
from collections.abc import Iterable
from typing import Protocol
from weakref import WeakSet

from prometheus_client import REGISTRY, Counter, Histogram, Metric
from prometheus_client.registry import Collector


class _Open(Protocol):
    def settle(self) -> None: ...


_open: WeakSet[_Open] = WeakSet()


class _Before(Collector):
    """Stands before every metric in the registry, which is read in the order of registration."""

    def collect(self) -> Iterable[Metric]:
        """Settle all; there are no samples of its own."""
        for tally in list(_open):
            tally.settle()
        return ()

    def describe(self) -> Iterable[Metric]:
        """Nothing, so that registering counts nothing."""
        return ()


REGISTRY.register(_Before())


class Tally:
    """Collects for a counter: add to ``count``."""

    __slots__ = ("__weakref__", "_counter", "count")

    def __init__(self, counter: Counter) -> None:
        """``counter``: with its labels."""
        self._counter = counter
        self.count = 0.0
        _open.add(self)

    def settle(self) -> None:
        """Hand over what came since the last time."""
        count, self.count = self.count, 0.0
        if count:
            self._counter.inc(count)

    def __del__(self) -> None:
        """Whoever forgets it loses nothing."""
        self.settle()


class HistogramTally:
    """Collects for a histogram."""

    __slots__ = ("__weakref__", "_bounds", "_counts", "_histogram", "_sum")

    def __init__(self, histogram: Histogram) -> None:
        """``histogram``: with its labels."""
        self._histogram = histogram
        self._bounds: list[float] = histogram._upper_bounds  # noqa: SLF001 - there is no public way to add many observations at once
        self._counts = [0] * len(self._bounds)
        self._sum = 0.0
        _open.add(self)

    def observe(self, amount: float) -> None:
        """Count one observation."""
        self._counts[bisect_left(self._bounds, amount)] += 1
        self._sum += amount

    def settle(self) -> None:
        """Hand over what came since the last time."""
        counts, self._counts = self._counts, [0] * len(self._bounds)
        total, self._sum = self._sum, 0.0
        self._histogram._sum.inc(total)  # noqa: SLF001 - see above
        for bucket, count in zip(self._histogram._buckets, counts, strict=True):  # noqa: SLF001
            if count:
                bucket.inc(count)

    def __del__(self) -> None:
        """Whoever forgets it loses nothing."""
        self.settle()
