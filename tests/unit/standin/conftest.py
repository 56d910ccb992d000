"""Requests as the chat client sends them."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import pytest

from actlabel.standin.recorded import RecordedAnswers

LABELS = ["agrees", "neutral", "disagrees"]
ANNOTATE = {"label": {"type": "string", "enum": LABELS}}
CRITICIZE = {
    "error_probability": {"type": "number"},
    "suggested_label": {"type": "string", "enum": [*LABELS, ""]},
    "reason": {"type": "string"},
    "evidence": {"type": "array", "items": {"type": "string"}},
}


def _request(text: str = "Ice melts.", *, critic_of: str | None = None, properties: dict[str, Any] | None = None) -> dict[str, Any]:
    properties = properties or (ANNOTATE if critic_of is None else CRITICIZE)
    parts = [{"type": "text", "text": text}]
    if critic_of is not None:
        parts.append({"type": "text", "text": f"Label under review: {critic_of}"})
    schema = {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}
    return {
        "model": "recorded",
        "messages": [{"role": "system", "content": "Judge the statement."}, {"role": "user", "content": parts}],
        "response_format": {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema, "strict": True}},
    }


@pytest.fixture
def make_request() -> Callable[..., dict[str, Any]]:
    """Build the JSON of a chat-completions request."""
    return _request


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    """A client that gives up after 10 s."""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as session:
        yield session


@pytest.fixture
def answers(tmp_path: Any) -> RecordedAnswers:
    """Three statements; the second line of the first text must not count."""
    file = tmp_path / "answers.jsonl"
    file.write_text(
        '{"text": "Ice melts.", "llm": "agrees", "error_prob": 0.25, "human": "neutral"}\n'
        '{"text": "Ice melts.", "llm": "disagrees", "error_prob": 0.75}\n'
        "\n"
        '{"text": "It is cold.", "llm": "neutral", "error_prob": 0}\n'
    )
    return RecordedAnswers.load(file)
