"""Versions of models as the database holds them: immutable, numbered, and one of them current under each name."""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from actlabel.core.errors import UserError
from actlabel.runtime.clock import Clock
from actlabel.runtime.database.port import Database, Row, load_statements
from actlabel.runtime.storage import StoredFile

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_REFERENCE: Final = re.compile(r"([a-z0-9][a-z0-9-]{0,62})(?:@([1-9]\d{0,8}))?")


@dataclass(frozen=True, slots=True, kw_only=True)
class NewModel:
    """A model that is to be registered; its files are in storage already."""

    name: str
    campaign_uid: str
    answers: int  # of reviewers, published before its data was frozen
    files: tuple[StoredFile, ...]
    facts: Mapping[str, Any]  # everything else that the document tells


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelVersion:
    """One registered version."""

    name: str
    version: int
    digest: str
    campaign_uid: str
    answers: int
    document: Mapping[str, Any]
    created_at: float  # seconds since 1970

    @property
    def reference(self) -> str:
        """What names exactly this version."""
        return f"{self.name}@{self.version}"

    @property
    def files(self) -> tuple[StoredFile, ...]:
        """What lies in storage."""
        return tuple(StoredFile(**file) for file in self.document["files"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Current:
    """What a bare name means now."""

    name: str
    version: int
    pinned: bool  # else it is the newest
    newest: int


def digest_of(files: Iterable[StoredFile]) -> str:
    """Name a set of files by its content: the SHA-256 of their lines ``<sha256>  <name>``, in the order of their names."""
    lines = sorted((file.name, f"{file.sha256}  {file.name}\n") for file in files)
    return hashlib.sha256("".join(line for _, line in lines).encode()).hexdigest()


def check_name(name: str) -> str:
    """Return a usable model name. Raises ``UserError``."""
    if not _NAME.fullmatch(name):
        raise UserError(f"{name!r} cannot be a model's name: use lower-case letters, digits and hyphens")
    return name


class Registry:
    """Reads and writes through to the database."""

    def __init__(self, database: Database, clock: Clock) -> None:
        """Keep the database; nothing is read yet."""
        self._database = database
        self._clock = clock
        self._sql = load_statements("actlabel.model_registry")

    async def register(self, model: NewModel) -> ModelVersion:
        """Give a model the next version of its name; the same files again are the version that they have. Raises ``UserError``."""
        check_name(model.name)
        digest = digest_of(model.files)
        document = json.dumps({**model.facts, "files": [asdict(file) for file in model.files]}, sort_keys=True, ensure_ascii=False)
        values = (model.name, digest, model.campaign_uid, model.answers, document, self._clock.now())
        while True:  # another process may take the number in between
            await self._database.fetch(self._sql["insert"], *values)
            if rows := await self._database.fetch(self._sql["by_digest"], model.name, digest):
                return _version(rows[0])

    async def current(self) -> Sequence[Current]:
        """Return what every bare name means, by name."""
        rows = await self._database.fetch(self._sql["current"])
        return [Current(name=row["name"], version=row["version"], pinned=bool(row["pinned"]), newest=row["newest"]) for row in rows]

    async def versions(self, name: str) -> Sequence[ModelVersion]:
        """Return every version of a name, oldest first. Raises ``UserError`` when there is none."""
        rows = await self._database.fetch(self._sql["versions"], name)
        if not rows:
            raise UserError(f"no model {name!r} is registered; `actlabel model list` names those that are")
        return [_version(row) for row in rows]

    async def find(self, reference: str) -> ModelVersion:
        """Return the version that ``name`` or ``name@version`` means. Raises ``UserError`` when there is none."""
        match = _REFERENCE.fullmatch(reference)
        if match is None:
            raise UserError(f"{reference!r} names no model: write name or name@version")
        number = int(match[2]) if match[2] else next((known.version for known in await self.current() if known.name == match[1]), 0)
        rows = await self._database.fetch(self._sql["by_version"], match[1], number)
        if not rows:
            raise UserError(f"no model {reference!r} is registered; `actlabel model list` names those that are")
        return _version(rows[0])

    async def last_of_campaign(self, uid: str) -> ModelVersion | None:
        """Return what was registered last of all that was trained on a campaign."""
        rows = await self._database.fetch(self._sql["last_of_campaign"], uid)
        return _version(rows[0]) if rows else None

    async def rounds_of_campaign(self, uid: str) -> int:
        """Count the versions that were trained on a campaign, under whatever name."""
        return int((await self._database.fetch(self._sql["count_of_campaign"], uid))[0]["models"])

    async def pin(self, reference: str) -> ModelVersion:
        """Let the bare name mean this version from now on, whatever is registered later. Raises ``UserError``: no such version."""
        model = await self.find(reference)
        await self._database.execute(self._sql["pin"], model.name, model.version, self._clock.now())
        return model

    async def unpin(self, name: str) -> ModelVersion:
        """Let the bare name mean the newest version again. Raises ``UserError``: no such model."""
        await self.versions(name)
        await self._database.execute(self._sql["unpin"], name)
        return await self.find(name)


def _version(row: Row) -> ModelVersion:
    return ModelVersion(
        name=row["name"],
        version=row["version"],
        digest=row["digest"],
        campaign_uid=row["campaign_uid"],
        answers=row["answers"],
        document=json.loads(row["document"]),
        created_at=row["created_at"],
    )
