"""Evidence is read a page at a time; where the pages end changes nothing."""

import dataclasses

import numpy as np
import pytest

from actlabel.host.host import open_host
from actlabel.report import collect as module
from actlabel.report.collect import collect
from actlabel.report.columns import Lookup, keys, taken

from .conftest import Scenario


def _plain(evidence):
    """Items by cell and probability, since their order says nothing."""
    columns = [np.asarray(getattr(evidence.items, field.name), dtype=np.int64) for field in dataclasses.fields(evidence.items)]
    return dataclasses.replace(evidence, items=None), sorted(zip(*(column.tolist() for column in columns), strict=True))


@pytest.mark.parametrize("mode", ["exact", "streaming"])
@pytest.mark.parametrize("page", [1, 7, 99, 100])  # of 100 items: one each, a rest, one short of all, all
async def test_pages_change_nothing(settings, stage_all, monkeypatch, page, mode):
    scenario = Scenario(mode=mode, items=100, budget=40, dead=3, unanswered=2, undecidable=2, in_flight=4)
    campaign = await stage_all(scenario)
    async with open_host(settings, runs_stages=False) as host:
        whole = await collect(host, campaign)
        monkeypatch.setattr(module, "_PAGE", page)
        paged = await collect(host, campaign)
    assert _plain(paged) == _plain(whole)
    assert paged.ledger.registered == 100
    assert paged.ledger.dead == 3
    assert paged.ledger.in_review == 2
    assert paged.ledger.in_flight == 4
    assert len(paged.items) == 97


def test_lookup_finds_each_where_it_stands():
    among = keys(["b", "a", "c"])
    places = Lookup(among).places(keys(["c", "x", "a", "b"]))
    assert places.tolist() == [2, -1, 1, 0]
    assert taken(np.array([10, 20, 30], dtype=np.int32), places, missing=-1).tolist() == [30, -1, 20, 10]


def test_lookup_among_none():
    assert Lookup(keys([])).places(keys(["a"])).tolist() == [-1]
