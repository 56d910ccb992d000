"""The OpenAI chat-completions wire format: requests out, answers in. Pure."""

import base64
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import orjson

from actlabel.chat.port import ChatAnswer, ChatRequest, Message, Part, TextPart, TokenUsage
from actlabel.chat.retry import TryAgain
from actlabel.runtime.campaign_file import Price

_BYTES_PER_TOKEN = 4
_TOKENS_PER_IMAGE = 1000
_MOST_TOKENS = 10**9


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """Where endpoints differ. What one refuses by name is said in the other way from then on."""

    tokens_field: str = "max_tokens"  # or max_completion_tokens, for models that reason
    sends_temperature: bool = True  # such models have one temperature of their own


def encode(request: ChatRequest, dialect: Dialect = Dialect()) -> bytes:
    """Write the body of a request. What is the same for every item of a campaign version was encoded before."""
    model = request.model
    response_format = request.schema.response_format if model.json_schema else b""
    same = _same_for_all(model.model, model.max_output_tokens, model.temperature, response_format, dialect)
    return b'{"messages":[%b],%b' % (b",".join([_message(message, request) for message in request.messages]), same)


@lru_cache(maxsize=256)
def _same_for_all(model: str, max_output_tokens: int, temperature: float, response_format: bytes, dialect: Dialect) -> bytes:
    """Write all that follows the messages."""
    document: dict[str, Any] = {"model": model, dialect.tokens_field: max_output_tokens}
    if dialect.sends_temperature:
        document["temperature"] = temperature
    if response_format:
        document["response_format"] = orjson.Fragment(response_format)
    return orjson.dumps(document)[1:]


def _message(message: Message, request: ChatRequest) -> bytes:
    if not message.has_images:
        return message.canonical
    return orjson.dumps({"role": message.role, "content": [_part(part, request) for part in message.parts]})


def _part(part: Part, request: ChatRequest) -> dict[str, Any]:
    if isinstance(part, TextPart):
        return {"type": "text", "text": part.text}
    data = base64.b64encode(request.media[part.sha256]).decode("ascii")
    return {"type": "image_url", "image_url": {"url": f"data:{part.mime_type};base64,{data}"}}


def decode(body: bytes, request: ChatRequest) -> ChatAnswer:
    """Read the body of a successful answer. Raises ``TryAgain`` when it is not one."""
    try:
        document = orjson.loads(body)
        choice = document["choices"][0]
        message = choice["message"]
    except (orjson.JSONDecodeError, LookupError, TypeError) as error:
        raise TryAgain("the endpoint's answer is no chat completion", status="malformed") from error
    if not isinstance(message, dict):
        raise TryAgain("the endpoint's answer is no chat completion", status="malformed")
    text = _text(message)
    usage = _usage(document.get("usage"), request, text)
    return ChatAnswer(
        text=text,
        finish_reason=str(choice.get("finish_reason") or "unknown")[:40],
        usage=usage,
        cost_usd=cost_usd(usage, request.model.price),
    )


def _text(message: dict[str, Any]) -> str:
    """Join what the model said; a refusal stands in a field of its own."""
    content = message.get("content")
    if isinstance(content, list):
        content = "".join(part["text"] for part in content if isinstance(part, dict) and isinstance(part.get("text"), str))
    refusal = message.get("refusal")
    return content if isinstance(content, str) and content else refusal if isinstance(refusal, str) else ""


def _usage(reported: Any, request: ChatRequest, text: str) -> TokenUsage:
    if isinstance(reported, dict):
        sent, written = reported.get("prompt_tokens"), reported.get("completion_tokens")
        if type(sent) is int and type(written) is int and 0 <= sent <= _MOST_TOKENS and 0 <= written <= _MOST_TOKENS:  # bool is an int too
            return TokenUsage(input_tokens=sent, output_tokens=written)
    return TokenUsage(
        input_tokens=guessed_input_tokens(request),
        output_tokens=-(-len(text.encode()) // _BYTES_PER_TOKEN),
        estimated=True,
    )


def guessed_input_tokens(request: ChatRequest) -> int:
    """Guess from its length what a request takes."""
    return -(-request.text_bytes() // _BYTES_PER_TOKEN) + _TOKENS_PER_IMAGE * len(request.media)


def cost_usd(usage: TokenUsage, price: Price) -> float:
    """What an answer cost, by the price in the campaign file."""
    millionths = usage.input_tokens * price.input_usd_per_million_tokens + usage.output_tokens * price.output_usd_per_million_tokens
    return millionths / 1e6


def error_message(body: bytes) -> str:
    """Find what an endpoint says went wrong: ``error.message`` where there is one, else the beginning of its words; one line."""
    try:
        document = orjson.loads(body)
        error = document.get("error", document.get("detail", document.get("message")))
        text = error.get("message") if isinstance(error, dict) else error
    except (orjson.JSONDecodeError, AttributeError):
        text = body[:1000].decode("utf-8", "replace")
    return " ".join(str(text or "").split())[:300]


def error_field(body: bytes, name: str) -> str:
    """Return ``error.<name>`` where the endpoint gives one, else nothing."""
    try:
        value = orjson.loads(body)["error"][name]
    except (orjson.JSONDecodeError, LookupError, TypeError):
        return ""
    return value if isinstance(value, str) else ""


def other_dialect(spoken: Dialect, body: bytes) -> Dialect | None:
    """Return the dialect that an endpoint asks for when it refuses a parameter of ``spoken`` by name; None where it does not."""
    if not error_field(body, "code").startswith("unsupported_"):
        return None
    match error_field(body, "param"):
        case "max_tokens" if spoken.tokens_field == "max_tokens":
            return replace(spoken, tokens_field="max_completion_tokens")
        case "temperature" if spoken.sends_temperature:
            return replace(spoken, sends_temperature=False)
    return None
