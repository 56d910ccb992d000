"""What is loaded, when, and how often."""

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from actlabel.completions.protocol import Refused
from actlabel.core.errors import RetryLater
from actlabel.model_registry.registry import Registry
from actlabel.model_server.batching import Batcher
from actlabel.model_server.ports import Predictor
from actlabel.model_server.predictor import open_predictor
from actlabel.model_server.shelf import MOST_LOADED, Shelf
from actlabel.runtime.clock import SystemClock
from actlabel.runtime.storage import Storage
from tests.unit.model_server.shelved import Place, place


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Place]:
    async with place(tmp_path) as opened:
        yield opened


class _Away(Registry):
    """A registry whose database can be out of reach."""

    away = False

    async def current(self):
        if self.away:
            raise RetryLater("the database is out of reach")
        return await super().current()

    async def find(self, reference: str):
        if self.away:
            raise RetryLater("the database is out of reach")
        return await super().find(reference)


class _Shelved:
    def __init__(self, here: Place, tmp_path: Path, *names: str) -> None:
        self.opened: list[Path] = []
        self.registry = _Away(here.database, SystemClock())
        executor = ThreadPoolExecutor(1)

        def opened(folder: Path) -> Predictor:
            self.opened.append(folder)
            return open_predictor(folder)

        self.shelf = Shelf(
            registry=self.registry,
            storage=Storage(here.settings.storage),
            cache=tmp_path / "cache",
            opened=opened,
            batcher=lambda predictor, name: Batcher(predictor, executor=executor, clock=SystemClock(), most=8, name=name),
            loader=executor,
            names=names,
        )


async def test_a_version_that_cannot_be_loaded_leaves_the_old_one_at_work(here: Place, tmp_path: Path) -> None:
    await here.register("stance")
    shelved = _Shelved(here, tmp_path)
    await shelved.shelf.look()
    await shelved.shelf.get("stance")
    await here.register("stance", scale=float("nan"))
    for _ in range(3):
        await shelved.shelf.look()
    assert (await shelved.shelf.get("stance")).model.reference == "stance@1"
    assert (shelved.shelf.trouble, len(shelved.opened)) == (None, 2), "it is tried once: versions never change"
    with pytest.raises(Refused, match="weights that are no numbers") as refused:
        await shelved.shelf.get("stance@2")
    assert refused.value.status == 404
    await here.register("stance", seed=3)
    await shelved.shelf.look()
    assert (await shelved.shelf.get("stance")).model.reference == "stance@3"


async def test_what_made_room_is_loaded_again_only_when_it_is_asked_for(here: Place, tmp_path: Path) -> None:
    shelved = _Shelved(here, tmp_path)
    for number in range(MOST_LOADED + 2):
        await here.register(f"m{number}", seed=number)
        assert (await shelved.shelf.get(f"m{number}")).model.reference == f"m{number}@1"
    await here.register("m0", seed=99)
    for _ in range(3):
        await shelved.shelf.look()
    assert len(shelved.opened) == MOST_LOADED + 2
    await shelved.shelf.get("m0")
    await shelved.shelf.get(f"m{MOST_LOADED + 1}")
    assert len(shelved.opened) == MOST_LOADED + 3


async def test_a_model_is_loaded_once_however_many_ask(here: Place, tmp_path: Path) -> None:
    await here.register("stance")
    shelved = _Shelved(here, tmp_path)
    served = await asyncio.gather(*(shelved.shelf.get("stance" if n % 2 else "stance@1") for n in range(20)))
    assert len({id(one) for one in served}) == len(shelved.opened) == 1


async def test_an_outage_of_the_registry_stops_no_loaded_model(here: Place, tmp_path: Path) -> None:
    await here.register("stance")
    shelved = _Shelved(here, tmp_path)
    shelved.registry.away = True
    await shelved.shelf.look()
    assert shelved.shelf.trouble == "the database is out of reach"
    with pytest.raises(Refused, match="out of reach") as refused:
        await shelved.shelf.get("stance")
    assert refused.value.status == 503
    shelved.registry.away = False
    await shelved.shelf.get("stance")
    shelved.registry.away = True
    await shelved.shelf.look()
    assert shelved.shelf.trouble is None
    assert (await shelved.shelf.get("stance")).model.reference == "stance@1"


async def test_a_named_model_is_loaded_before_anybody_asks(here: Place, tmp_path: Path) -> None:
    await here.register("stance")
    shelved = _Shelved(here, tmp_path, "stance@1", "later")
    await shelved.shelf.look()
    assert (len(shelved.opened), shelved.shelf.trouble) == (1, "later: no such model is registered")
    await here.register("later", seed=5)
    await shelved.shelf.look()
    assert (len(shelved.opened), shelved.shelf.trouble) == (2, None)
