"""The page: static files of this package, and logging in and out."""

from dataclasses import dataclass
from importlib.resources import files
from typing import Final

from aiohttp import web

from actlabel.review_gateway import bodies
from actlabel.review_gateway.access import HEADER, Door, is_secure, json_answer, session_cookie
from actlabel.review_gateway.bodies import read_body
from actlabel.review_gateway.refusals import MissingHeader
from actlabel.review_gateway.reviewers import SESSION_S, Reviewers

_TYPES: Final = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}

_DOORS: Final = {"review.html": "/", "login.html": "/login"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Serves what is in ``page/``, read once; no path of a request ever names a file."""

    reviewers: Reviewers
    door: Door

    def add_routes(self, app: web.Application) -> None:
        """Serve the page at ``/``, its files at ``/page/``, and the login."""
        for file in files(__package__).joinpath("page").iterdir():
            _add_file(app, _DOORS.get(file.name, f"/page/{file.name}"), file.name, file.read_bytes())
        app.router.add_post("/login", self.login)
        app.router.add_post("/logout", self.logout)

    async def login(self, request: web.Request) -> web.Response:
        """Exchange a token for a session cookie, which no script can read."""
        _own_page_only(request)
        token = (await read_body(request, bodies.Login)).token.strip()
        caller = await self.door.by_token(request, token)
        response = json_answer({"name": caller.name, "role": "lead" if caller.is_lead else "reviewer"})
        session = await self.reviewers.begin_session(token)
        response.set_cookie(
            session_cookie(request), session, max_age=int(SESSION_S), path="/", secure=is_secure(request), httponly=True, samesite="Strict"
        )
        return response

    async def logout(self, request: web.Request) -> web.Response:
        """End the session."""
        _own_page_only(request)
        if session := request.cookies.get(session_cookie(request)):
            await self.reviewers.end_session(session)
        response = json_answer({})
        response.del_cookie(session_cookie(request), path="/", secure=is_secure(request), httponly=True, samesite="Strict")
        return response


def _own_page_only(request: web.Request) -> None:
    if request.headers.get(HEADER) is None:
        raise MissingHeader


def _add_file(app: web.Application, path: str, name: str, content: bytes) -> None:
    mime_type = _TYPES[name.rpartition(".")[2]]

    async def serve(_: web.Request) -> web.Response:
        return web.Response(body=content, content_type=mime_type, charset="utf-8", headers={"Cache-Control": "no-cache"})

    app.router.add_get(path, serve)
