"""A caller of the review API."""

from urllib.parse import quote

import aiohttp
from yarl import URL

from tests.unit.review_gateway.gateway import Gateway


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
