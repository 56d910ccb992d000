"""gRPC of the criticizer: translate, and call the same handler as the stream loop."""

from collections.abc import AsyncIterator
from typing import Any

from actlabel.chat.as_finished import as_finished
from actlabel.chat.trial import chosen
from actlabel.contracts.v1.criticizer_pb2 import CriticizeRequest, CriticizeResponse
from actlabel.contracts.v1.criticizer_pb2_grpc import CriticizerServicer
from actlabel.criticizer.handle import CriticizeItem
from actlabel.runtime.campaigns import Campaigns
from actlabel.runtime.rpc import answer

SERVICE = "actlabel.contracts.v1.Criticizer"
_AT_ONCE = 16


class CriticizerService(CriticizerServicer):
    """Try a prompt on ten items before spending on a million."""

    def __init__(self, criticize: CriticizeItem, campaigns: Campaigns) -> None:
        """``criticize``: the handler of this process."""
        self._criticize = criticize
        self._campaigns = campaigns

    async def Criticize(self, request: CriticizeRequest, context: Any) -> CriticizeResponse:  # noqa: N802 - the contract's name
        """Answer one item; an error becomes a status (``runtime.rpc``)."""
        return await answer(context, self._one(request))

    async def CriticizeStream(self, request_iterator: AsyncIterator[CriticizeRequest], context: Any) -> AsyncIterator[CriticizeResponse]:  # noqa: N802
        """Answer items as they finish; the first error ends the stream and names its item."""

        async def one(request: CriticizeRequest) -> CriticizeResponse:
            return await answer(context, self._one(request), about=f"item {request.item.id!r}: ")

        async for response in as_finished(request_iterator, one, at_once=_AT_ONCE):
            yield response

    async def _one(self, request: CriticizeRequest) -> CriticizeResponse:
        campaign = await chosen(request.campaign, self._campaigns)
        return CriticizeResponse(item=await self._criticize(request.item, campaign))
