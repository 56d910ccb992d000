"""The model client: one question to one model, one answer, counted in tokens and money."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, Protocol

import orjson

from actlabel.core.errors import ActlabelError
from actlabel.core.values import value
from actlabel.runtime.campaign_file import Model


class EndpointRefused(ActlabelError):
    """The endpoint does not serve this campaign until a person mends something: key, address, model name, balance.

    Asking again changes nothing, so the campaign is paused instead of turned into dead letters one by one.
    """


@value
class TextPart:
    """Words, exactly as the model gets them."""

    text: str


@value
class ImagePart:
    """An image by its digest; its bytes travel beside the messages (``ChatRequest.media``), since many questions are never asked."""

    mime_type: str
    sha256: str  # hexadecimal


Part = TextPart | ImagePart


@value
class Message:
    """One turn. It is encoded once, for the result id and, where there is no image, for the wire."""

    role: Literal["system", "user", "assistant"]
    parts: tuple[Part, ...]
    canonical: bytes = field(init=False, repr=False, compare=False)  # JSON in a fixed order of keys, an image as its digest
    has_images: bool = field(init=False, repr=False, compare=False)  # then the wire form is not the canonical one

    def __post_init__(self) -> None:
        """Encode."""
        object.__setattr__(self, "canonical", orjson.dumps({"role": self.role, "content": self._content()}))
        object.__setattr__(self, "has_images", any(isinstance(part, ImagePart) for part in self.parts))

    def _content(self) -> Any:
        if self.role != "user":
            return "".join(part.text for part in self.parts if isinstance(part, TextPart))
        return [_canonical_part(part) for part in self.parts]


def _canonical_part(part: Part) -> dict[str, str]:
    if isinstance(part, TextPart):
        return {"type": "text", "text": part.text}
    return {"type": "image", "mime_type": part.mime_type, "sha256": part.sha256}


@dataclass(frozen=True, kw_only=True)
class AnswerSchema:
    """The JSON schema of an answer: an object whose properties come in the order in which the model shall write them."""

    name: str
    properties: Mapping[str, Mapping[str, Any]]

    @cached_property
    def canonical(self) -> bytes:
        """The schema as JSON. Strict endpoints want every property required and no other allowed."""
        return orjson.dumps(
            {
                "type": "object",
                "properties": dict(self.properties),
                "required": list(self.properties),
                "additionalProperties": False,
            }
        )

    @cached_property
    def response_format(self) -> bytes:
        """The ``response_format`` of a chat-completions request, as JSON."""
        schema = orjson.Fragment(self.canonical)
        return orjson.dumps({"type": "json_schema", "json_schema": {"name": self.name, "strict": True, "schema": schema}})


@value
class ChatRequest:
    """One question, with all that it takes to ask it."""

    uid: str  # of the campaign that pays
    stage: str
    model: Model
    messages: tuple[Message, ...]
    schema: AnswerSchema
    media: Mapping[str, bytes] = field(default_factory=dict)  # hexadecimal sha256 → bytes, for every ImagePart

    def text_bytes(self) -> int:
        """Count the bytes of all words: no tokenizer that works on bytes makes more tokens of them."""
        return sum(len(message.canonical) for message in self.messages) + len(self.schema.response_format)


@value
class TokenUsage:
    """What one answer took."""

    input_tokens: int
    output_tokens: int
    estimated: bool = False  # the endpoint did not say, so the numbers are guessed from lengths


@value
class ChatAnswer:
    """What a model answered. ``text`` is hostile input."""

    text: str
    finish_reason: str  # stop, length, content_filter, … as the endpoint said
    usage: TokenUsage
    cost_usd: float


class ChatClient(Protocol):
    """Asks models. The one layer that retries: whoever calls it must not retry around it, except much later."""

    async def complete(self, request: ChatRequest) -> ChatAnswer:
        """Ask once and return the answer, whatever its text holds. Waits for its turn, and through the endpoint's pauses.

        Raises ``EndpointUnavailable`` when retries did not help, ``EndpointRefused`` when a person must mend something,
        ``DeadLetter('request-refused', …)`` when the endpoint takes no question like this one, ``UserError`` when the key is missing, and
        another ``RetryLater`` when our own limits left no room for it for long.
        """

    def places(self, uid: str, stage: str, model: Model) -> int:
        """Return how many questions of a campaign to a model are worth having at once: at least 1, at most ``calls_in_flight``."""

    def readiness(self) -> str | None:
        """Say which models are out of reach; None when every one that is needed can be asked."""
