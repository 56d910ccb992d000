"""The protocol: what a client of OpenAI expects of a server, and what a broken request gets."""

import base64
import json

import pytest

from actlabel.completions.protocol import Refused, item_digest, read_question
from actlabel.core.errors import UserError
from actlabel.standin.server import Standin


async def ask(http, server, request, **more):
    async with http.post(f"{server.endpoint}/chat/completions", json=request, **more) as response:
        return response.status, await response.json(), response.headers


def content(document):
    return json.loads(document["choices"][0]["message"]["content"])


async def test_annotates_in_the_form_of_the_schema(http, answers, make_request):
    async with Standin(answers) as server:
        status, document, _ = await ask(http, server, make_request())
    assert status == 200
    assert content(document) == {"label": "agrees"}
    assert document["model"] == "recorded"
    assert document["choices"][0]["finish_reason"] == "stop"
    usage = document["usage"]
    assert usage["prompt_tokens"] > 0
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]


@pytest.mark.parametrize(("label", "expected"), [("agrees", (0.25, "")), ("neutral", (0.75, "agrees"))])
async def test_criticizes_the_label_under_review(http, answers, make_request, label, expected):
    async with Standin(answers) as server:
        _, document, _ = await ask(http, server, make_request(critic_of=label))
    answer = content(document)
    assert (answer["error_probability"], answer["suggested_label"]) == expected
    assert answer["evidence"] == []
    assert isinstance(answer["reason"], str)


async def test_fills_every_property_of_the_schema_in_its_order(http, answers, make_request):
    properties = {
        "reasoning": {"type": "string"},
        "label": {"type": "string"},
        "suggested_label": {"anyOf": [{"type": "string", "enum": ["agrees"]}, {"type": "null"}]},
        "certainty": {"type": "number", "minimum": 0.5},
        "tone": {"enum": ["calm", "loud"]},
        "nested": {"type": "object", "properties": {"flag": {"type": "boolean"}}},
        "note": {"type": ["null", "string"]},
    }
    async with Standin(answers) as server:
        _, document, _ = await ask(http, server, make_request(properties=properties))
    answer = content(document)
    assert list(answer) == list(properties)
    assert answer["suggested_label"] is None
    assert answer["certainty"] == 0.5
    assert answer["tone"] == "calm"
    assert answer["nested"] == {"flag": False}
    assert answer["note"] is None


async def test_without_a_schema_the_label_under_review_tells_the_task(http, answers, make_request):
    bare = {key: value for key, value in make_request(critic_of="agrees").items() if key != "response_format"}
    async with Standin(answers) as server:
        _, document, _ = await ask(http, server, bare)
    assert content(document)["error_probability"] == 0.25


async def test_a_repair_request_is_answered_from_the_first_user_message(http, answers, make_request):
    request = make_request("It is cold.")
    request["messages"] += [{"role": "assistant", "content": "neutral, I think"}, {"role": "user", "content": "Answer with JSON only."}]
    async with Standin(answers) as server:
        _, document, _ = await ask(http, server, request)
    assert content(document) == {"label": "neutral"}


async def test_unknown_text_is_an_error_that_says_so(http, answers, make_request):
    async with Standin(answers) as server:
        status, document, _ = await ask(http, server, make_request("Never seen."))
    assert status == 422
    assert document["error"]["code"] == "item_not_recorded"
    assert "verbatim" in document["error"]["message"]


async def test_a_label_outside_the_schema_is_an_error_that_names_it(http, answers, make_request):
    async with Standin(answers) as server:
        status, document, _ = await ask(http, server, make_request(properties={"label": {"enum": ["yes", "no"]}}))
    assert status == 400
    assert "'agrees'" in document["error"]["message"]


async def test_models_health_and_unknown_paths(http, answers):
    async with Standin(answers, models=("a", "b")) as server:
        async with http.get(f"{server.endpoint}/models") as response:
            assert [model["id"] for model in (await response.json())["data"]] == ["a", "b"]
        async with http.get(f"{server.address}/healthz") as response:
            assert response.status == 200
        async with http.get(f"{server.address}/nowhere") as response:
            assert response.status == 404


