"""The HTTP API of a running gateway: who may do what, what is served and what never."""

import asyncio

import aiohttp
import pytest

from actlabel.review_gateway.access import COOKIE, SECURE_COOKIE
from actlabel.review_gateway.reviewers import Reviewers
from tests.unit.review_gateway.client import Client, item_path
from tests.unit.review_gateway.gateway import OPERATOR_TOKEN, Gateway
from tests.unit.review_gateway.records import campaign_file, image_item, png, text_item


async def test_nobody_gets_in_without_a_valid_token(gateway: Gateway, people: dict[str, Client]) -> None:
    campaign = await gateway.apply(campaign_file())
    await gateway.send(campaign, [text_item(campaign, "a")])
    routes = [
        ("GET", path)
        for path in ("/me", "/campaigns", "/campaigns/stance/progress", "/campaigns/stance/history", "/campaigns/stance/flags")
    ]
    routes += [("GET", item_path("a")), ("GET", item_path("a", "/media/0")), ("POST", "/campaigns/stance/claim")]
    routes += [("POST", item_path("a", f"/{act}")) for act in ("submit", "undecidable", "skip", "undo", "extend", "flag")]
    assert (await people["ann"].get("/me"))[0] == 200
    for who in ("nobody", "stranger"):
        for method, path in routes:
            status, document = await (people[who].get(path) if method == "GET" else people[who].post(path))
            assert status in {401, 429}, (who, method, path)
            assert set(document["error"]) == {"code", "message"}
    assert (await people["ann"].claim())[0]["id"] == "a", "who worked from the same address before goes on"


async def test_an_item_in_other_hands_is_out_of_reach_by_every_route(gateway: Gateway, people: dict[str, Client]) -> None:
    campaign = await gateway.apply(campaign_file())
    await gateway.send(campaign, [image_item(campaign, "a", png())])
    (item,) = await people["ann"].claim()
    stolen = {"lease_token": item["lease_token"]}
    bob = people["bob"]
    expected = {
        "": (404, await bob.get(item_path("a"))),
        "/media/0": (404, await bob.get(item_path("a", "/media/0"))),
        "/submit": (409, await bob.post(item_path("a", "/submit"), {**stolen, "label": "pro"})),
        "/undecidable": (409, await bob.post(item_path("a", "/undecidable"), stolen)),
        "/skip": (409, await bob.post(item_path("a", "/skip"), {**stolen, "reason": "unclear"})),
        "/extend": (409, await bob.post(item_path("a", "/extend"), stolen)),
        "/undo": (404, await bob.post(item_path("a", "/undo"))),
        "/flag": (404, await bob.post(item_path("a", "/flag"), {"comment": "x"})),
    }
    assert {path: status for path, (_, (status, _)) in expected.items()} == {path: want for path, (want, _) in expected.items()}
    assert (await people["ann"].post(item_path("a", "/submit"), {**stolen, "label": "pro"}))[0] == 200
    assert (await bob.get(item_path("a")))[0] == 404
    assert (await bob.post(item_path("a", "/undo")))[0] == 404
    assert (await bob.get("/campaigns/stance/history?reviewer=ann"))[0] == 403
    assert (await bob.get("/campaigns/stance/flags"))[0] == 403
    assert (await bob.get("/campaigns/stance/history"))[1] == {"answers": []}
    for lead in ("lea", "operator"):
        assert (await people[lead].get(item_path("a")))[1]["answer"]["label"] == "pro"
        assert len((await people[lead].get("/campaigns/stance/history?reviewer=ann"))[1]["answers"]) == 1
        assert (await people[lead].get("/campaigns/stance/flags"))[0] == 200


async def test_an_item_of_one_campaign_is_not_in_another(gateway: Gateway, people: dict[str, Client]) -> None:
    stance, other = await gateway.apply(campaign_file()), await gateway.apply(campaign_file("other"))
    await gateway.send(stance, [text_item(stance, "a")])
    (item,) = await people["ann"].claim()
    body = {"lease_token": item["lease_token"], "label": "pro"}
    assert (await people["ann"].post(item_path("a", "/submit", campaign=other.name), body))[0] == 404
    assert (await people["ann"].get(item_path("a", campaign=other.name)))[0] == 404


