"""The HTTP API of a running gateway: what it does, and how errors look."""

import asyncio
from pathlib import Path

import aiohttp
import pytest

from actlabel.runtime.database.open import open_database
from actlabel.runtime.media import MediaStore
from actlabel.stream.memory import MemoryStream
from tests.unit.review_gateway.client import Client, item_path
from tests.unit.review_gateway.gateway import Gateway, running_gateway
from tests.unit.review_gateway.records import campaign_file, image_item, png, text_item

AWKWARD_IDS = [
    "plain",
    "a/b",
    "ä ö?&#%2F",
    "../../etc/passwd",
    ".",
    "..",
    "-",
    "%",
    "日本",
    "a b+c",
    "<img src=x>",
    "semi;colon",
    "{name}",
    "a\nb",
    "'()*!",
]


async def test_the_whole_way_of_one_answer(gateway: Gateway, people: dict[str, Client]) -> None:
    campaign = await gateway.apply(campaign_file(undo_seconds=0))
    await gateway.send(campaign, [text_item(campaign, "letter-1")])
    (item,) = await people["ann"].claim()
    assert item["content"] == [{"kind": "text", "name": "text", "text": "It will do more good than harm."}]
    assert item["suggestion"] == {"label": "con", "rationale": "It names a harm.", "model": "annotator-1"}
    assert item["critique"]["error_probability"] == 0.73
    assert item["metadata"] == {"source": "letters"}
    assert item["lease_seconds"] == 60
    body = {"lease_token": item["lease_token"], "label": "pro", "seconds": 2.5, "comment": "sure"}
    assert await people["ann"].post(item_path("letter-1", "/submit"), body) == (200, {"revision": 1})
    (merged,) = await asyncio.wait_for(gateway.until_merged(campaign, 1), 20)
    assert (merged.review.label, merged.review.reviewer, merged.review.seconds) == ("pro", "ann", 2.5)


@pytest.mark.parametrize("item_id", AWKWARD_IDS)
async def test_ids_may_hold_any_characters(gateway: Gateway, people: dict[str, Client], item_id: str) -> None:
    campaign = await gateway.apply(campaign_file())
    await gateway.send(campaign, [image_item(campaign, item_id, png())])
    (item,) = await people["ann"].claim()
    assert item["id"] == item_id
    status, shown = await people["ann"].get(item_path(item_id))
    assert (status, shown["item"]["id"]) == (200, item_id)
    body = {"lease_token": item["lease_token"], "label": "pro"}
    assert (await people["ann"].post(item_path(item_id, "/submit"), body))[0] == 200


async def test_a_large_image_comes_from_the_storage(gateway: Gateway, people: dict[str, Client], http: aiohttp.ClientSession) -> None:
    campaign = await gateway.apply(campaign_file())
    content = png() + b"\0" * 40_000
    item = image_item(campaign, "a", content)
    item.content.parts[0].media.CopyFrom(await MediaStore(gateway.host.settings.storage).put(content, "image/png"))
    assert item.content.parts[0].media.uri
    await gateway.send(campaign, [item])
    await people["ann"].claim()
    async with http.get(f"{gateway.url}/api/v1{item_path('a', '/media/0')}", headers=people["ann"].headers) as response:
        assert await response.read() == content
    assert (await people["ann"].get(item_path("a", "/media/7")))[0] == 404


@pytest.mark.parametrize(
    ("path", "body", "words"),
    [
        ("/submit", {"label": "pro"}, "lease_token"),
        ("/submit", {"lease_token": "x", "label": "pro", "seconds": -1}, "seconds"),
        ("/submit", {"lease_token": "x", "label": "pro", "seconds": 1e9}, "seconds"),
        ("/submit", {"lease_token": "x", "label": "p" * 201}, "label"),
        ("/submit", {"lease_token": "x", "label": 7}, "label"),
        ("/submit", {"lease_token": "x", "label": "pro", "comment": "c" * 4001}, "comment"),
        ("/submit", {"lease_token": "x", "label": "pro", "comment": "a\0b"}, "NUL"),
        ("/submit", {"lease_token": "x", "label": "pro", "extra": 1}, "extra"),
        ("/submit", [], "body"),
        ("/skip", {"lease_token": "x", "reason": "bored"}, "not-my-field"),
    ],
)
async def test_a_body_that_is_not_well_formed_is_refused_with_its_field(
    gateway: Gateway, people: dict[str, Client], path: str, body: object, words: str
) -> None:
    await gateway.apply(campaign_file())
    status, document = await people["ann"].post(item_path("a", path), body)
    assert (status, document["error"]["code"]) == (400, "bad-request")
    assert words in document["error"]["message"]


async def test_a_label_outside_the_set_is_refused(gateway: Gateway, people: dict[str, Client]) -> None:
    campaign = await gateway.apply(campaign_file())
    await gateway.send(campaign, [text_item(campaign, "a")])
    (item,) = await people["ann"].claim()
    status, document = await people["ann"].post(item_path("a", "/submit"), {"lease_token": item["lease_token"], "label": "maybe"})
    assert (status, document["error"]["code"]) == (400, "unknown-label")


@pytest.mark.parametrize(
    ("data", "content_type", "status"),
    [(b"{", "application/json", 400), (b"{}", "text/plain", 400), (b"[" * 70_000, "application/json", 413)],
)
async def test_what_is_no_small_json_is_refused(
    gateway: Gateway, people: dict[str, Client], http: aiohttp.ClientSession, data: bytes, content_type: str, status: int
) -> None:
    await gateway.apply(campaign_file())
    headers = {**people["ann"].headers, "Content-Type": content_type}
    async with http.post(f"{gateway.url}/api/v1/campaigns/stance/claim", data=data, headers=headers) as response:
        assert response.status == status
        assert (await response.json())["error"]["message"]


@pytest.mark.parametrize(
    "path", ["/campaigns/nowhere/progress", "/campaigns/No%20Name/progress", "/campaigns/stance/items/unknown", "/nothing"]
)
async def test_what_is_not_there_is_not_there(gateway: Gateway, people: dict[str, Client], path: str) -> None:
    await gateway.apply(campaign_file())
    status, document = await people["ann"].get(path)
    assert status == 404
    assert document["error"]["message"]


async def test_a_paused_campaign_says_why(gateway: Gateway, people: dict[str, Client]) -> None:
    campaign = await gateway.apply(campaign_file())
    await gateway.host.campaigns.pause(campaign.uid, "review-gateway", "guidelines are being rewritten")
    status, document = await people["ann"].post("/campaigns/stance/claim", {"count": 1})
    assert (status, document["error"]["code"]) == (409, "paused")
    assert "guidelines are being rewritten" in document["error"]["message"]


async def test_without_any_token_the_gateway_is_not_ready_and_says_what_to_do(tmp_path: Path) -> None:
    database = await open_database("sqlite:///:memory:")
    async with running_gateway(database=database, stream=MemoryStream(), folder=tmp_path, has_operator=False) as gateway:
        assert any("actlabel reviewer add NAME" in line for line in gateway.host.health.ready())
        assert gateway.host.health.alive() == []
    await database.close()


async def test_stopping_publishes_what_is_due(gateway: Gateway, people: dict[str, Client]) -> None:
    campaign = await gateway.apply(campaign_file(undo_seconds=0))
    await gateway.send(campaign, [text_item(campaign, f"i{number}") for number in range(20)])
    for item in await people["ann"].claim(20):
        await people["ann"].post(item_path(item["id"], "/submit"), {"lease_token": item["lease_token"], "label": "pro"})
    await gateway.stop()
    assert len(await gateway.merged(campaign)) == 20
