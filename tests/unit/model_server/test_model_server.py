"""Registered models over HTTP: right answers, right doors, and nothing that a request could break."""

import asyncio
import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from actlabel.core.errors import UserError
from actlabel.model_server import api, room
from actlabel.model_server.shelf import MOST_LOADED
from actlabel.model_server.tokens import Tokens
from actlabel.runtime.clock import FakeClock
from actlabel.runtime.metrics import MODEL_BATCH
from tests.unit.model_server.shelved import LABELS, content, place, question, serving
from tests.unit.trainer.digit_campaign import png


async def test_an_annotation_is_the_most_probable_label_and_a_critique_its_complement(tmp_path: Path) -> None:
    async with place(tmp_path) as here:
        model = await here.register("stance")
        async with serving(here) as server:
            status, answer = await server.post(question())
            chances = answer["actlabel"]["probabilities"]
            assert status == 200
            assert sum(chances.values()) == pytest.approx(1)
            assert content(answer) == {"label": max(chances, key=chances.__getitem__)}
            assert (answer["model"], answer["usage"]["total_tokens"] > 0) == (model.reference, True)
            for label in LABELS:
                _, critique = await server.post(question(judged=label))
                assert content(critique)["error_probability"] == pytest.approx(1 - chances[label], abs=1e-6)
                assert content(critique)["suggested_label"] == content(answer)["label"]
            _, critique = await server.post(question(judged="unheard of"))
            assert content(critique)["error_probability"] == 1


async def test_a_label_that_the_request_does_not_allow_is_never_given(tmp_path: Path) -> None:
    async with place(tmp_path) as here:
        await here.register("stance")
        async with serving(here) as server:
            _, free = await server.post(question())
            others = [label for label in LABELS if label != content(free)["label"]]
            _, bound = await server.post(question(labels=[*others, "never seen"]))
            assert content(bound)["label"] == max(others, key=free["actlabel"]["probabilities"].__getitem__)
            status, refusal = await server.post(question(labels=["never", "seen"]))
            assert (status, refusal["error"]["code"]) == (422, "labels_unknown")


async def test_requests_that_wait_together_share_a_pass_and_get_their_own_answers(tmp_path: Path) -> None:
    async with place(tmp_path) as here:
        await here.register("stance")
        async with serving(here) as server:
            texts = [f"statement number {n} about the sea" for n in range(80)]
            alone = [(await server.post(question(text)))[1]["actlabel"] for text in texts[:5]]
            passes_before = _passes(MODEL_BATCH)
            together = await asyncio.gather(*(server.post(question(text)) for text in texts))
            passes = _passes(MODEL_BATCH) - passes_before
    for one, (status, many) in zip(alone, together, strict=False):
        assert status == 200
        assert many["actlabel"]["probabilities"] == pytest.approx(one["probabilities"], abs=1e-6)
    assert passes < 60, "80 requests at once are not 80 passes"
    assert len({json.dumps(many["actlabel"]) for _, many in together}) == 80


def _passes(metric: Any) -> float:
    return next(
        sample.value for sample in metric.collect()[0].samples if sample.name.endswith("_count") and sample.labels["model"] == "stance"
    )


async def test_a_newer_version_answers_without_a_restart_unless_one_is_pinned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("actlabel.model_server.main._LOOK_S", 0.02)

    async def until_it_is(reference: str) -> None:
        while (await server.post(question()))[1]["model"] != reference:
            pass

    async with asyncio.timeout(30), place(tmp_path) as here:
        await here.register("stance", seed=1)
        async with serving(here) as server:
            await until_it_is("stance@1")
            await here.register("stance", seed=2)
            await until_it_is("stance@2")
            assert (await server.post(question(model="stance@1")))[1]["model"] == "stance@1"
            await here.registry.pin("stance@1")
            await until_it_is("stance@1")
            async with server.session.get(f"{server.endpoint}/models") as response:
                assert [(known["id"], known["version"]) for known in (await response.json())["data"]] == [("stance", 1)]


