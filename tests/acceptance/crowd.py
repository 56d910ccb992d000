"""A reviewer who answers with the truth and does not mind that the gateway dies under the hands."""

import asyncio
from collections.abc import Callable, Mapping
from urllib.parse import quote

import aiohttp


class Reviewer:
    """Claims and answers until told to stop; remembers what the gateway acknowledged."""

    def __init__(self, *, token: str, campaign: str, truth: Mapping[str, str], address: Callable[[], str], think_s: float = 0.0) -> None:
        """``address``: asked before every request, since a gateway that comes back may have another port. ``think_s``: per answer."""
        self._token = token
        self._campaign = campaign
        self.truth = truth
        self._address = address
        self._think_s = think_s
        self.sent: set[str] = set()  # whether or not an acknowledgement came back
        self.submitting_to = ""  # the address of a gateway, while an answer is on its way
        self.acknowledged: dict[str, str] = {}

    async def work(self, stop: asyncio.Event) -> None:
        """Answer whatever is offered until ``stop``."""
        headers = {"Authorization": f"Bearer {self._token}"}
        async with aiohttp.ClientSession(headers=headers, timeout=aiohttp.ClientTimeout(total=10)) as http:
            while not stop.is_set():
                try:
                    if not await self._round(http):
                        await asyncio.sleep(0.1)
                except (aiohttp.ClientError, TimeoutError):
                    await asyncio.sleep(0.1)

    async def _round(self, http: aiohttp.ClientSession) -> bool:
        base = f"{self._address()}/api/v1/campaigns/{self._campaign}"
        async with http.post(f"{base}/claim", json={"count": 10}) as response:
            if response.status >= 500 or (response.status == 409 and "paused" in await response.text()):
                return False
            assert response.status == 200, await response.text()
            items = (await response.json())["items"]
        for item in items:
            label = self.truth[item["id"]]
            await asyncio.sleep(self._think_s)
            self.sent.add(item["id"])
            body = {"lease_token": item["lease_token"], "label": label, "seconds": 0.1, "comment": ""}
            self.submitting_to = base
            try:
                async with http.post(f"{base}/items/{quote(item['id'], safe='')}/submit", json=body) as response:
                    if response.status == 200:
                        self.acknowledged[item["id"]] = label
            finally:
                self.submitting_to = ""
        return bool(items)
