"""The door: who is calling, what every answer carries, and how errors look. Fails closed."""

from collections.abc import Awaitable, Callable
from typing import Any, Final

import orjson
from aiohttp import web

from actlabel.core.errors import DeadLetter, RetryLater
from actlabel.review_gateway import refusals
from actlabel.review_gateway.domain import Caller
from actlabel.review_gateway.guesses import Guesses
from actlabel.review_gateway.refusals import BadRequest, MissingHeader, NotLoggedIn, Refused, TooMany
from actlabel.review_gateway.reviewers import Reviewers, sha256
from actlabel.runtime.log import get_log

_LOG = get_log(__name__)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

CALLER: Final = web.RequestKey("caller", Caller)
COOKIE: Final = "actlabel_session"
SECURE_COOKIE: Final = f"__Host-{COOKIE}"
HEADER: Final = "X-Actlabel"
"""A page of another origin cannot send it without asking, so its presence on a write proves our own page (OWASP CSRF: custom header)."""

_STATUS: Final[dict[type[Refused], int]] = {
    BadRequest: 400,
    refusals.UnknownLabel: 400,
    NotLoggedIn: 401,
    MissingHeader: 403,
    refusals.NotAllowed: 403,
    refusals.NoSuchCampaign: 404,
    refusals.NoSuchItem: 404,
    refusals.NoSuchMedia: 404,
    refusals.LeaseLost: 409,
    refusals.AlreadyAnswered: 409,
    refusals.NothingToUndo: 409,
    refusals.Paused: 409,
    TooMany: 429,
}
_EVERYWHERE: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'none'; base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cache-Control": "no-store",
}


def json_answer(document: Any, *, status: int = 200) -> web.Response:
    """Answer with JSON."""
    return web.Response(body=orjson.dumps(document), status=status, content_type="application/json")


def error_answer(status: int, code: str, message: str) -> web.Response:
    """Answer with the one error shape: ``{"error": {"code", "message"}}``."""
    return json_answer({"error": {"code": code, "message": message}}, status=status)


def is_secure(request: web.Request) -> bool:
    """Say whether the browser spoke TLS, to us or to the proxy before us. A lie only makes the liar's own cookie stricter."""
    return request.secure or request.headers.get("X-Forwarded-Proto") == "https"


def session_cookie(request: web.Request) -> str:
    """Name the cookie for this connection: with ``__Host-`` a browser takes it over TLS only and from this host only."""
    return SECURE_COOKIE if is_secure(request) else COOKIE


@web.middleware
async def security_headers(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Put what every answer carries on it, where the handler said nothing else."""
    response = await handler(request)
    for name, value in _EVERYWHERE.items():
        response.headers.setdefault(name, value)
    if is_secure(request):
        response.headers.setdefault("Strict-Transport-Security", "max-age=31536000")
    response.headers["Server"] = "actlabel"
    return response


@web.middleware
async def errors_as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn what was raised into the error shape; what nobody expected says nothing about our insides."""
    try:
        return await handler(request)
    except Refused as error:
        return _waiting(error_answer(_STATUS.get(type(error), 400), error.code, str(error)), getattr(error, "retry_after_s", None))
    except RetryLater:
        _LOG.warning("a request must be repeated: something is out of reach", path=request.match_info.route.name or "")
        sentence = "The gateway cannot reach its database or storage for now; the same request may succeed soon"
        return _waiting(error_answer(503, "retry-later", sentence), 1)
    except Exception as error:  # noqa: BLE001 - fails closed
        return _unexpected(error)


def _waiting(response: web.Response, retry_after_s: int | None) -> web.Response:
    if retry_after_s is not None:
        response.headers["Retry-After"] = str(retry_after_s)
    return response


def _unexpected(error: Exception) -> web.Response:
    if isinstance(error, DeadLetter):
        return error_answer(404, error.reason, error.detail)
    if isinstance(error, web.HTTPException):
        return error_answer(error.status, "http", f"{error.status} {error.reason}")
    if isinstance(error, (ConnectionError, web.RequestPayloadError)):  # the caller went away in the middle; nobody reads this
        return error_answer(400, "bad-request", "The request did not arrive whole")
    _LOG.error("a request failed", exc_info=error)
    return error_answer(500, "defect", "The gateway has a defect here; its log says more")


class Door:
    """Knows who is calling."""

    def __init__(self, *, reviewers: Reviewers, guesses: Guesses) -> None:
        """``guesses`` slows down whoever tries tokens."""
        self._reviewers = reviewers
        self._guesses = guesses

    @web.middleware
    async def only_known(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Let only known callers through to the API, and writes of a page only with our header."""
        if request.path.startswith("/api/"):
            request[CALLER] = await self._caller(request)
        return await handler(request)

    async def _caller(self, request: web.Request) -> Caller:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if token and scheme.lower() == "bearer":
            return await self.by_token(request, token.strip())
        session = request.cookies.get(session_cookie(request))
        caller = await self._reviewers.by_session(session) if session else None
        if caller is None:
            raise NotLoggedIn
        if request.method not in ("GET", "HEAD") and request.headers.get(HEADER) is None:
            raise MissingHeader
        return caller

    async def by_token(self, request: web.Request, token: str) -> Caller:
        """Tell whose token this is. Raises ``NotLoggedIn``, and ``TooMany`` after too many wrong ones from one address."""
        address, digest = request.remote or "", sha256(token)
        self._guesses.check(address, digest)
        caller = await self._reviewers.by_token(token)
        if caller is None:
            self._guesses.wrong(address, digest)
            _LOG.warning("a wrong token was sent", address=address)
            raise NotLoggedIn
        self._guesses.right(digest)
        return caller
