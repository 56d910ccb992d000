"""A pause may end between any two looks at the clock: whoever waits for its end is woken all the same."""

import asyncio
import random

import pytest

from actlabel.chat.directory import Directory
from actlabel.chat.dispatch import Dispatcher
from actlabel.chat.endpoints import Lane
from actlabel.chat.quota import MemoryLedger
from actlabel.runtime.campaign_file import Annotator
from actlabel.runtime.clock import FakeClock

_TICK_S = 1e-4


class Creeping(FakeClock):
    """Moves with every reading, as clocks do, and wakes sleepers some readings early, as event loops with coarse timers do."""

    def __init__(self, early: int) -> None:
        super().__init__()
        self._early = early

    def monotonic(self) -> float:
        self.advance(_TICK_S)
        return super().monotonic()

    async def sleep(self, seconds: float) -> None:
        self.advance(max(seconds - self._early * _TICK_S, 0.0))
        await asyncio.sleep(0)


def _bench(clock: FakeClock) -> tuple[Dispatcher, Lane]:
    dispatcher = Dispatcher(clock=clock, chance=random.Random(1), most=8)
    directory = Directory(clock=clock, chance=random.Random(1), ledger=MemoryLedger(clock), most=8, refilled=dispatcher.serve)
    return dispatcher, directory.lane("u", "annotator", Annotator(endpoint="http://127.0.0.1:1/v1", model="m"))


@pytest.mark.parametrize("early", range(12))
async def test_an_alarm_that_rings_a_moment_early_is_set_again(early: int) -> None:
    dispatcher, lane = _bench(Creeping(early))
    dispatcher.pause(lane.routes[0].endpoint, 1.0)
    async with asyncio.timeout(5):
        place = dispatcher.now_or_never(lane, 0.0, None) or await dispatcher.turn(lane, 0.0, None)
    dispatcher.ended(place, "answered", sent_s=0.0, alive=True)
    assert not lane.waiting


@pytest.mark.parametrize("ticks", range(1, 12))
async def test_a_pause_that_ends_while_a_request_queues_up_keeps_nobody(ticks: int) -> None:
    clock = Creeping(0)
    dispatcher, lane = _bench(clock)
    lane.routes[0].endpoint.address.quiet_until_s = clock.now() + ticks * _TICK_S
    async with asyncio.timeout(5):
        place = dispatcher.now_or_never(lane, 0.0, None) or await dispatcher.turn(lane, 0.0, None)
    dispatcher.ended(place, "answered", sent_s=0.0, alive=True)
    assert not lane.waiting
    assert not dispatcher._queued
