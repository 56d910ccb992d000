"""Schemas by their number, from a Schema Registry: ``GET /schemas/ids/{id}`` and ``GET /subjects/{subject}/versions/{version}``.

Both are of Confluent's REST API, which other registries speak too. A number always means the same schema, so whoever asks keeps the
answer. The address comes from the campaign file; a record names a number and nothing else.
"""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import aiohttp

from actlabel.core.errors import DeadLetter, RetryLater, UserError
from actlabel.intake.wire import UNDECODABLE

_TIMEOUT_S: Final = 10.0
_MOST_BYTES: Final = 4 * 2**20
_MOST_REFERENCES: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisteredSchema:
    """One schema with those that it refers to, in an order in which each is known before it is used."""

    kind: str  # AVRO, JSON, PROTOBUF
    text: str
    references: tuple[str, ...] = ()


class SchemaRegistry:
    """One registry. Use as an asynchronous context manager."""

    def __init__(self, address: str, *, auth_file: Path | None = None) -> None:
        """``address``: the base URL. ``auth_file``: holds ``user:password``. Raises ``UserError`` when that file cannot be used."""
        self._address = address.rstrip("/")
        self._headers = _authorization(auth_file) if auth_file is not None else {}
        self._http: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> "SchemaRegistry":
        """Open the connections."""
        self._http = aiohttp.ClientSession(headers=self._headers, timeout=aiohttp.ClientTimeout(total=_TIMEOUT_S))
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the connections."""
        if self._http is not None:
            await self._http.close()

    async def schema(self, number: int) -> RegisteredSchema:
        """Return a schema. Raises ``DeadLetter``: ``'unknown-schema'`` or, too long, ``'undecodable'``; ``RetryLater``: nobody answers."""
        answer = await self._get(f"/schemas/ids/{number}", f"schema {number}")
        references: dict[tuple[str, int], str] = {}
        await self._refer(answer, references)
        return RegisteredSchema(kind=answer.get("schemaType", "AVRO"), text=answer["schema"], references=tuple(references.values()))

    async def _refer(self, answer: Mapping[str, Any], found: dict[tuple[str, int], str]) -> None:
        for reference in answer.get("references") or ():
            place = str(reference["subject"]), int(reference["version"])
            if place in found:
                continue
            if len(found) >= _MOST_REFERENCES:
                raise DeadLetter("unknown-schema", f"a schema refers to more than {_MOST_REFERENCES} others")
            inner = await self._get(f"/subjects/{quote(place[0], safe='')}/versions/{place[1]}", f"{place[0]} version {place[1]}")
            await self._refer(inner, found)
            found[place] = inner["schema"]

    async def _get(self, path: str, what: str) -> dict[str, Any]:
        assert self._http is not None, "used outside its context"
        try:
            async with self._http.get(f"{self._address}{path}", allow_redirects=False) as response:
                return _understood(response.status, await _whole(response, what), what, self._address)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise RetryLater(f"the schema registry at {self._address} is out of reach ({type(error).__name__})") from error


async def _whole(response: aiohttp.ClientResponse, what: str) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > _MOST_BYTES:
            raise DeadLetter(UNDECODABLE, f"{what} is longer than {_MOST_BYTES} bytes")
    return bytes(body)


def _understood(status: int, body: bytes, what: str, address: str) -> dict[str, Any]:
    if status == 404:
        raise DeadLetter("unknown-schema", f"{what} is not in the schema registry at {address}")
    try:
        answer = json.loads(body)
    except ValueError:
        answer = None
    if status != 200 or not isinstance(answer, dict) or not isinstance(answer.get("schema"), str):
        raise RetryLater(f"the schema registry at {address} answers with status {status} and no schema; see its log, and the access rules")
    return answer


def _authorization(path: Path) -> dict[str, str]:
    """Return the header of basic authentication (RFC 7617)."""
    try:
        words = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"source.schema_registry_auth_file: {path} cannot be read ({error})") from error
    if words.find(":") < 1:
        raise UserError(f"source.schema_registry_auth_file: {path} does not hold user:password")
    return {"Authorization": f"Basic {base64.b64encode(words.encode()).decode()}"}
