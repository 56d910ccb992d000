"""Tallies: what is read from the registry is what a counter or histogram would have said."""

import gc

import pytest
from prometheus_client import REGISTRY, Counter, Histogram

from actlabel.runtime.tallies import HistogramTally, Tally

COUNTER = Counter("test_tallies_total", "Of this test.", ["name"])
TALLIED = Histogram("test_tallied_seconds", "Of this test.", ["name"], buckets=(1, 2, 5))
OBSERVED = Histogram("test_observed_seconds", "Of this test.", ["name"], buckets=(1, 2, 5))


def _read(metric: str, /, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(metric, labels)


def test_a_tally_is_read_whole_however_often_it_is_read() -> None:
    tally = Tally(COUNTER.labels("often"))
    tally.count += 2
    assert _read("test_tallies_total", name="often") == 2
    tally.count += 0.5
    assert _read("test_tallies_total", name="often") == 2.5
    assert _read("test_tallies_total", name="often") == 2.5


def test_two_tallies_of_one_counter_add_up() -> None:
    one, other = Tally(COUNTER.labels("two")), Tally(COUNTER.labels("two"))
    one.count += 1
    other.count += 1
    assert _read("test_tallies_total", name="two") == 2


def test_what_a_forgotten_tally_had_counted_is_not_lost() -> None:
    tally = Tally(COUNTER.labels("forgotten"))
    tally.count += 3
    del tally
    gc.collect()
    assert _read("test_tallies_total", name="forgotten") == 3


@pytest.mark.parametrize("amount", [0.0, 0.999, 1.0, 1.001, 2.0, 5.0, 5.001, 1e9])
def test_a_histogram_tally_says_what_the_histogram_would(amount: float) -> None:
    tally = HistogramTally(TALLIED.labels(str(amount)))
    for _ in range(3):
        tally.observe(amount)
        OBSERVED.labels(str(amount)).observe(amount)
    for suffix in ("sum", "count"):
        assert _read(f"test_tallied_seconds_{suffix}", name=str(amount)) == _read(f"test_observed_seconds_{suffix}", name=str(amount))
    for bound in ("1.0", "2.0", "5.0", "+Inf"):
        said = _read("test_tallied_seconds_bucket", name=str(amount), le=bound)
        assert said == _read("test_observed_seconds_bucket", name=str(amount), le=bound) is not None
