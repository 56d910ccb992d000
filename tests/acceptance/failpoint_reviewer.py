"""A reviewer who changes their mind about every fourth item, and repeats every request until a gateway has answered it."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

import aiohttp


class Doubter:
    """Claims and answers until told to stop."""

    def __init__(self, *, token: str, campaign: str, truth: Mapping[str, str], address: Callable[[], str]) -> None:
        """``address``: asked before every request, since a gateway that comes back has another port."""
        self._headers = {"Authorization": f"Bearer {token}"}
        self._campaign = campaign
        self._truth = truth
        self._address = address
        self.submitted: dict[str, str] = {}  # item id → the last label that a gateway said it has taken
        self.undone: set[str] = set()

    async def work(self, stop: asyncio.Event) -> None:
        """Answer whatever is offered until ``stop``."""
        async with aiohttp.ClientSession(headers=self._headers, timeout=aiohttp.ClientTimeout(total=10)) as http:
            while not stop.is_set():
                claimed = await self._heard(http, stop, "claim", {"count": 4, "resume": True})
                for item in claimed.get("items", ()):
                    await self._settle(http, stop, item["id"], item["lease_token"])
                if not claimed.get("items"):
                    await asyncio.sleep(0.05)

    async def _settle(self, http: aiohttp.ClientSession, stop: asyncio.Event, item_id: str, token: str) -> None:
        right = self._truth[item_id]
        if int(item_id.rpartition("-")[2]) % 4 == 0 and item_id not in self.undone:
            await self._submit(http, stop, item_id, token, next(label for label in self._truth.values() if label != right))
            back = await self._heard(http, stop, f"items/{quote(item_id, safe='')}/undo", {})
            token = back["item"]["lease_token"]
            self.undone.add(item_id)
        await self._submit(http, stop, item_id, token, right)

    async def _submit(self, http: aiohttp.ClientSession, stop: asyncio.Event, item_id: str, token: str, label: str) -> None:
        body = {"lease_token": token, "label": label, "seconds": 0.1, "comment": ""}
        if "revision" in await self._heard(http, stop, f"items/{quote(item_id, safe='')}/submit", body):
            self.submitted[item_id] = label

    async def _heard(self, http: aiohttp.ClientSession, stop: asyncio.Event, path: str, body: Mapping[str, object]) -> dict[str, Any]:
        """Ask until somebody answers. A refusal is an answer; the reviewer then claims anew."""
        while not stop.is_set():
            try:
                async with http.post(f"{self._address()}/api/v1/campaigns/{self._campaign}/{path}", json=body) as response:
                    if response.status < 500:
                        return dict(await response.json())
            except (aiohttp.ClientError, TimeoutError):
                pass
            await asyncio.sleep(0.05)
        return {}
