"""The client against a real HTTP server that misbehaves in every way that endpoints do."""

import asyncio
import dataclasses
import hashlib
import socket
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiohttp import web

from actlabel.chat.openai_compatible import OpenAiCompatibleClient
from actlabel.chat.port import ChatRequest, EndpointRefused, ImagePart, Message, TextPart
from actlabel.core.errors import DeadLetter, EndpointUnavailable, UserError
from actlabel.runtime.clock import FakeClock
from tests.unit.chat.scripted_endpoint import Endpoint, completion, error, reply

Ask = Callable[..., ChatRequest]
Client = OpenAiCompatibleClient


async def test_answer_carries_text_tokens_and_cost(endpoint: Endpoint, client: Client, ask: Ask) -> None:
    endpoint.script = [completion("hello")]
    price = {"input_usd_per_million_tokens": 2.0, "output_usd_per_million_tokens": 10.0}
    answer = await client.complete(ask(price=price))
    assert (answer.text, answer.finish_reason) == ("hello", "stop")
    assert (answer.usage.input_tokens, answer.usage.output_tokens, answer.usage.estimated) == (11, 3, False)
    assert answer.cost_usd == pytest.approx((11 * 2 + 3 * 10) / 1e6)


async def test_request_is_what_endpoints_expect(endpoint: Endpoint, client: Client, ask: Ask) -> None:
    endpoint.script = [completion()]
    await client.complete(ask(temperature=0.5, max_output_tokens=77))
    body = endpoint.bodies[0]
    assert (body["model"], body["temperature"], body["max_tokens"]) == ("m", 0.5, 77)
    assert body["messages"] == [
        {"role": "system", "content": "Which animal?"},
        {"role": "user", "content": [{"type": "text", "text": "miaow"}]},
    ]
    wanted = body["response_format"]
    assert wanted["type"] == "json_schema"
    assert wanted["json_schema"]["strict"] is True
    assert wanted["json_schema"]["schema"]["additionalProperties"] is False
    assert "Authorization" not in endpoint.headers[0]


async def test_no_response_format_where_the_endpoint_has_none(endpoint: Endpoint, client: Client, ask: Ask) -> None:
    endpoint.script = [completion()]
    await client.complete(ask(json_schema=False))
    assert "response_format" not in endpoint.bodies[0]


async def test_images_go_as_data_urls(endpoint: Endpoint, client: Client, ask: Ask) -> None:
    endpoint.script = [completion()]
    digest = hashlib.sha256(b"\x89PNG").hexdigest()
    message = Message(role="user", parts=(TextPart(text="a"), ImagePart(mime_type="image/png", sha256=digest)))
    await client.complete(dataclasses.replace(ask(), messages=(message,), media={digest: b"\x89PNG"}))
    assert endpoint.bodies[0]["messages"][0]["content"] == [
        {"type": "text", "text": "a"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw=="}},
    ]


async def test_key_from_file_and_from_environment(
    endpoint: Endpoint, client: Client, ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint.script = [completion()]
    (tmp_path / "key").write_text("sk-file\n")
    monkeypatch.setenv("A_KEY", "sk-env")
    await client.complete(ask(api_key_file=tmp_path / "key"))
    await client.complete(ask(api_key_env="A_KEY"))
    assert [headers["Authorization"] for headers in endpoint.headers] == ["Bearer sk-file", "Bearer sk-env"]


async def test_rotated_key_is_taken_up(endpoint: Endpoint, client: Client, ask: Ask, tmp_path: Path, clock: FakeClock) -> None:
    endpoint.script = [completion()]
    file = tmp_path / "key"
    file.write_text("old")
    await client.complete(ask(api_key_file=file))
    file.write_text("new")
    await client.complete(ask(api_key_file=file))
    clock.advance(61)
    await client.complete(ask(api_key_file=file))
    assert [headers["Authorization"] for headers in endpoint.headers] == ["Bearer old", "Bearer old", "Bearer new"]


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"api_key_env": "ACTLABEL_TEST_NO_SUCH_KEY"}, "api_key_env"),
        ({"api_key_file": "/nonexistent/key"}, "api_key_file"),
    ],
)
async def test_missing_key_names_the_field(endpoint: Endpoint, client: Client, ask: Ask, fields: Any, named: str) -> None:
    endpoint.script = [completion()]
    with pytest.raises(UserError, match=named):
        await client.complete(ask(**fields))
    assert not endpoint.bodies


async def test_empty_key_file_is_refused(endpoint: Endpoint, client: Client, ask: Ask, tmp_path: Path) -> None:
    endpoint.script = [completion()]
    (tmp_path / "key").write_text("\n")
    with pytest.raises(UserError, match="api_key_file"):
        await client.complete(ask(api_key_file=tmp_path / "key"))


