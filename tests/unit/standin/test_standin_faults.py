"""Every fault does what it says, the same for the same seed, and can be changed while the server runs."""

import asyncio
import json
from collections import Counter

import aiohttp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actlabel.runtime.clock import FakeClock
from actlabel.standin.faults import Faults, Limits
from actlabel.standin.server import Standin


async def ask(http, server, request):
    async with http.post(f"{server.endpoint}/chat/completions", json=request) as response:
        return response.status, await response.json(), response.headers


async def control(http, server, **changes):
    async with http.post(f"{server.address}/control", json=changes) as response:
        return response.status, await response.json()


async def test_rate_limit_says_when_to_come_back(http, answers, make_request):
    async with Standin(answers, Faults(rate_limit=1, retry_after_s=2.5)) as server:
        status, document, headers = await ask(http, server, make_request())
        assert (status, headers["Retry-After"]) == (429, "2.5")
        assert document["error"]["code"] == "rate_limit_exceeded"
        assert not server.log.paid


async def test_server_error(http, answers, make_request):
    async with Standin(answers, Faults(error=1)) as server:
        status, document, _ = await ask(http, server, make_request())
    assert status == 500
    assert document["error"]["type"] == "server_error"


async def test_disconnect_breaks_the_connection(http, answers, make_request):
    async with Standin(answers, Faults(disconnect=1)) as server:
        with pytest.raises(aiohttp.ClientError):
            await ask(http, server, make_request())
        assert server.log.outcomes == {"disconnect": 1}


async def test_hang_ends_when_the_client_leaves(http, answers, make_request):
    async with Standin(answers, Faults(hang=1)) as server:
        asking = asyncio.create_task(ask(http, server, make_request()))
        await server.log.until(lambda log: log.in_flight == 1)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        await server.log.until(lambda log: log.in_flight == 0)
        assert server.log.outcomes == {"abandoned": 1}


async def test_leaving_the_block_cuts_a_hanging_request_off(http, answers, make_request):
    async with Standin(answers, Faults(hang=1)) as server:
        asking = asyncio.create_task(ask(http, server, make_request()))
        await server.log.until(lambda log: log.in_flight == 1)
    with pytest.raises(aiohttp.ClientError):
        await asking


async def test_nonsense_never_fits_the_schema(http, answers, make_request):
    async with Standin(answers, Faults(nonsense=1)) as server:
        documents = [(await ask(http, server, make_request()))[1] for _ in range(40)]
    texts = {document["choices"][0]["message"]["content"] for document in documents}
    assert len(texts) > 3
    for text in texts:
        assert not _fits(text), text


def _fits(text):
    try:
        answer = json.loads(text)
    except json.JSONDecodeError:
        return False
    return isinstance(answer, dict) and answer.get("label") in {"agrees", "neutral", "disagrees"}


async def test_fixed_latency_passes_before_the_answer(http, answers, make_request):
    clock = FakeClock()
    async with Standin(answers, Faults(latency_ms=1500), clock=clock) as server:
        began = clock.monotonic()
        await ask(http, server, make_request())
        assert clock.monotonic() - began == pytest.approx(1.5)


def test_lognormal_latency_has_its_median():
    faults = Faults(latency_ms=200, latency_sigma=0.8)
    drawn = sorted(faults.verdict(f"{i}", 1).latency_s for i in range(2001))
    assert drawn[1000] == pytest.approx(0.2, rel=0.1)
    assert drawn[1900] == pytest.approx(0.2 * 2.718281828 ** (0.8 * 1.645), rel=0.2)


async def test_concurrency_limit_refuses_the_one_too_many(http, answers, make_request):
    async with Standin(answers, Faults(hang=1, concurrency=(2,))) as server:
        hanging = [asyncio.create_task(ask(http, server, make_request())) for _ in range(2)]
        await server.log.until(lambda log: log.in_flight == 2)
        status, _, _ = await ask(http, server, make_request())
        assert status == 429
        assert server.log.most_in_flight == 3
        for task in hanging:
            task.cancel()
        await asyncio.gather(*hanging, return_exceptions=True)


def test_limits_move_with_time():
    limits, faults = Limits(0.0), Faults(concurrency=(4, 1), step_s=10)
    assert not limits.refuses(faults, now_s=5, in_flight=2)
    assert limits.refuses(faults, now_s=15, in_flight=2)
    assert not limits.refuses(faults, now_s=25, in_flight=2)


def test_slowness_is_the_load_above_a_limit_that_moves():
    limits, faults = Limits(0.0), Faults(full_speed=(4, 2), step_s=10)
    assert limits.slowness(faults, now_s=5, in_flight=3) == 1.0
    assert limits.slowness(faults, now_s=5, in_flight=7) == 2.0
    assert limits.slowness(faults, now_s=15, in_flight=7) == 4.0