async def test_many_models_take_turns_in_memory(tmp_path: Path) -> None:
    async with place(tmp_path) as here:
        for number in range(MOST_LOADED + 2):
            await here.register(f"m{number}", seed=number)
        async with serving(here) as server:
            for number in (*range(MOST_LOADED + 2), 0, 1):
                _, answer = await server.post(question(model=f"m{number}"))
                assert answer["model"] == f"m{number}@1"


# ---- readiness ------------------------------------------------------------------------------------------------------------------------


async def test_an_empty_registry_is_said_until_there_is_a_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("actlabel.model_server.main._LOOK_S", 0.02)
    async with asyncio.timeout(30), place(tmp_path) as here, serving(here) as server:
        assert server.health.ready() == ["model: no model is registered; `actlabel train` registers one"]
        status, refusal = await server.post(question())
        assert (status, refusal["error"]["code"]) == (404, "model_not_found")
        await here.register("stance")
        while server.health.ready():  # noqa: ASYNC110 - the server's next look makes it true
            await asyncio.sleep(0.01)
        assert (await server.post(question()))[0] == 200


async def test_only_the_models_that_were_named_are_served(tmp_path: Path) -> None:
    async with place(tmp_path, models="stance@1, absent") as here:
        await here.register("stance")
        await here.register("other")
        async with serving(here) as server:
            assert server.health.ready() == ["model: absent: no such model is registered"]
            assert (await server.post(question(model="stance@1")))[0] == 200
            for word in ("other", "stance", "stance@2"):
                assert (await server.post(question(model=word)))[0] == 404


# ---- the door -------------------------------------------------------------------------------------------------------------------------


async def test_without_a_token_only_this_machine_may_ask(tmp_path: Path) -> None:
    async with place(tmp_path, host="0.0.0.0") as here:
        with pytest.raises(UserError, match="ACTLABEL_MODEL_TOKEN_FILE: is needed where others"):
            async with serving(here):
                pass


@pytest.mark.parametrize(
    "header", [None, "", "Bearer", "Bearer ", "Bearer wrong", "bearer " + "a" * 30, "Basic " + "a" * 30, "Bearer \udcff"]
)
async def test_a_wrong_token_is_refused_before_anything_is_read(tmp_path: Path, header: str | None) -> None:
    (tmp_path / "token").write_text("a" * 30 + "\n\n" + "b" * 30 + "\n")
    async with place(tmp_path, host="0.0.0.0", model_token_file=tmp_path / "token") as here:
        await here.register("stance")
        async with serving(here) as server:
            headers = {} if header is None else {"Authorization": header.encode("utf-8", "surrogateescape").decode("latin-1")}
            status, refusal = await server.post(b"{", headers=headers)
            assert (status, refusal["error"]["code"]) == (401, "invalid_api_key")
            for letter in "ab":
                assert (await server.post(question(), headers={"Authorization": f"Bearer {letter * 30}"}))[0] == 200


def test_tokens_are_rotated_without_a_restart(tmp_path: Path) -> None:
    clock, file = FakeClock(), tmp_path / "token"
    file.write_text("a" * 30)
    tokens = Tokens(file, host="0.0.0.0", clock=clock)
    file.write_text("a" * 30 + "\n" + "b" * 30)
    clock.advance(11)
    assert tokens.allow("Bearer " + "b" * 30)
    file.unlink()
    clock.advance(11)
    assert tokens.allow("Bearer " + "b" * 30), "a file that is gone for a moment shuts nobody out"


@pytest.mark.parametrize("text", ["", "\n\n", "short", "a" * 30 + "\nshort"])
def test_a_token_file_without_good_tokens_is_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "token").write_text(text)
    with pytest.raises(UserError, match="must hold tokens of 24 characters or more"):
        Tokens(tmp_path / "token", host="0.0.0.0", clock=FakeClock())


