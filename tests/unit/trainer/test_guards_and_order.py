"""The guards' numbers by hand, and the order that all ranks share."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actlabel.trainer.guards import WINDOW_STEPS, RiskWatch, weight_facts
from actlabel.trainer.order import Order, share


def test_weight_facts_by_hand() -> None:
    facts = weight_facts(np.array([1.0, 1.0, 2.0, 4.0]))
    assert (facts.max_weight, facts.top_share) == (4.0, 0.5)
    assert facts.effective_sample_size == pytest.approx(64 / 22)


def test_equal_weights_make_every_item_count() -> None:
    assert weight_facts(np.full(200, 3.0)).effective_sample_size == pytest.approx(200)
    assert weight_facts(np.full(200, 3.0)).top_share == pytest.approx(0.01)


def test_weights_of_zero_carry_nothing() -> None:
    facts = weight_facts(np.zeros(3))
    assert (facts.effective_sample_size, facts.top_share) == (0.0, 0.0)


def _watch(risks: list[float]) -> RiskWatch:
    watch = RiskWatch()
    for risk in risks:
        watch.add(risk, weight_facts(np.array([1.0, 3.0])))
    return watch


def test_the_summary_counts_negative_batches() -> None:
    summary = _watch([1.0, -3.0, 0.5, -0.5]).summary()
    assert (summary["mean_batch_risk"], summary["min_batch_risk"], summary["negative_batches"]) == (-0.5, -3.0, 0.5)
    assert (summary["max_weight"], summary["effective_sample_size"], summary["top_share"]) == (3.0, 1.6, 0.75)


def test_only_a_mean_below_zero_over_a_whole_window_is_persistent() -> None:
    assert not _watch([-1.0] * (WINDOW_STEPS - 1)).persistently_negative
    assert _watch([-1.0] * WINDOW_STEPS).persistently_negative
    assert not _watch([-1.0] * WINDOW_STEPS + [1.0] * WINDOW_STEPS).persistently_negative
    assert not _watch([-1.0, 1.5] * WINDOW_STEPS).persistently_negative


def test_a_watch_goes_on_after_a_restart_as_if_nothing_had_been() -> None:
    first = _watch([-1.0] * 30)
    again = RiskWatch.restored(first.state())
    for watch in (first, again):
        for _ in range(WINDOW_STEPS - 30):
            watch.add(-1.0, weight_facts(np.array([1.0])))
    assert again.summary() == first.summary()
    assert again.persistently_negative


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 60), st.integers(1, 20), st.integers(0, 3))
def test_every_epoch_has_every_item_once_in_batches_of_nearly_equal_size(count: int, batch_items: int, seed: int) -> None:
    items = np.arange(count) * 7
    order = Order(items, batch_items=batch_items, seed=seed)
    for epoch in range(2):
        batches = [order.batch(epoch * order.steps_per_epoch + number) for number in range(order.steps_per_epoch)]
        assert sorted(np.concatenate(batches).tolist()) == items.tolist()
        sizes = {len(batch) for batch in batches}
        assert max(sizes) - min(sizes) <= 1
        assert max(sizes) <= batch_items


def test_the_order_is_a_function_of_seed_and_step() -> None:
    first, second = (Order(np.arange(100), batch_items=10, seed=4) for _ in range(2))
    assert second.batch(17).tolist() == first.batch(17).tolist()
    assert Order(np.arange(100), batch_items=10, seed=5).batch(17).tolist() != first.batch(17).tolist()
    assert first.batch(3).tolist() != first.batch(13).tolist()


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10), st.integers(1, 6))
def test_shares_are_disjoint_and_cover_the_batch(count: int, size: int) -> None:
    batch = np.arange(count)
    shares = [share(batch, rank, size) for rank in range(size)]
    assert sorted(np.concatenate(shares).tolist()) == batch.tolist()