async def test_requests_beyond_full_speed_take_longer(http, answers, make_request):
    clock = FakeClock()
    async with Standin(answers, Faults(latency_ms=1000, hang=0, full_speed=(1,)), clock=clock) as server:
        began = clock.monotonic()
        await ask(http, server, make_request())
        assert clock.monotonic() - began == pytest.approx(1.0)
        server._served = 2
        await ask(http, server, make_request())
        assert clock.monotonic() - began == pytest.approx(4.0)


async def test_a_change_begins_the_schedule_anew(http, answers, make_request):
    clock = FakeClock()
    async with Standin(answers, Faults(requests_per_s=(1000, 0.001), step_s=10), clock=clock) as server:
        clock.advance(15)
        await ask(http, server, make_request())
        assert (await ask(http, server, make_request()))[0] == 429
        await control(http, server, seed=1)
        clock.advance(1)
        assert (await ask(http, server, make_request()))[0] == 200


@given(st.lists(st.floats(0, 0.5), min_size=1, max_size=200), st.floats(1, 50))
def test_rate_limit_never_lets_more_through_than_its_rate(gaps, per_s):
    limits, faults, now, passed = Limits(0.0), Faults(requests_per_s=(per_s,)), 0.0, 0
    for gap in gaps:
        now += gap
        passed += not limits.refuses(faults, now_s=now, in_flight=0)
    assert passed <= per_s * now + 1 + 1e-6


@given(st.integers(0, 5))
@settings(deadline=None)  # a timed assertion, on a machine that others use too
def test_shares_are_met_and_a_seed_repeats_itself(seed):
    faults = Faults(seed=seed, rate_limit=0.1, error=0.2, hang=0.1, nonsense=0.2, disconnect=0.1)
    fates = Counter(faults.verdict(f"request {i}", 1).fate for i in range(4000))
    for fate, share in {"rate_limit": 0.1, "error": 0.2, "hang": 0.1, "nonsense": 0.2, "disconnect": 0.1, "answer": 0.3}.items():
        assert fates[fate] / 4000 == pytest.approx(share, abs=0.035)
    assert fates == Counter(faults.verdict(f"request {i}", 1).fate for i in range(4000))


def test_a_retry_is_drawn_anew():
    faults = Faults(error=0.5)
    assert {faults.verdict("the same", attempt).fate for attempt in range(1, 30)} == {"error", "answer"}


@pytest.mark.parametrize("fields", [{"error": 0.6, "hang": 0.6}, {"error": 1.5}, {"concurrency": (0,)}, {"step_s": 0}, {"no": 1}])
def test_impossible_faults_are_refused(fields):
    with pytest.raises(ValueError):
        Faults(**fields)


async def test_control_changes_named_fields_only(http, answers, make_request):
    async with Standin(answers, Faults(seed=7)) as server:
        status, faults = await control(http, server, error=1.0)
        assert (status, faults["error"], faults["seed"]) == (200, 1.0, 7)
        assert (await ask(http, server, make_request()))[0] == 500
        await control(http, server, error=0)
        assert (await ask(http, server, make_request()))[0] == 200


@pytest.mark.parametrize("changes", [{"error": 2}, {"nothing": 1}, {"refuse_s": -1}])
async def test_control_refuses_what_it_does_not_know(http, answers, changes):
    async with Standin(answers) as server:
        status, document = await control(http, server, **changes)
        assert status == 400
        assert next(iter(changes)) in document["error"]["message"]
        assert server.faults == Faults()


async def test_control_is_for_this_machine_and_for_programs(http, answers):
    async with Standin(answers) as server:
        async with http.post(f"{server.address}/control", data="{}", headers={"Content-Type": "text/plain"}) as response:
            assert response.status == 415
        async with http.get(f"{server.address}/control", headers={"Sec-Fetch-Site": "cross-site"}) as response:
            assert response.status == 403


async def test_refuse_cuts_connections_and_accept_takes_them_again(http, answers, make_request):
    async with Standin(answers) as server:
        address = server.address
        assert (await ask(http, server, make_request()))[0] == 200
        await server.refuse()
        with pytest.raises(aiohttp.ClientConnectionError):
            await ask(http, server, make_request())  # on the connection that was cut
        with pytest.raises(aiohttp.ClientConnectorError):
            await ask(http, server, make_request())
        await server.accept()
        assert server.address == address
        assert (await ask(http, server, make_request()))[0] == 200


async def test_control_refuses_connections_for_a_while(http, answers, make_request):
    async with Standin(answers, clock=FakeClock()) as server:
        status, _ = await control(http, server, refuse_s=30)
        assert status == 200
        while True:  # the fake clock's 30 s pass as soon as the loop turns
            try:
                assert (await ask(http, server, make_request()))[0] == 200
                break
            except aiohttp.ClientConnectionError:
                await asyncio.sleep(0)
