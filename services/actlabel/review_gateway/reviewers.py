"""Who may review: tokens and the sessions that begin with them. Only hashes are stored."""

import hashlib
import hmac
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from actlabel.core.errors import NotUsableYet, UserError
from actlabel.review_gateway.domain import OPERATOR, Caller
from actlabel.review_gateway.entries import statements
from actlabel.runtime.clock import Clock
from actlabel.runtime.database.port import Database

SESSION_S: Final = 12 * 3600.0
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._@-]{0,62}")
_SHORTEST_TOKEN: Final = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Reviewer:
    """A row of ``reviewer``, without its hash."""

    name: str
    role: str  # reviewer, lead
    created_at: float  # seconds since 1970


class Reviewers:
    """Adds and removes people, and tells who is behind a token. A removed token ends its sessions at once."""

    def __init__(self, *, database: Database, clock: Clock, operator_token: str | None = None) -> None:
        """``operator_token``: names the lead ``operator``; nothing is read yet."""
        self._database = database
        self._clock = clock
        self._operator_sha256 = sha256(operator_token) if operator_token else None
        self._sql = statements()

    async def add(self, name: str, *, is_lead: bool) -> str:
        """Register somebody and return the new token, which is stored nowhere. Raises ``UserError``: unusable or known name."""
        if not _NAME.fullmatch(name) or name == OPERATOR:
            raise UserError(f"{name!r} cannot be a reviewer's name: use a-z, 0-9 and . _ @ -, at most 63, and not {OPERATOR!r}")
        token = secrets.token_urlsafe(32)
        values = (name, sha256(token), "lead" if is_lead else "reviewer", self._clock.now())
        if not await self._database.execute(self._sql["insert_reviewer"], *values):
            raise UserError(f"reviewer {name!r} exists; `actlabel reviewer remove {name}` first, then add it again for a new token")
        return token

    async def remove(self, name: str) -> None:
        """Forget somebody: token and sessions end now, answers stay. Raises ``UserError`` for an unknown name."""
        if not await self._database.execute(self._sql["delete_reviewer"], name):
            raise UserError(f"there is no reviewer {name!r}; `actlabel reviewer list` names them")

    async def list(self) -> Sequence[Reviewer]:
        """Return all, by name."""
        rows = await self._database.fetch(self._sql["reviewers"])
        return [Reviewer(name=row["name"], role=row["role"], created_at=row["created_at"]) for row in rows]

    async def missing(self) -> str | None:
        """Say what is missing when nobody can log in."""
        if self._operator_sha256 is not None or await self._database.fetch(self._sql["reviewers"]):
            return None
        return "nobody can log in: run `actlabel reviewer add NAME`, or name a file in ACTLABEL_REVIEW_TOKEN_FILE"

    async def by_token(self, token: str) -> Caller | None:
        """Tell whose token this is."""
        return await self._by_hash(sha256(token))

    async def _by_hash(self, digest: bytes) -> Caller | None:
        if self._operator_sha256 is not None and hmac.compare_digest(digest, self._operator_sha256):
            return Caller(name=OPERATOR, is_lead=True)
        for row in await self._database.fetch(self._sql["reviewer_by_token"], digest):
            if hmac.compare_digest(digest, bytes(row["token_sha256"])):
                return Caller(name=row["name"], is_lead=row["role"] == "lead")
        return None

    async def begin_session(self, token: str) -> str:
        """Return a fresh session secret for a token that was just checked."""
        session, now = secrets.token_urlsafe(32), self._clock.now()
        await self._database.execute(self._sql["delete_old_sessions"], now)
        await self._database.execute(self._sql["insert_session"], sha256(session), sha256(token), now + SESSION_S)
        return session

    async def by_session(self, session: str) -> Caller | None:
        """Tell whose session this is; None when it ended or its token is gone."""
        rows = await self._database.fetch(self._sql["session"], sha256(session), self._clock.now())
        return await self._by_hash(bytes(rows[0]["token_sha256"])) if rows else None

    async def end_session(self, session: str) -> None:
        """Log out."""
        await self._database.execute(self._sql["delete_session"], sha256(session))


def sha256(secret: str) -> bytes:
    """Hash a token or session. They carry 256 random bits, so a plain hash is enough."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


def read_operator_token(path: Path | None) -> str | None:
    """Read the operator's token. Raises ``NotUsableYet``: unreadable, or too short to be a secret."""
    if path is None:
        return None
    try:
        token = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise NotUsableYet(f"ACTLABEL_REVIEW_TOKEN_FILE: {path} cannot be read ({error})") from error
    if len(token) < _SHORTEST_TOKEN:
        raise NotUsableYet(
            f"ACTLABEL_REVIEW_TOKEN_FILE: the token in {path} is shorter than {_SHORTEST_TOKEN} characters; make a random one"
        )
    return token
