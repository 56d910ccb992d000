"""The recorded inclusion probability is the probability with which an item was selected, over many secret keys.

Bound: over m keys an item is selected Binomial(m, π) times, so by Chernoff its frequency f has m·KL(f‖π) above t with probability at most
2·exp(-t). With t = ln(2·1e6·(items of all tests)) all of them together fail by chance less than once in a million.
"""

import hashlib
import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import rel_entr

from actlabel.core.designs import quantise
from actlabel.sampler.domain import Parameters, Population, draw_batch, draw_block
from tests.unit.sampler.sampling import epsilons

KEYS = [hashlib.sha256(f"key {number}".encode()).digest() for number in range(1500)]
DOUBTS = epsilons(120)
POPULATION = Population(ids=list(DOUBTS), epsilon_q16=quantise(np.array(list(DOUBTS.values()))))
CASES = [("batch", "threshold"), ("batch", "normalization"), ("block", "threshold"), ("block", "uniform")]
LIMIT = math.log(2 * 1e6 * len(DOUBTS) * len(CASES))


def _divergence(frequency: NDArray[np.float64], inclusion: NDArray[np.float64]) -> NDArray[np.float64]:
    """Kullback and Leibler's, of two coins each (n,), in nats."""
    return rel_entr(frequency, inclusion) + rel_entr(1 - frequency, 1 - inclusion)


@pytest.mark.parametrize(("mode", "rule"), CASES)
def test_the_recorded_probability_is_the_frequency_of_selection(mode: str, rule: str) -> None:
    parameters = Parameters(rule=rule, beta=15.0, audit_share=0.4, seed=0, key_sha256="", campaign_version=1)
    if mode == "batch":
        draws = [draw_batch(key, POPULATION, budget=40, parameters=parameters, keep=None) for key in KEYS]
    else:
        draws = [draw_block(key, POPULATION, quota=40, parameters=parameters) for key in KEYS]
    inclusion = draws[0].design.inclusion()
    frequency = np.mean([drawn.chosen for drawn in draws], axis=0)
    assert {int(drawn.chosen.sum()) for drawn in draws} == {40}
    assert inclusion.min() > 0
    assert (frequency[inclusion == 1] == 1).all()
    assert (len(KEYS) * _divergence(frequency, inclusion) <= LIMIT).all()


def test_the_bound_would_notice_a_wrong_probability() -> None:
    """What the test above could see: a cell of 20 recorded as one of 30."""
    frequency, recorded = np.array([5 / 20]), np.array([5 / 30])
    assert len(KEYS) * _divergence(frequency, recorded)[0] > LIMIT