async def test_retry_after_in_seconds_is_obeyed(endpoint: Endpoint, client: Client, ask: Ask, clock: FakeClock) -> None:
    endpoint.script = [error(429, headers={"Retry-After": "17"}), completion()]
    start = clock.now()
    await client.complete(ask())
    assert 17 <= clock.now() - start <= 19
    assert len(endpoint.bodies) == 2


async def test_retry_after_as_a_date_is_obeyed(endpoint: Endpoint, client: Client, ask: Ask, clock: FakeClock) -> None:
    date = format_datetime(datetime.fromtimestamp(clock.now() + 30, UTC), usegmt=True)
    endpoint.script = [error(503, headers={"Retry-After": date}), completion()]
    start = clock.now()
    await client.complete(ask())
    assert 29 <= clock.now() - start <= 32


async def test_pause_asked_for_holds_back_other_requests_too(endpoint: Endpoint, client: Client, ask: Ask, clock: FakeClock) -> None:
    endpoint.script = [error(429, headers={"Retry-After": "40"}), completion()]
    with pytest.raises(EndpointUnavailable):
        await client.complete(ask(retries=0))
    start = clock.now()
    await client.complete(ask())
    assert clock.now() - start >= 40


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 504, 529])
async def test_transient_statuses_are_retried(endpoint: Endpoint, client: Client, ask: Ask, status: int) -> None:
    endpoint.script = [error(status), error(status), completion("ok")]
    assert (await client.complete(ask())).text == "ok"
    assert len(endpoint.bodies) == 3


async def test_retries_end(endpoint: Endpoint, client: Client, ask: Ask) -> None:
    endpoint.script = [error(500, "on fire")]
    with pytest.raises(EndpointUnavailable, match="on fire"):
        await client.complete(ask(retries=2))
    assert len(endpoint.bodies) == 3


@pytest.mark.parametrize("status", [401, 402, 403, 404, 405])
async def test_what_a_person_must_mend_is_not_retried(endpoint: Endpoint, client: Client, ask: Ask, status: int) -> None:
    endpoint.script = [error(status, "mend me")]
    with pytest.raises(EndpointRefused, match="mend me"):
        await client.complete(ask())
    assert len(endpoint.bodies) == 1


async def test_empty_balance_is_not_retried(endpoint: Endpoint, client: Client, ask: Ask) -> None:
    endpoint.script = [error(429, "pay first", code="insufficient_quota")]
    with pytest.raises(EndpointRefused, match="pay first"):
        await client.complete(ask())
    assert len(endpoint.bodies) == 1


@pytest.mark.parametrize("status", [400, 413, 415, 422])
async def test_question_that_cannot_be_taken_is_a_dead_letter(endpoint: Endpoint, client: Client, ask: Ask, status: int) -> None:
    endpoint.script = [error(status, "context too long")]
    with pytest.raises(DeadLetter, match="context too long") as raised:
        await client.complete(ask())
    assert raised.value.reason == "request-refused"
    assert len(endpoint.bodies) == 1


