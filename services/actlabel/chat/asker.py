"""Asking a model about an item: look up, pay, ask, read, repair once, store. The one path of annotator and criticizer."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Generic, NoReturn, TypeVar

from google.protobuf.timestamp_pb2 import Timestamp

from actlabel.chat.images import check_image
from actlabel.chat.parsing import BadAnswer, clean
from actlabel.chat.port import ChatAnswer, ChatClient, ChatRequest, EndpointRefused, Message, TextPart
from actlabel.chat.prompt import media_digest
from actlabel.chat.results import Paid, Results, canonical_request, result_id
from actlabel.chat.spend import Purse, SpendCapReached, present_cap
from actlabel.chat.strategy import Question, Strategy
from actlabel.chat.trial import is_trial
from actlabel.contracts.v1.item_pb2 import Item, Media, Usage
from actlabel.core.errors import ActlabelError, CampaignPaused, DeadLetter, UserError
from actlabel.core.values import value
from actlabel.runtime import metrics
from actlabel.runtime.campaign_file import Model
from actlabel.runtime.campaigns import Campaign, Campaigns
from actlabel.runtime.clock import Clock
from actlabel.runtime.log import get_log
from actlabel.runtime.media import INLINE_LIMIT_BYTES, MediaStore

T = TypeVar("T")
_LONGEST_QUOTED_ANSWER = 4000
_log = get_log(__name__)


@value
class Receipt:
    """What an answer's record says about where it came from."""

    result_id: str
    model: str
    strategy: str
    usage: Usage
    created_at: Timestamp


@value
class Errand(Generic[T]):
    """One item, and how to ask about it."""

    item: Item
    campaign: Campaign
    model: Model
    strategy: Strategy[T]
    write: Callable[[T, Receipt], bytes]  # serializes the Annotation or Critique


@dataclass(slots=True)
class _Tally:
    """Counts the calls of one errand, the repair included."""

    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float = 0.0
    calls: int = 0

    def add(self, answer: ChatAnswer) -> None:
        self.input_tokens += answer.usage.input_tokens
        self.output_tokens += answer.usage.output_tokens
        self.cost_usd += answer.cost_usd
        self.calls += 1

    def usage(self) -> Usage:
        return Usage(input_tokens=self.input_tokens, output_tokens=self.output_tokens, cost_usd=self.cost_usd, calls=self.calls)