async def test_api_key_is_demanded_where_one_is_set(http, answers, make_request):
    async with Standin(answers, api_key="right") as server:
        without, _, _ = await ask(http, server, make_request())
        wrong, _, _ = await ask(http, server, make_request(), headers={"Authorization": "Bearer wrong"})
        right, _, _ = await ask(http, server, make_request(), headers={"Authorization": "Bearer right"})
    assert (without, wrong, right) == (401, 401, 200)


@pytest.mark.parametrize(
    "body",
    [
        b"{",  # no JSON
        b"[]",  # no object
        b'{"model": 3, "messages": []}',  # a model that is no string
        b'{"model": "m"}',  # no messages
        b'{"model": "m", "messages": [3]}',  # a message that is no object
        b'{"model": "m", "messages": [{"role": "system", "content": "x"}]}',  # no user message
        b'{"model": "m", "messages": [{"role": "user", "content": [{"type": "video"}]}]}',  # an unknown part
        b'{"model": "m", "stream": true, "messages": [{"role": "user", "content": "x"}]}',  # streaming
        b'{"model": "m", "messages": [{"role": "user", "content": "x"}], "response_format": {"type": "json_schema", "json_schema": 1}}',
    ],
)
async def test_broken_requests_get_400_and_are_not_counted(http, answers, body):
    async with Standin(answers) as server:
        async with http.post(f"{server.endpoint}/chat/completions", data=body) as response:
            assert response.status == 400
            assert (await response.json())["error"]["message"]
        assert server.log.snapshot()["requests"] == 0


async def test_a_schema_that_is_none_gets_400(http, answers, make_request):
    async with Standin(answers) as server:
        status, document, _ = await ask(http, server, make_request(properties={"label": 5}))
    assert status == 400
    assert document["error"]["code"] == "invalid_schema"


def test_images_are_decoded_and_bad_ones_refused():
    def question(url):
        part = {"type": "image_url", "image_url": {"url": url}}
        return read_question(json.dumps({"model": "m", "messages": [{"role": "user", "content": [part]}]}).encode())

    assert question("data:image/png;base64," + base64.b64encode(b"png").decode()).image_bytes() == b"png"
    for url in ("https://example.org/a.png", "data:image/png;base64,@@@"):
        with pytest.raises(Refused):
            question(url).image_bytes()


def test_the_item_is_what_lies_between_its_marks():
    texts = ["Look:", "<<item 0f>>", "Ice melts.", "<<end of item 0f>>", "<<end of item 0f>>", "Label under review: agrees", "Answer."]
    parts = [{"type": "text", "text": text} for text in texts]
    question = read_question(json.dumps({"model": "m", "messages": [{"role": "user", "content": parts}]}).encode())
    assert question.texts == ("Ice melts.", "<<end of item 0f>>")
    assert question.label_under_review == "agrees"
    assert question.task == "criticize"


def test_digests_tell_requests_and_items_apart(make_request):
    def read(request):
        return read_question(json.dumps(request).encode())

    annotated, criticized, other = read(make_request()), read(make_request(critic_of="agrees")), read(make_request("Else."))
    assert annotated.item_digest == criticized.item_digest == item_digest(["Ice melts."]) != other.item_digest
    assert len({annotated.request_digest, criticized.request_digest, other.request_digest}) == 3
    assert read(dict(reversed(make_request().items()))).request_digest == annotated.request_digest
    assert item_digest(["ab", "c"]) != item_digest(["a", "bc"])


async def test_the_port_that_is_taken_is_named(answers):
    async with Standin(answers) as first:
        port = int(first.address.rpartition(":")[2])
        with pytest.raises(UserError, match=str(port)):
            await Standin(answers, port=port).__aenter__()
