"""What a chat-completions request asks, read from its JSON. Requests are hostile input; nothing here trusts a shape."""

import base64
import binascii
import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import orjson

UNDER_REVIEW: Final = "Label under review: "
"""How the part begins that names the label which a critic judges."""

_MARK: Final = re.compile(r"<<item \w+>>")
_IMAGE_TOKENS: Final = 85  # what a hosted model charges for a small image


class Refused(Exception):
    """A request gets an error instead of an answer."""

    def __init__(self, status: int, code: str, message: str) -> None:
        """``status`` of HTTP, ``code`` for programs, ``message`` for a person: what is wrong and what to do."""
        super().__init__(message)
        self.status = status
        self.code = code


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One request, as an answerer needs it."""

    model: str
    task: Literal["annotate", "criticize"]
    texts: tuple[str, ...]  # text parts of the item, verbatim
    images: tuple[str, ...]  # data URLs
    label_under_review: str | None
    schema: Mapping[str, Any]  # of the answer; empty where the request asks for none
    request_digest: str  # of the whole request, keys sorted: the same request word for word has the same digest
    item_digest: str  # of texts and images
    prompt_tokens: int

    def image_bytes(self) -> bytes:
        """Decode the first image; raises ``Refused`` when there is none or it is no base64 data URL."""
        head, _, data = self.images[0].partition(";base64,") if self.images else ("", "", "")
        if not head.startswith("data:"):
            raise Refused(400, "invalid_image_url", "images are read from data URLs (data:image/png;base64,…) only")
        try:
            return base64.b64decode(data, validate=True)
        except binascii.Error as error:
            raise Refused(400, "invalid_image_url", "the data URL of the image is not valid base64") from error


def item_digest(parts: Iterable[str]) -> str:
    """Hash the parts of an item (texts, data URLs) in their order: 32 hexadecimal digits."""
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        encoded = part.encode("utf-8", "surrogatepass")
        digest.update(b"%d:" % len(encoded))
        digest.update(encoded)
    return digest.hexdigest()


def read_question(body: bytes) -> Question:
    """Read a request. Raises ``Refused`` (400) that names the field."""
    document = _document(body)
    messages = list(_messages(document))
    parts = list(_user_parts(messages))
    own = _item_parts(parts)
    schema = _schema(document)
    reviewed = next((text.removeprefix(UNDER_REVIEW) for _, text in parts if text.startswith(UNDER_REVIEW)), None)
    return Question(
        model=document["model"],
        task="criticize" if _criticizes(schema, reviewed) else "annotate",
        texts=tuple(text for kind, text in own if kind == "text"),
        images=tuple(url for kind, url in own if kind == "image_url"),
        label_under_review=reviewed,
        schema=schema,
        request_digest=hashlib.blake2b(orjson.dumps(document, option=orjson.OPT_SORT_KEYS), digest_size=16).hexdigest(),
        item_digest=item_digest(text for _, text in own),
        prompt_tokens=_prompt_tokens(messages, parts),
    )


def _item_parts(parts: Sequence[tuple[str, str]]) -> Sequence[tuple[str, str]]:
    """Keep what lies between the marks of the item; without marks, all but the label under review."""
    texts = [text for _, text in parts]
    start = next((place for place, text in enumerate(texts) if _MARK.fullmatch(text)), None)
    if start is not None and (end_mark := texts[start].replace("<<", "<<end of ", 1)) in texts[start:]:
        return parts[start + 1 : len(texts) - 1 - texts[::-1].index(end_mark)]
    return [part for part in parts if not part[1].startswith(UNDER_REVIEW)]


def _document(body: bytes) -> dict[str, Any]:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Refused(400, "invalid_json", f"the body is not JSON: {error}") from error
    if not isinstance(document, dict) or not isinstance(document.get("model"), str):
        raise Refused(400, "invalid_request", "model: a string is required")
    if document.get("stream"):
        raise Refused(400, "unsupported", "stream: answers come whole here; leave it out")
    return document


def _messages(document: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    messages = document.get("messages")
    if not isinstance(messages, list) or not messages:
        raise Refused(400, "invalid_request", "messages: a list with at least one message is required")
    for position, message in enumerate(messages):
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            raise Refused(400, "invalid_request", f"messages[{position}].role: a string is required")
        yield message


def _user_parts(messages: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    """Yield (kind, text or URL) of the first user message: later ones are about an answer that did not fit."""
    content = next((message.get("content") for message in messages if message["role"] == "user"), None)
    if isinstance(content, str):
        yield "text", content
        return
    if not isinstance(content, list):
        raise Refused(400, "invalid_request", "messages: a user message with content is required")
    for part in content:
        yield _part(part)


def _part(part: Any) -> tuple[str, str]:
    kind = part.get("type") if isinstance(part, dict) else None
    if kind == "text" and isinstance(part.get("text"), str):
        return kind, part["text"]
    if kind == "image_url" and isinstance(part.get("image_url"), dict) and isinstance(part["image_url"].get("url"), str):
        return kind, part["image_url"]["url"]
    raise Refused(400, "invalid_request", "messages: content parts are {type: text, text} or {type: image_url, image_url: {url}}")


def _schema(document: Mapping[str, Any]) -> Mapping[str, Any]:
    wanted = document.get("response_format")
    if not isinstance(wanted, dict) or wanted.get("type") != "json_schema":
        return {}
    schema = wanted["json_schema"].get("schema") if isinstance(wanted.get("json_schema"), dict) else None
    if not isinstance(schema, dict) or not isinstance(schema.get("properties"), dict):
        raise Refused(400, "invalid_schema", "response_format.json_schema.schema: an object schema with properties is required")
    return schema


def _criticizes(schema: Mapping[str, Any], reviewed: str | None) -> bool:
    return "error_probability" in schema["properties"] if schema else reviewed is not None


def _prompt_tokens(messages: Iterable[Mapping[str, Any]], parts: Iterable[tuple[str, str]]) -> int:
    """Count about what a hosted model would: four characters a token, and a flat price for an image."""
    instructions = sum(len(message["content"]) for message in messages if isinstance(message.get("content"), str))
    texts = sum(len(text) for kind, text in parts if kind == "text")
    images = sum(1 for kind, _ in parts if kind == "image_url")
    return (instructions + texts) // 4 + images * _IMAGE_TOKENS + 8