async def test_a_removed_reviewer_is_out_at_once_with_every_session(gateway: Gateway, http: aiohttp.ClientSession) -> None:
    token = await gateway.reviewer("eve")
    async with http.post(f"{gateway.url}/login", json={"token": token}, headers={"X-Actlabel": "review"}) as response:
        assert response.status == 200
    page = Client(gateway, http, None)
    assert (await page.get("/me")) == (200, {"name": "eve", "role": "reviewer"})
    await Reviewers(database=gateway.host.database, clock=gateway.host.clock).remove("eve")
    assert (await page.get("/me"))[0] == 401
    assert (await Client(gateway, http, token).get("/me"))[0] == 401


async def test_a_session_cookie_alone_cannot_write(gateway: Gateway, http: aiohttp.ClientSession) -> None:
    campaign = await gateway.apply(campaign_file())
    await gateway.send(campaign, [text_item(campaign, "a")])
    async with http.post(f"{gateway.url}/login", json={"token": OPERATOR_TOKEN}) as response:
        assert response.status == 403, "logging in needs the header too"
    async with http.post(f"{gateway.url}/login", json={"token": OPERATOR_TOKEN}, headers={"X-Actlabel": "review"}) as response:
        cookie = response.headers["Set-Cookie"]
    assert cookie.startswith(f"{COOKIE}=")
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    page = Client(gateway, http, None)
    assert (await page.post("/campaigns/stance/claim", {"count": 1}))[1]["error"]["code"] == "missing-header"
    assert (await page.post("/campaigns/stance/claim", {"count": 1}, **{"X-Actlabel": "review"}))[0] == 200
    async with http.post(f"{gateway.url}/logout", headers={"X-Actlabel": "review"}) as response:
        assert response.status == 200
    assert (await page.get("/me"))[0] == 401


async def test_a_logged_out_session_is_dead_for_whoever_kept_its_cookie(gateway: Gateway, http: aiohttp.ClientSession) -> None:
    async with http.post(f"{gateway.url}/login", json={"token": OPERATOR_TOKEN}, headers={"X-Actlabel": "review"}) as response:
        kept = response.cookies[COOKIE].value
    async with http.post(f"{gateway.url}/logout", headers={"X-Actlabel": "review"}):
        pass
    assert (await Client(gateway, http, None).get("/me", Cookie=f"{COOKIE}={kept}"))[0] == 401


async def test_behind_tls_only_the_host_bound_cookie_counts(gateway: Gateway, http: aiohttp.ClientSession) -> None:
    headers = {"X-Actlabel": "review", "X-Forwarded-Proto": "https"}
    async with http.post(f"{gateway.url}/login", json={"token": OPERATOR_TOKEN}, headers=headers) as response:
        cookie = response.headers["Set-Cookie"]
        assert response.headers["Strict-Transport-Security"]
    assert cookie.startswith(f"{SECURE_COOKIE}=")
    assert "Secure" in cookie
    assert "Path=/" in cookie
    assert "Domain" not in cookie
    session = cookie.partition("=")[2].partition(";")[0]
    async with http.get(f"{gateway.url}/api/v1/me", headers={**headers, "Cookie": f"{COOKIE}={session}"}) as response:
        assert response.status == 401


async def test_every_answer_carries_the_security_headers(gateway: Gateway, http: aiohttp.ClientSession) -> None:
    for path in ("/", "/login", "/page/review.js", "/page/review.css", "/api/v1/me", "/nowhere", "/page/..%2f..%2fmain.py"):
        async with http.get(gateway.url + path) as response:
            policy = response.headers["Content-Security-Policy"]
            assert "default-src 'none'" in policy
            assert "unsafe" not in policy
            assert "frame-ancestors 'none'" in policy
            assert response.headers["X-Content-Type-Options"] == "nosniff"
            assert response.headers["Referrer-Policy"] == "no-referrer"
            assert "aiohttp" not in response.headers["Server"]


