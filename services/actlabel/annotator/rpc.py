"""gRPC of the annotator: translate, and call the same handler as the stream loop."""

from collections.abc import AsyncIterator
from typing import Any

from actlabel.annotator.handle import AnnotateItem
from actlabel.chat.as_finished import as_finished
from actlabel.chat.trial import chosen
from actlabel.contracts.v1.annotator_pb2 import AnnotateRequest, AnnotateResponse
from actlabel.contracts.v1.annotator_pb2_grpc import AnnotatorServicer
from actlabel.runtime.campaigns import Campaigns
from actlabel.runtime.rpc import answer

SERVICE = "actlabel.contracts.v1.Annotator"
_AT_ONCE = 16


class AnnotatorService(AnnotatorServicer):
    """Try a prompt on ten items before spending on a million."""

    def __init__(self, annotate: AnnotateItem, campaigns: Campaigns) -> None:
        """``annotate``: the handler of this process."""
        self._annotate = annotate
        self._campaigns = campaigns

    async def Annotate(self, request: AnnotateRequest, context: Any) -> AnnotateResponse:  # noqa: N802 - the contract's name
        """Answer one item; an error becomes a status (``runtime.rpc``)."""
        return await answer(context, self._one(request))

    async def AnnotateStream(self, request_iterator: AsyncIterator[AnnotateRequest], context: Any) -> AsyncIterator[AnnotateResponse]:  # noqa: N802
        """Answer items as they finish; the first error ends the stream and names its item."""

        async def one(request: AnnotateRequest) -> AnnotateResponse:
            return await answer(context, self._one(request), about=f"item {request.item.id!r}: ")

        async for response in as_finished(request_iterator, one, at_once=_AT_ONCE):
            yield response

    async def _one(self, request: AnnotateRequest) -> AnnotateResponse:
        campaign = await chosen(request.campaign, self._campaigns)
        return AnnotateResponse(item=await self._annotate(request.item, campaign))
