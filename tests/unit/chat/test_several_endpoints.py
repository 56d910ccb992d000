"""Several endpoints of one model, on real HTTP servers: weights, breakers, refusals, pauses, and what callers see when none is left."""

import asyncio
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from actlabel.chat.dispatch import Throttled
from actlabel.chat.openai_compatible import OpenAiCompatibleClient
from actlabel.chat.port import ChatRequest, EndpointRefused
from actlabel.core.errors import EndpointUnavailable
from actlabel.runtime.clock import FakeClock, SystemClock
from tests.unit.chat.scripted_endpoint import Endpoint, completion, error, serving

Ask = Callable[..., ChatRequest]
Client = OpenAiCompatibleClient


async def broken(client: Client, request: ChatRequest, failures: int = 8) -> None:
    """Fail until the breaker opens."""
    for _ in range(failures):
        with pytest.raises(EndpointUnavailable):
            await client.complete(request)


@pytest.fixture
def dead() -> Iterator[str]:
    """An address at which every connection is refused."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}/v1"


async def arrived(requests: int, *endpoints: Endpoint) -> None:
    """Wait until so many requests are there."""
    while sum(len(endpoint.bodies) for endpoint in endpoints) < requests:  # noqa: ASYNC110 - the script of an endpoint has no event
        await asyncio.sleep(0)


def at(*urls: str, **fields: Any) -> dict[str, Any]:
    return {"endpoint": None, "endpoints": [{"url": url} for url in urls], **fields}


async def test_requests_go_by_weight(client: Client, ask: Ask) -> None:
    gate = asyncio.Event()

    async def hold(request: web.Request) -> web.StreamResponse:
        await gate.wait()
        return await completion()(request)

    async with serving(hold) as light, serving(hold) as heavy:
        endpoints = [{"url": light.url, "weight": 1}, {"url": heavy.url, "weight": 3}]
        request = ask(endpoint=None, endpoints=endpoints)
        calls = [asyncio.create_task(client.complete(request)) for _ in range(40)]
        await arrived(40, light, heavy)
        gate.set()
        await asyncio.gather(*calls)
    assert (len(light.bodies), len(heavy.bodies)) == (10, 30)


async def test_dead_one_costs_no_call_while_another_serves(client: Client, ask: Ask, dead: str, clock: FakeClock) -> None:
    async with serving(completion()) as good:
        request, began = ask(**at(dead, good.url), retries=1), clock.now()
        for _ in range(200):
            await client.complete(request)
    assert len(good.bodies) == 200
    assert clock.now() == began, "nobody waited"
    assert client.readiness() is None


async def test_second_attempt_goes_elsewhere_whatever_the_weights(client: Client, ask: Ask) -> None:
    async with serving(error(500)) as bad, serving(completion()) as good:
        endpoints = [{"url": bad.url, "weight": 1000}, {"url": good.url}]
        await client.complete(ask(endpoint=None, endpoints=endpoints, retries=1))
    assert (len(bad.bodies), len(good.bodies)) == (1, 1)


async def test_hanging_one_takes_no_more_than_its_bound(ask: Ask) -> None:
    async def hang(_: web.Request) -> web.StreamResponse:
        await asyncio.Event().wait()
        raise AssertionError

    async with serving(hang) as bad, serving(completion()) as good, Client(clock=SystemClock(), calls_in_flight=64) as client:
        request = ask(**at(bad.url, good.url), timeout_s=1.0, retries=2)
        for _ in range(10):
            await asyncio.gather(*(client.complete(request) for _ in range(20)))
    assert len(good.bodies) >= 200
    assert len(bad.bodies) < 40, "the breaker is open"


async def test_all_out_of_reach_is_said_early_and_without_hammering(client: Client, ask: Ask, clock: FakeClock) -> None:
    async with serving(error(500, "on fire")) as one, serving(error(500, "on fire")) as two:
        request = ask(**at(one.url, two.url), retries=0)
        for _ in range(100):
            with pytest.raises(EndpointUnavailable, match="on fire"):
                await client.complete(request)
        assert len(one.bodies) + len(two.bodies) <= 16, "eight failures open a breaker"
        assert client.readiness() is not None
        assert one.url in str(client.readiness())
        assert client.places("c1", "annotator", request.model) == 2, "enough to find out when one is back"
        one.script = [completion()]
        clock.advance(3600)
        await client.complete(request)
        assert client.readiness() is None


async def test_one_request_at_a_time_probes(client: Client, ask: Ask, clock: FakeClock) -> None:
    gate = asyncio.Event()

    async def hold(request: web.Request) -> web.StreamResponse:
        await gate.wait()
        return await completion()(request)

    async with serving(error(500)) as endpoint:
        request = ask(endpoint=endpoint.url, retries=0)
        await broken(client, request)
        endpoint.script = [hold]
        clock.advance(3600)
        probe = asyncio.create_task(client.complete(request))
        await arrived(9, endpoint)
        for _ in range(20):
            with pytest.raises(EndpointUnavailable):
                await client.complete(request)
        assert len(endpoint.bodies) == 9
        gate.set()
        await probe
        await client.complete(request)


async def test_cancelled_probe_lets_another_go(client: Client, ask: Ask, clock: FakeClock) -> None:
    async def hang(_: web.Request) -> web.StreamResponse:
        await asyncio.Event().wait()
        raise AssertionError

    async with serving(error(500)) as endpoint:
        request = ask(endpoint=endpoint.url, retries=0)
        await broken(client, request)
        endpoint.script = [hang]
        clock.advance(3600)
        probe = asyncio.create_task(client.complete(request))
        await arrived(9, endpoint)
        probe.cancel()
        await asyncio.gather(probe, return_exceptions=True)
        endpoint.script = [completion()]
        await client.complete(request)


async def test_refusal_of_one_leaves_it_out_and_of_the_last_is_raised(client: Client, ask: Ask, capsys: pytest.CaptureFixture[str]) -> None:
    async with serving(error(401, "no such key")) as one, serving(completion()) as two:
        request = ask(**at(one.url, two.url), retries=0)
        for _ in range(50):
            await client.complete(request)
        assert (len(one.bodies), len(two.bodies)) == (1, 50)
        two.script = [error(402, "pay first")]
        with pytest.raises(EndpointRefused, match="pay first"):
            await client.complete(request)
        one.script = two.script = [completion()]  # a person mended both and lifts the pause
        await client.complete(request)


async def test_endpoint_that_refused_a_campaign_refuses_another_that_has_only_this_one(client: Client, ask: Ask) -> None:
    async with serving(error(401, "no such key")) as one, serving(completion()) as two:
        await client.complete(ask(**at(one.url, two.url)))
        with pytest.raises(EndpointRefused, match="no such key"):
            await client.complete(ask(endpoint=one.url))


async def test_pause_asked_for_is_of_one_endpoint(client: Client, ask: Ask, clock: FakeClock) -> None:
    async with serving(error(429, headers={"Retry-After": "100"})) as one, serving(completion()) as two:
        request, began = ask(**at(one.url, two.url), retries=1), clock.now()
        for _ in range(20):
            await client.complete(request)
        assert clock.now() == began
        assert (len(one.bodies), len(two.bodies)) == (1, 20)


async def test_nothing_left_is_read_from_the_headers(client: Client, ask: Ask, clock: FakeClock) -> None:
    left = {"x-ratelimit-limit-requests": "60", "x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "10m0s"}

    async def behave(request: web.Request) -> web.StreamResponse:
        response = await completion()(request)
        response.headers.update(left)
        return response

    async with serving(behave) as endpoint:
        request = ask(endpoint=endpoint.url)
        await client.complete(request)
        began = clock.now()
        await client.complete(request)
        assert 10 <= clock.now() - began <= 12


async def test_key_of_each_endpoint_goes_to_it_alone(client: Client, ask: Ask, tmp_path: Path) -> None:
    (tmp_path / "one").write_text("sk-one")
    (tmp_path / "two").write_text("sk-two")
    async with serving(completion()) as one, serving(completion()) as two:
        endpoints = [{"url": one.url, "api_key_file": str(tmp_path / "one")}, {"url": two.url}]
        request = ask(endpoint=None, endpoints=endpoints, api_key_file=str(tmp_path / "two"))
        for _ in range(4):
            await asyncio.gather(*(client.complete(request) for _ in range(4)))
    assert {headers["Authorization"] for headers in one.headers} == {"Bearer sk-one"}
    assert {headers["Authorization"] for headers in two.headers} == {"Bearer sk-two"}


async def test_bound_falls_when_an_endpoint_refuses_and_places_follow(client: Client, ask: Ask) -> None:
    present = 0

    async def bear_four(request: web.Request) -> web.StreamResponse:
        nonlocal present
        if present >= 4:
            return await error(429)(request)
        present += 1
        await asyncio.sleep(0.02)
        present -= 1
        return await completion()(request)

    sent_back = 0

    async def persist(request: ChatRequest) -> None:
        """Ask again after being sent back, as a stage does."""
        nonlocal sent_back
        while True:
            try:
                await client.complete(request)
            except Throttled:
                sent_back += 1
                await asyncio.sleep(0.05)
            else:
                return

    async with serving(bear_four) as endpoint:
        request = ask(endpoint=endpoint.url, calls_in_flight=64, retries=1000)
        await asyncio.gather(*(persist(request) for _ in range(300)))
        assert sent_back > 0, "what waits for a bound that fell waits where no deadline runs"
        assert client.places("c1", "annotator", request.model) < 40
        fixed = ask(endpoint=endpoint.url, calls_in_flight=50, retries=1000, adaptive=False)
        assert client.places("c1", "annotator", fixed.model) == 62, "a quarter more than calls, for what looks up and stores"


async def test_lanes_take_turns(ask: Ask) -> None:
    """A campaign with a hundred questions does not keep one with few from its share."""
    async with serving(completion()) as endpoint, Client(clock=SystemClock(), calls_in_flight=1) as client:
        many, few = ask(endpoint=endpoint.url, temperature=1), ask(endpoint=endpoint.url, temperature=2)
        calls = [asyncio.create_task(client.complete(many)) for _ in range(100)]
        await asyncio.sleep(0)
        calls += [asyncio.create_task(client.complete(few)) for _ in range(5)]
        await asyncio.gather(*calls)
        assert max(place for place, body in enumerate(endpoint.bodies) if body["temperature"] == 2) < 20


async def test_cancelled_waiters_leave_nothing_behind(ask: Ask) -> None:
    gate = asyncio.Event()

    async def hold(request: web.Request) -> web.StreamResponse:
        await gate.wait()
        return await completion()(request)

    async with serving(hold) as endpoint, Client(clock=SystemClock(), calls_in_flight=64) as client:
        request = ask(endpoint=endpoint.url, calls_in_flight=2)
        calls = [asyncio.create_task(client.complete(request)) for _ in range(10)]
        await arrived(2, endpoint)
        for call in calls[1:9]:
            call.cancel()
        gate.set()
        await asyncio.gather(*calls, return_exceptions=True)
        await asyncio.gather(*(client.complete(request) for _ in range(10)))
        lane = client._directory.lane("c1", "annotator", request.model)
        assert (lane.in_flight, client._dispatcher.in_flight, len(lane.waiting), client._dispatcher._queued) == (0, 0, 0, {})
        assert lane.routes[0].endpoint.in_flight == 0


async def test_place_that_came_with_a_cancellation_is_given_back(client: Client, ask: Ask) -> None:
    async with serving(completion()) as endpoint:
        request = ask(endpoint=endpoint.url, calls_in_flight=1)
        lane, dispatcher = client._directory.lane("c1", "annotator", request.model), client._dispatcher
        place = dispatcher.now_or_never(lane, 0.0, None)
        assert place is not None
        waiting = asyncio.create_task(dispatcher.turn(lane, 0.0, None))
        await asyncio.sleep(0)
        dispatcher.ended(place, "answered", sent_s=0.0)
        assert dispatcher.in_flight == 1, "it has its turn and does not know it yet"
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        assert (dispatcher.in_flight, lane.in_flight) == (0, 0)


async def test_place_that_came_with_the_end_of_patience_is_used(client: Client, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("actlabel.chat.dispatch._LEAST_PATIENCE_S", 0.0)
    async with serving(completion()) as endpoint:
        request = ask(endpoint=endpoint.url, calls_in_flight=1, timeout_s=1e-9)
        lane, dispatcher = client._directory.lane("c1", "annotator", request.model), client._dispatcher
        place = dispatcher.now_or_never(lane, 0.0, None)
        assert place is not None
        waiting = asyncio.create_task(dispatcher.turn(lane, 0.0, None))
        await asyncio.sleep(0)
        dispatcher.ended(place, "answered", sent_s=0.0)
        assert (await waiting).lane is lane
        assert dispatcher.in_flight == 1


async def test_quota_holds_requests_back_and_a_long_wait_is_our_own_doing(
    client: Client, ask: Ask, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("actlabel.chat.dispatch._LEAST_PATIENCE_S", 0.05)
    async with serving(completion()) as endpoint:
        request = ask(endpoint=endpoint.url, requests_per_minute=6, timeout_s=0.05)
        began = clock.now()
        for _ in range(7):
            await client.complete(request)
        assert clock.now() - began >= 59
        assert client.places("c1", "annotator", request.model) == 1
        plenty = ask(endpoint=endpoint.url, requests_per_minute=120)
        assert client.places("c1", "annotator", plenty.model) == 11, "as many as five seconds let through, and one"
        stuck = asyncio.Event()

        async def never(_: float) -> None:
            await stuck.wait()

        monkeypatch.setattr(clock, "sleep", never)
        with pytest.raises(Throttled, match="requests_per_minute"):
            await client.complete(request)
