"""The HTTP API of a running gateway: who may do what, how errors look, what is served and what never."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import quote

import aiohttp
import pytest
from yarl import URL

from actlabel.review_gateway.access import COOKIE, SECURE_COOKIE
from actlabel.review_gateway.reviewers import Reviewers
from actlabel.runtime.database.open import open_database
from actlabel.runtime.media import MediaStore
from actlabel.stream.memory import MemoryStream
from tests.unit.review_gateway.gateway import OPERATOR_TOKEN, Gateway, running_gateway
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


class Client:
    """One caller with a token, or with none."""

    def __init__(self, gateway: Gateway, http: aiohttp.ClientSession, token: str | None) -> None:
        self.url = gateway.url
        self.http = http
        self.headers = {"Authorization": f"Bearer {token}"} if token else {}

    async def get(self, path: str, **headers: str) -> tuple[int, dict]:
        async with self.http.get(self._url(path), headers={**self.headers, **headers}) as response:
            return response.status, await response.json()

    async def post(self, path: str, body: object = None, **headers: str) -> tuple[int, dict]:
        async with self.http.post(self._url(path), json={} if body is None else body, headers={**self.headers, **headers}) as response:
            return response.status, await response.json()

    def _url(self, path: str) -> URL:
        return URL(f"{self.url}/api/v1{path}", encoded=True)

    async def claim(self, count: int = 1, campaign: str = "stance") -> list[dict]:
        status, document = await self.post(f"/campaigns/{campaign}/claim", {"count": count})
        assert status == 200, document
        return document["items"]


def item_path(item_id: str, tail: str = "", campaign: str = "stance") -> str:
    if item_id in {".", "..", "-"}:
        return f"/campaigns/{campaign}/items/-{tail}?id={quote(item_id, safe='')}"
    return f"/campaigns/{campaign}/items/{quote(item_id, safe='')}{tail}"


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[Gateway]:
    database = await open_database("sqlite:///:memory:")
    async with running_gateway(database=database, stream=MemoryStream(), folder=tmp_path) as running:
        yield running
    await database.close()


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as session:
        yield session


@pytest.fixture
async def people(gateway: Gateway, http: aiohttp.ClientSession) -> dict[str, Client]:
    tokens = {
        "ann": await gateway.reviewer("ann"),
        "bob": await gateway.reviewer("bob"),
        "lea": await gateway.reviewer("lea", is_lead=True),
    }
    tokens |= {"operator": OPERATOR_TOKEN, "nobody": None, "stranger": "wrong-token-wrong-token-wrong-token"}
    return {name: Client(gateway, http, token) for name, token in tokens.items()}


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
