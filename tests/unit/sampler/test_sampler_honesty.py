"""The recorded inclusion probability is the probability with which an item was selected, over many secret keys.

Bound: over m keys the count of selections of one item is binomial; |count/m - π| stays within z·sqrt(π(1-π)/m) with z = 6.5, which one
item exceeds with probability below 1e-10 by the normal tail and below 1e-7 with its skew at these counts: 300 items fail by chance less
than once in 10,000 runs of all tests, and a fixed list of keys makes the outcome the same in every run.
"""

import hashlib

import numpy as np
import pytest

from actlabel.core.designs import quantise
from actlabel.sampler.domain import Parameters, Population, draw_batch, draw_block
from tests.unit.sampler.sampling import epsilons

KEYS = [hashlib.sha256(f"key {number}".encode()).digest() for number in range(1500)]
DOUBTS = epsilons(300)
POPULATION = Population(ids=list(DOUBTS), epsilon_q16=quantise(np.array(list(DOUBTS.values()))))


def _parameters(rule: str) -> Parameters:
    return Parameters(rule=rule, beta=15.0, audit_share=0.4, seed=0, key_sha256="", campaign_version=1)


@pytest.mark.parametrize("rule", ["threshold", "exponential", "normalization", "variance-optimal", "uniform"])
@pytest.mark.parametrize("mode", ["batch", "block"])
def test_the_recorded_probability_is_the_frequency_of_selection(mode: str, rule: str) -> None:
    parameters = _parameters(rule)
    if mode == "batch":
        draws = [draw_batch(key, POPULATION, budget=70, parameters=parameters, keep=None) for key in KEYS]
    else:
        draws = [draw_block(key, POPULATION, quota=70, parameters=parameters) for key in KEYS]
    inclusion = draws[0].design.inclusion()
    frequency = np.mean([drawn.chosen for drawn in draws], axis=0)
    bound = 6.5 * np.sqrt(inclusion * (1 - inclusion) / len(KEYS))
    assert {int(drawn.chosen.sum()) for drawn in draws} == {70}
    assert inclusion.min() > 0
    assert (np.abs(frequency - inclusion) <= bound).all()
    assert ((inclusion < 1) & (frequency > 0)).any()