class Asker:
    """One per stage; the stream loop and the gRPC service share it."""

    def __init__(
        self, *, stage: str, client: ChatClient, results: Results, purse: Purse, media: MediaStore, campaigns: Campaigns, clock: Clock
    ) -> None:
        """``stage`` is part of every result id, of metrics and of pauses."""
        self.stage = stage
        self._client = client
        self._results = results
        self._purse = purse
        self._media = media
        self._campaigns = campaigns
        self._clock = clock

    async def ask(self, errand: Errand[T]) -> bytes:
        """Return the serialized answer, the same bytes whenever the same question comes again.

        Raises ``DeadLetter`` (bad-answer, bad-media, empty-item, request-refused …), ``RetryLater``, and ``CampaignPaused`` after
        pausing the campaign at this stage: the endpoint refused, or the spend cap is reached.
        """
        question = errand.strategy.render(errand.item)
        request = canonical_request(question, model=errand.model, strategy=errand.strategy.name)
        name = result_id(errand.campaign.uid, self.stage, request)
        try:
            return await self._results.get_or_call(name, errand.campaign.uid, self.stage, lambda: self._pay(errand, question, name))
        except (EndpointRefused, SpendCapReached, UserError) as error:
            await self._pause(errand.campaign, error)

    async def hand_over(self) -> None:
        """Let the calls that go on here be waited for elsewhere. Raises ``RetryLater``."""
        await self._results.hand_over()

    def places(self, campaign: Campaign, model: Model) -> int:
        """Return how many items of a campaign are worth handling at once: no more than its endpoints bear."""
        return self._client.places(campaign.uid, self.stage, model)

    def readiness(self) -> str | None:
        """Say which models are out of reach, if any."""
        return self._client.readiness()

    async def _pause(self, campaign: Campaign, error: ActlabelError) -> NoReturn:
        """Stop the campaign here rather than turn its items into dead letters; a trial just fails."""
        if is_trial(campaign):
            raise UserError(str(error)) from error
        if (campaign.uid, self.stage) not in await self._campaigns.pauses():
            await self._campaigns.pause(campaign.uid, self.stage, str(error))
            if isinstance(error, SpendCapReached) and await present_cap(campaign, self._campaigns) > error.cap_usd:
                await self._campaigns.lift(campaign.uid, self.stage, str(error))  # raised since the call was refused
            metrics.PAUSES.labels(self.stage, campaign.uid).inc()
            _log.warning("a campaign is paused", stage=self.stage, campaign=campaign.name, reason=str(error))
        raise CampaignPaused(str(error)) from error

    async def _pay(self, errand: Errand[T], question: Question, name: str) -> Paid:
        tally = _Tally()
        reading = await self._reading(errand, question, tally)
        seconds, millionths = divmod(int(self._clock.now() * 1e6), 1_000_000)
        receipt = Receipt(
            result_id=name,
            model=errand.model.model,
            strategy=errand.strategy.name,
            usage=tally.usage(),
            created_at=Timestamp(seconds=seconds, nanos=millionths * 1000),
        )
        return Paid(payload=errand.write(reading, receipt), cost_usd=tally.cost_usd)

    async def _reading(self, errand: Errand[T], question: Question, tally: _Tally) -> T:
        """Ask; where the answer does not fit, say why and ask once more."""
        has_images = any(message.has_images for message in question.messages)
        media = await self._media_of(errand.item) if has_images else {}
        answer = await self._complete(errand, question, question.messages, media, tally)
        try:
            return _read(errand, answer)
        except BadAnswer as complaint:
            metrics.CHAT_REPAIRS.labels(self.stage, errand.model.model).inc()
            messages = (*question.messages, *_complained(answer, complaint, question))
        answer = await self._complete(errand, question, messages, media, tally)
        try:
            return _read(errand, answer)
        except BadAnswer as complaint:
            raise DeadLetter("bad-answer", f"the answer of {errand.model.model} did not fit, twice: {complaint}") from complaint

    async def _complete(
        self, errand: Errand[T], question: Question, messages: tuple[Message, ...], media: Mapping[str, bytes], tally: _Tally
    ) -> ChatAnswer:
        request = ChatRequest(
            uid=errand.campaign.uid, stage=self.stage, model=errand.model, messages=messages, schema=question.schema, media=media
        )
        async with self._purse.hold(request, lambda: present_cap(errand.campaign, self._campaigns)) as hold:
            answer = await self._client.complete(request)
            hold.cost_usd = answer.cost_usd
        tally.add(answer)
        return answer

    async def _media_of(self, item: Item) -> Mapping[str, bytes]:
        media = [part.media for part in item.content.parts if part.HasField("media")]
        return {media_digest(one): await self._checked(one) for one in media}

    async def _checked(self, media: Media) -> bytes:
        data = await self._media.get(media)
        if len(data) <= INLINE_LIMIT_BYTES:
            check_image(data, media.mime_type)
        else:
            await asyncio.to_thread(check_image, data, media.mime_type)
        return data


def _read(errand: Errand[T], answer: ChatAnswer) -> T:
    try:
        return errand.strategy.read(answer, errand.item)
    except BadAnswer as complaint:
        if answer.finish_reason == "length":
            raise BadAnswer(f"it was cut off at {errand.model.max_output_tokens} tokens (max_output_tokens)") from complaint
        raise


def _complained(answer: ChatAnswer, complaint: BadAnswer, question: Question) -> tuple[Message, Message]:
    """Go on with the conversation: what the model said, and what is wrong with it."""
    said = clean(answer.text, _LONGEST_QUOTED_ANSWER) or "(no answer)"
    words = f"That answer cannot be used: {complaint}. Answer again with one JSON object that fits this schema and nothing else:\n"
    return (
        Message(role="assistant", parts=(TextPart(text=said),)),
        Message(role="user", parts=(TextPart(text=words + question.schema.canonical.decode()),)),
    )