# ---- hostile requests -----------------------------------------------------------------------------------------------------------------

PICTURE = base64.b64encode(png(np.eye(8) * 16)).decode()


# what a request may hold instead of sense, and the status that says so
@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b"[" * 100_000, 400),
        (b"\xff\xfe\x00", 400),
        ([], 400),
        ({"model": "net"}, 400),
        ({"model": 5, "messages": []}, 400),
        ({**question(model="net"), "stream": True}, 400),
        ({**question(model="net"), "messages": [{"role": "user", "content": [{"type": "video"}]}]}, 400),
        ({**question(model="net"), "response_format": {"type": "json_schema", "json_schema": {"schema": {"properties": 5}}}}, 400),
        (question(model="net"), 422),  # a text, for a model of images
        (question(model="net", image="http://169.254.169.254/x.png"), 400),
        (question(model="net", image="data:image/png;base64,!!!"), 400),
        (question(model="net", image="data:image/png;base64," + base64.b64encode(b"no image").decode()), 422),
        (question(model="net", image="data:image/png;base64," + PICTURE[:80]), 422),
        (question(model="net", image="data:image/png;base64," + PICTURE, labels=[]), 422),
        (question(model="net", image="data:image/png;base64," + PICTURE, labels=[5, None]), 422),
        (question("  ", model="stance"), 422),
        (question(model="../../etc/passwd"), 404),
        (question(model="net@99999999999999999999"), 404),
        (question(model=""), 404),
    ],
)
async def test_nonsense_is_one_line_and_the_server_goes_on(tmp_path: Path, body: Any, status: int) -> None:
    async with place(tmp_path) as here:
        await here.register("net", kind="cnn")
        await here.register("stance")
        async with serving(here) as server:
            got, refusal = await server.post(body)
            assert (got, len(refusal["error"]["message"].splitlines())) == (status, 1)
            assert "Traceback" not in json.dumps(refusal)
            good = question(model="net", image="data:image/png;base64," + PICTURE)
            assert (await server.post(good))[0] == 200
            assert server.health.alive() == []


async def test_a_bad_item_in_a_batch_harms_no_other(tmp_path: Path) -> None:
    good = question(model="net", image="data:image/png;base64," + PICTURE)
    bad = question(model="net", image="data:image/png;base64," + base64.b64encode(b"no image").decode())
    async with place(tmp_path) as here:
        await here.register("net", kind="cnn")
        async with serving(here) as server:
            answers = await asyncio.gather(*(server.post(bad if n % 3 == 0 else good) for n in range(30)))
    assert [status for status, _ in answers] == [422 if n % 3 == 0 else 200 for n in range(30)]


async def test_bodies_are_bounded_one_by_one_and_together(tmp_path: Path) -> None:
    async with place(tmp_path) as here:
        await here.register("stance")
        async with serving(here) as server:
            assert b" 413 " in await _status(server.endpoint, f"Content-Length: {room.LARGEST_BODY_BYTES + 1}")
            assert b" 411 " in await _status(server.endpoint, "Transfer-Encoding: chunked")
    small = room.Room(100)
    with small.taken(60), pytest.raises(api.Refused, match="too many large requests"), small.taken(60):
        pass
    with small.taken(100):
        pass


async def _status(endpoint: str, header: str) -> bytes:
    """Send the head of a request and the beginning of a body; return the first line of the answer."""
    body = "1\r\n{\r\n" if "chunked" in header else "{"
    host, port = endpoint.removeprefix("http://").removesuffix("/v1").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\n{header}\r\n\r\n{body}".encode())
    try:
        return await reader.readline()
    finally:
        writer.close()


async def test_a_body_that_never_comes_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "_BODY_TIMEOUT_S", 0.05)
    async with place(tmp_path) as here:
        await here.register("stance")
        async with serving(here) as server:
            assert b" 408 " in await _status(server.endpoint, "Content-Length: 10")