async def test_key_never_appears_in_a_message(endpoint: Endpoint, client: Client, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_KEY", "sk-secret")
    endpoint.script = [error(401, "Incorrect API key provided: sk-secret")]
    with pytest.raises(EndpointRefused) as raised:
        await client.complete(ask(api_key_env="A_KEY"))
    assert "sk-secret" not in str(raised.value)


async def test_redirects_are_refused_and_the_key_stays_here(
    endpoint: Endpoint, client: Client, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("A_KEY", "sk-secret")
    endpoint.script = [reply(b"", status=307, headers={"Location": f"{endpoint.url}/chat/completions"})]
    with pytest.raises(EndpointRefused, match="redirects"):
        await client.complete(ask(api_key_env="A_KEY"))
    assert len(endpoint.bodies) == 1


async def test_hanging_endpoint_times_out(endpoint: Endpoint, client: Client, ask: Ask) -> None:
    released = asyncio.Event()

    async def hang(_: web.Request) -> web.StreamResponse:
        await released.wait()
        return web.Response()

    endpoint.script = [hang]
    with pytest.raises(EndpointUnavailable, match=r"no answer within 0\.05 s"):
        await client.complete(ask(timeout_s=0.05, retries=1))
    released.set()
    assert len(endpoint.bodies) == 2


async def test_truncated_body_is_retried(endpoint: Endpoint, client: Client, ask: Ask) -> None:
    async def truncate(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "1000", "Content-Type": "application/json"})
        await response.prepare(request)
        await response.write(b'{"choices": [')
        assert request.transport is not None
        request.transport.abort()
        return response

    endpoint.script = [truncate, completion("whole")]
    assert (await client.complete(ask())).text == "whole"


@pytest.mark.parametrize("body", [b"{", b"[]", b"{}", b'{"choices": []}', b'{"choices": [{"message": "x"}]}', b"\xff\xfe", b""])
async def test_answer_that_is_none_is_retried(endpoint: Endpoint, client: Client, ask: Ask, body: bytes) -> None:
    endpoint.script = [reply(body, content_type="text/plain"), completion("ok")]
    assert (await client.complete(ask())).text == "ok"


async def test_json_under_a_wrong_content_type_is_taken(endpoint: Endpoint, client: Client, ask: Ask) -> None:
    body = orjson.dumps({"choices": [{"message": {"content": "x"}}]})

    async def behave(_: web.Request) -> web.StreamResponse:
        return web.Response(body=body, content_type="text/plain")

    endpoint.script = [behave]
    assert (await client.complete(ask())).text == "x"


async def test_web_page_for_ever_is_a_wrong_address(endpoint: Endpoint, client: Client, ask: Ask) -> None:
    endpoint.script = [reply(b"<html>welcome</html>", content_type="text/html")]
    with pytest.raises(EndpointRefused, match="base URL"):
        await client.complete(ask(retries=2))
    assert len(endpoint.bodies) == 3


async def test_huge_body_does_not_fill_the_memory(endpoint: Endpoint, client: Client, ask: Ask) -> None:
    sent = 0

    async def flood(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        while True:
            await response.write(b" " * 2**20)
            sent += 2**20

    endpoint.script = [flood]
    with pytest.raises(EndpointUnavailable, match="more than"):
        await client.complete(ask(retries=0))
    assert sent < 64 * 2**20


async def test_refused_connection_is_retried_then_unavailable(client: Client, ask: Ask) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: refuses
        with pytest.raises(EndpointUnavailable, match="connection broke"):
            await client.complete(ask(endpoint=f"http://127.0.0.1:{taken.getsockname()[1]}/v1", retries=1))


@pytest.mark.parametrize(
    "usage",
    [None, {}, {"prompt_tokens": -1, "completion_tokens": 1}, {"prompt_tokens": True, "completion_tokens": 1}, {"prompt_tokens": 1e3}, "7"],
)
async def test_usage_that_is_not_told_is_estimated(endpoint: Endpoint, client: Client, ask: Ask, usage: Any) -> None:
    endpoint.script = [completion("x" * 40, usage=usage)]
    answer = await client.complete(ask())
    assert answer.usage.estimated
    assert answer.usage.output_tokens == 10
    assert answer.usage.input_tokens > 0


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ({"content": None, "refusal": "I will not"}, "I will not"),
        ({"content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}, {"type": "x"}]}, "ab"),
        ({"content": None}, ""),
        ({"content": 7}, ""),
    ],
)
async def test_shapes_of_content(endpoint: Endpoint, client: Client, ask: Ask, message: Any, text: str) -> None:
    endpoint.script = [reply(orjson.dumps({"choices": [{"message": message, "finish_reason": None}]}))]
    assert (await client.complete(ask())).text == text


async def test_calls_in_flight_of_a_campaign_are_bounded(endpoint: Endpoint, client: Client, ask: Ask) -> None:
    present = most = 0
    full, released = asyncio.Event(), asyncio.Event()

    async def count(request: web.Request) -> web.StreamResponse:
        nonlocal present, most
        present += 1
        most = max(most, present)
        if present == 3:
            full.set()
        await released.wait()
        present -= 1
        return await completion()(request)

    endpoint.script = [count]
    calls = [asyncio.create_task(client.complete(ask(calls_in_flight=3))) for _ in range(9)]
    await full.wait()
    released.set()
    await asyncio.gather(*calls)
    assert most == 3
    assert len(endpoint.bodies) == 9


async def test_parameters_that_an_endpoint_refuses_by_name_are_said_otherwise(endpoint: Endpoint, client: Client, ask: Ask) -> None:
    endpoint.script = [
        error(400, code="unsupported_parameter", param="max_tokens"),
        error(400, code="unsupported_value", param="temperature"),
        completion(),
    ]
    await client.complete(ask(max_output_tokens=9))
    await client.complete(ask(max_output_tokens=9))
    said = [
        {name: body[name] for name in ("max_tokens", "max_completion_tokens", "temperature") if name in body} for body in endpoint.bodies
    ]
    assert said == [
        {"max_tokens": 9, "temperature": 0.0},
        {"max_completion_tokens": 9, "temperature": 0.0},
        {"max_completion_tokens": 9},
        {"max_completion_tokens": 9},
    ]


async def test_parameter_without_another_name_is_a_refusal(endpoint: Endpoint, client: Client, ask: Ask) -> None:
    endpoint.script = [error(400, "no such field", code="unsupported_parameter", param="response_format")]
    with pytest.raises(DeadLetter, match="no such field"):
        await client.complete(ask())
    assert len(endpoint.bodies) == 1
