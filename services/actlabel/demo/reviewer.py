"""The scripted reviewer: a client of the review gateway's HTTP API that knows the true labels, which the system does not."""

import asyncio
import time
from collections.abc import Mapping
from typing import Any

import aiohttp

from actlabel.core.errors import Fatal
from actlabel.runtime.lifecycle import until

_AT_ONCE = 20
_PAUSE_S = 0.2


class ScriptedReviewer:
    """Claims items and answers each with its true label, as a person at the review page would."""

    def __init__(self, *, address: str, token: str, campaign: str, truth: Mapping[str, str]) -> None:
        """``address``: ``http://host:port`` of the gateway. ``truth``: item id → true label, for every item of the campaign."""
        self._base = f"{address}/api/v1/campaigns/{campaign}"
        self._headers = {"Authorization": f"Bearer {token}"}
        self._truth = truth
        self.answered = 0

    async def work(self, stop: asyncio.Event) -> None:
        """Answer items as they come, until ``stop``. Raises ``Fatal`` when the gateway refuses an answer."""
        async with aiohttp.ClientSession(headers=self._headers, timeout=aiohttp.ClientTimeout(total=30)) as http:
            while not stop.is_set():
                claimed_s = time.monotonic()
                items = await self._claim(http)
                for item in items:
                    await self._answer(http, item, seconds=time.monotonic() - claimed_s)
                if not items:
                    await until(stop, _PAUSE_S)

    async def _claim(self, http: aiohttp.ClientSession) -> list[dict[str, Any]]:
        try:
            items: list[dict[str, Any]] = (await self._post(http, "claim", {"count": _AT_ONCE}))["items"]
        except aiohttp.ClientConnectorError:
            return []  # the gateway is not up yet
        return items

    async def _answer(self, http: aiohttp.ClientSession, item: Mapping[str, Any], *, seconds: float) -> None:
        answer = {"lease_token": item["lease_token"], "label": self._truth[item["id"]], "seconds": seconds}
        await self._post(http, f"items/{item['id']}/submit", answer)
        self.answered += 1

    async def _post(self, http: aiohttp.ClientSession, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        async with http.post(f"{self._base}/{path}", json=body) as response:
            if response.status != 200:
                raise Fatal(f"the review gateway answered {response.status} to {path}: {(await response.text())[:200]}")
            document: dict[str, Any] = await response.json()
            return document