async def test_the_page_has_no_script_or_style_inside(gateway: Gateway, http: aiohttp.ClientSession) -> None:
    for path in ("/", "/login"):
        async with http.get(gateway.url + path) as response:
            text = await response.text()
        assert "<script>" not in text
        assert "<style" not in text
        assert " style=" not in text
        assert " onclick=" not in text


@pytest.mark.parametrize(
    ("content", "mime_type"),
    [
        (png(), "image/png"),
        (b"\xff\xd8\xff\xe0 jpeg", "image/jpeg"),
        (b"GIF89a gif", "image/gif"),
        (b"RIFF\0\0\0\0WEBPVP8 ", "image/webp"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>", None),
        (b"<?xml version='1.0'?><svg/>", None),
        (b"<html><script>alert(1)</script>", None),
        (b"%PDF-1.7", None),
        (b"", None),
    ],
)
async def test_only_images_are_served_and_only_as_what_they_are(
    gateway: Gateway, people: dict[str, Client], http: aiohttp.ClientSession, content: bytes, mime_type: str | None
) -> None:
    campaign = await gateway.apply(campaign_file())
    await gateway.send(campaign, [image_item(campaign, "a", content)])
    await people["ann"].claim()
    async with http.get(f"{gateway.url}/api/v1{item_path('a', '/media/0')}", headers=people["ann"].headers) as response:
        if mime_type is None:
            assert response.status == 404
            return
        assert response.status == 200
        assert response.headers["Content-Type"] == mime_type
        assert response.headers["Content-Disposition"].startswith('inline; filename="image-0.')
        assert "sandbox" in response.headers["Content-Security-Policy"]
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert await response.read() == content


@pytest.mark.parametrize(
    "uri",
    ["http://169.254.169.254/latest/meta-data", "file:///etc/passwd", "/etc/passwd", "../operator-token", "media/../../operator-token"],
)
async def test_no_record_makes_the_gateway_fetch_or_read_elsewhere(gateway: Gateway, people: dict[str, Client], uri: str) -> None:
    campaign = await gateway.apply(campaign_file())
    item = image_item(campaign, "a", png())
    item.content.parts[0].media.uri = uri
    await gateway.send(campaign, [item])
    await people["ann"].claim()
    assert (await people["ann"].get(item_path("a", "/media/0")))[0] == 404


async def test_a_gold_label_is_never_served(gateway: Gateway, people: dict[str, Client]) -> None:
    campaign = await gateway.apply(campaign_file())
    gold = "gold-that-nobody-may-see"
    await gateway.host.database.execute(
        "INSERT INTO item (uid, item_id, content_sha256, revision, batch, gold, produced, created_at) "
        "VALUES ($1, 'a', $2, 1, 1, $3, $4, 0)",
        campaign.uid,
        b"x",
        gold,
        True,
    )
    await gateway.send(campaign, [text_item(campaign, "a")])
    answers = [await people["operator"].post("/campaigns/stance/claim", {"count": 5})]
    token = answers[0][1]["items"][0]["lease_token"]
    answers.append(await people["operator"].get(item_path("a")))
    answers.append(await people["operator"].post(item_path("a", "/submit"), {"lease_token": token, "label": "pro"}))
    paths = ("/campaigns", "/campaigns/stance/progress", "/campaigns/stance/history", "/campaigns/stance/flags", "/me")
    answers += [await people["operator"].get(path) for path in paths]
    answers.append(await people["operator"].post(item_path("a", "/undo")))
    assert all(status == 200 for status, _ in answers)
    assert gold not in repr(answers)


async def test_where_reviewers_shall_not_be_led_the_models_stay_silent(gateway: Gateway, people: dict[str, Client]) -> None:
    campaign = await gateway.apply(campaign_file(show_suggestion=False, undo_seconds=0))
    await gateway.send(campaign, [text_item(campaign, "a")])
    (item,) = await people["ann"].claim()
    assert (item["suggestion"], item["critique"]) == (None, None)
    await people["ann"].post(item_path("a", "/submit"), {"lease_token": item["lease_token"], "label": "pro"})
    (merged,) = await asyncio.wait_for(gateway.until_merged(campaign, 1), 20)
    assert not merged.review.suggestion_shown
