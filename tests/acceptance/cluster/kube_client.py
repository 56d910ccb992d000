"""The API server as a kubelet sees it: a few verbs over HTTPS with a client's certificate."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Mapping
from typing import Any

import aiohttp

from tests.acceptance.cluster.certificates import ADMIN
from tests.acceptance.cluster.control_plane import ControlPlane

Document = Mapping[str, Any]


class KubeClient:
    """One session; ``async with`` opens and closes it. Every method raises ``aiohttp.ClientError``."""

    def __init__(self, plane: ControlPlane) -> None:
        """It comes as the administrator: what a node may is not the question here."""
        pair = plane.certificates.user(ADMIN)
        self._tls = ssl.create_default_context(cafile=str(plane.certificates.ca))
        self._tls.load_cert_chain(pair.certificate, pair.key)
        self._address = plane.address
        self._http: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> "KubeClient":
        """Connect with the first request."""
        self._http = aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=self._tls), timeout=aiohttp.ClientTimeout(total=None))
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close."""
        if self._http is not None:
            await self._http.close()

    async def ask(self, method: str, path: str, body: Document | None = None, *, patch: str = "merge-patch") -> Any:
        """Send a request and return the answer's document; None where there is no such object (404) or another one has its name (409)."""
        assert self._http is not None, "opened"
        kind = f"application/{patch}+json" if method == "PATCH" else "application/json"
        data = None if body is None else json.dumps(body)
        async with self._http.request(method, f"{self._address}{path}", data=data, headers={"Content-Type": kind}) as response:
            if response.status in (404, 409):
                return None
            text = await response.text()
            if response.status >= 400:
                raise aiohttp.ClientError(f"{method} {path}: {text}")
            return json.loads(text)

    async def watch(self, path: str, query: str) -> AsyncIterator[tuple[str, Document]]:
        """Yield every object as ``ADDED``, then every change, for ever; a watch that ends is begun anew from a fresh list."""
        while True:
            listed = await self.ask("GET", f"{path}?{query}")
            for one in listed["items"]:
                yield "ADDED", one
            try:
                async for change in self._changes(path, query, listed["metadata"]["resourceVersion"]):
                    yield change
            except (aiohttp.ClientError, TimeoutError):
                await asyncio.sleep(0.5)

    async def _changes(self, path: str, query: str, version: str) -> AsyncIterator[tuple[str, Document]]:
        assert self._http is not None, "opened"
        url = f"{self._address}{path}?{query}&watch=1&resourceVersion={version}&timeoutSeconds=300"
        async with self._http.get(url) as response:
            async for line in response.content:
                event = json.loads(line)
                if event["type"] == "ERROR":
                    return
                yield event["type"], event["object"]
