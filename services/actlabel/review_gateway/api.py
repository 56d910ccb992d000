"""The HTTP API under ``/api/v1``: each route reads its request, calls one use case, and shows what came of it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from aiohttp import web

from actlabel.contracts.v1.item_pb2 import Item
from actlabel.core import topics
from actlabel.core.errors import UserError
from actlabel.review_gateway import bodies, view
from actlabel.review_gateway.access import CALLER, json_answer
from actlabel.review_gateway.answers import Answers
from actlabel.review_gateway.bodies import read_body, read_number
from actlabel.review_gateway.domain import Entry
from actlabel.review_gateway.images import picture
from actlabel.review_gateway.leases import Leases
from actlabel.review_gateway.reading import Reading
from actlabel.review_gateway.refusals import NoSuchCampaign, NoSuchItem, NoSuchMedia, NotAllowed
from actlabel.runtime.campaigns import EVERY_STAGE, Campaign, Campaigns
from actlabel.runtime.media import MediaStore

_BASE: Final = "/api/v1/campaigns"
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_END_OF_TIME: Final = 1e12


@dataclass(frozen=True, slots=True, kw_only=True)
class Api:
    """The routes. Every one of them knows its caller from the door."""

    campaigns: Campaigns
    leases: Leases
    answers: Answers
    reading: Reading
    media: MediaStore

    def add_routes(self, app: web.Application) -> None:
        """Serve everything below ``/api/v1``."""
        campaign, item = f"{_BASE}/{{name}}", f"{_BASE}/{{name}}/items/{{id:[^/]+}}"
        app.router.add_get("/api/v1/me", self.me)
        app.router.add_get(_BASE, self.list_campaigns)
        app.router.add_post(f"{campaign}/claim", self.claim)
        app.router.add_get(f"{campaign}/progress", self.progress)
        app.router.add_get(f"{campaign}/history", self.history)
        app.router.add_get(f"{campaign}/flags", self.flags)
        app.router.add_get(item, self.item)
        app.router.add_get(f"{item}/media/{{index:[0-9]{{1,4}}}}", self.media_part)
        for name, handler in self._writes().items():
            app.router.add_post(f"{item}/{name}", handler)

    def _writes(self) -> Mapping[str, Any]:
        return {
            "submit": self.submit,
            "undecidable": self.undecidable,
            "skip": self.skip,
            "undo": self.undo,
            "extend": self.extend,
            "flag": self.flag,
        }

    async def me(self, request: web.Request) -> web.Response:
        """Say who is calling."""
        caller = request[CALLER]
        return json_answer({"name": caller.name, "role": "lead" if caller.is_lead else "reviewer"})

    async def list_campaigns(self, request: web.Request) -> web.Response:
        """List the campaigns, with what waits in each."""
        shown = []
        for campaign in await self.campaigns.list():
            progress = await self.reading.progress(campaign, request[CALLER])
            shown.append({**view.campaign_view(campaign), "progress": view.progress_view(progress)})
        return json_answer({"campaigns": shown})

    async def claim(self, request: web.Request) -> web.Response:
        """Lend items."""
        campaign, body = await self._campaign(request), await read_body(request, bodies.Claim)
        paused = await self._paused(campaign)
        leases = await self.leases.claim(
            campaign, request[CALLER], count=body.count, resume=body.resume, skipped=body.skipped, paused=paused
        )
        versions = {lease.token: await self._version(lease.entry) for lease in leases}
        items = [view.lease_view(lease, versions[lease.token]) for lease in leases]
        return json_answer({"items": items, "tasks": view.tasks_view({one.version: one for one in versions.values()})})

    async def item(self, request: web.Request) -> web.Response:
        """Show one item again, with its answer."""
        entry, answer = await self.reading.item(await self._campaign(request), request[CALLER], _item_id(request))
        version = await self._version(entry)
        tasks = view.tasks_view({version.version: version})
        return json_answer({"item": view.item_view(entry, version), "answer": view.answer_view(answer), "tasks": tasks})

    async def media_part(self, request: web.Request) -> web.Response:
        """Serve one image of an item."""
        entry, _ = await self.reading.item(await self._campaign(request), request[CALLER], _item_id(request))
        index = int(request.match_info["index"])
        parts = Item.FromString(entry.item).content.parts
        if index >= len(parts) or parts[index].WhichOneof("kind") != "media":
            raise NoSuchMedia
        found = picture(await self.media.get(parts[index].media))
        headers = {
            "Content-Disposition": f'inline; filename="image-{index}.{found.extension}"',
            "Content-Security-Policy": "default-src 'none'; sandbox",
            "Cache-Control": "private, max-age=3600",
        }
        return web.Response(body=found.content, content_type=found.mime_type, headers=headers)

    async def submit(self, request: web.Request) -> web.Response:
        """Take an answer."""
        campaign, body = await self._campaign(request), await read_body(request, bodies.Submit)
        return await self._answer(request, campaign, body, body.label)

    async def undecidable(self, request: web.Request) -> web.Response:
        """Take the answer that there is none."""
        campaign, body = await self._campaign(request), await read_body(request, bodies.Undecidable)
        return await self._answer(request, campaign, body, None)

    async def _answer(self, request: web.Request, campaign: Campaign, body: bodies.Undecidable, label: str | None) -> web.Response:
        revision = await self.answers.submit(
            campaign,
            request[CALLER],
            _item_id(request),
            token=body.lease_token,
            label=label,
            seconds=body.seconds,
            comment=body.comment,
        )
        return json_answer({"revision": revision})

    async def skip(self, request: web.Request) -> web.Response:
        """Leave an item to somebody else."""
        campaign, body = await self._campaign(request), await read_body(request, bodies.Skip)
        state = await self.answers.skip(campaign, request[CALLER], _item_id(request), token=body.lease_token, reason=body.reason)
        return json_answer({"state": state.value})

    async def undo(self, request: web.Request) -> web.Response:
        """Take the caller's answer back, or open it for a new one."""
        undone = await self.answers.undo(await self._campaign(request), request[CALLER], _item_id(request))
        version = await self._version(undone.lease.entry)
        return json_answer({**view.undone_view(undone, version), "tasks": view.tasks_view({version.version: version})})

    async def extend(self, request: web.Request) -> web.Response:
        """Begin a lease anew."""
        campaign, body = await self._campaign(request), await read_body(request, bodies.Leased)
        seconds = await self.leases.extend(campaign, request[CALLER], _item_id(request), body.lease_token)
        return json_answer({"lease_seconds": seconds})

    async def flag(self, request: web.Request) -> web.Response:
        """Ask to talk about an item."""
        campaign, body = await self._campaign(request), await read_body(request, bodies.Flag)
        await self.answers.flag(campaign, request[CALLER], _item_id(request), body.comment)
        return json_answer({})

    async def progress(self, request: web.Request) -> web.Response:
        """Count."""
        return json_answer(view.progress_view(await self.reading.progress(await self._campaign(request), request[CALLER])))

    async def history(self, request: web.Request) -> web.Response:
        """List one's own answers; a lead may name another reviewer."""
        caller = request[CALLER]
        reviewer = request.query.get("reviewer", caller.name)
        if reviewer != caller.name and not caller.is_lead:
            raise NotAllowed
        before = read_number(request, "before", _END_OF_TIME, least=0, most=_END_OF_TIME)
        limit = int(read_number(request, "limit", 50, least=1, most=200))
        rows = await self.reading.history(await self._campaign(request), reviewer, before=before, limit=limit)
        return json_answer({"answers": [view.history_view(row) for row in rows]})

    async def flags(self, request: web.Request) -> web.Response:
        """List what people want to talk about."""
        if not request[CALLER].is_lead:
            raise NotAllowed
        limit = int(read_number(request, "limit", 100, least=1, most=1000))
        rows = await self.reading.flags(await self._campaign(request), limit=limit)
        return json_answer({"flags": [view.flag_view(row) for row in rows]})

    async def _campaign(self, request: web.Request) -> Campaign:
        name = request.match_info["name"]
        if not _NAME.fullmatch(name):
            raise NoSuchCampaign
        try:
            return await self.campaigns.newest(name)
        except UserError:
            raise NoSuchCampaign from None

    async def _version(self, entry: Entry) -> Campaign:
        return await self.campaigns.get(entry.uid, Item.FromString(entry.item).campaign.version)

    async def _paused(self, campaign: Campaign) -> str | None:
        pauses = await self.campaigns.pauses()
        return pauses.get((campaign.uid, topics.REVIEW_GATEWAY)) or pauses.get((campaign.uid, EVERY_STAGE))


def _item_id(request: web.Request) -> str:
    """Read the item id: the path segment, or ``?id=`` where the segment is ``-`` (browsers rewrite the segments ``.`` and ``..``)."""
    segment = request.match_info["id"]
    item_id = request.query.get("id", "") if segment == "-" else segment
    if not item_id or "\0" in item_id:
        raise NoSuchItem
    return item_id
