"""A real HTTP endpoint with scripted behaviour, and requests to send to it."""

import random
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from actlabel.chat.openai_compatible import OpenAiCompatibleClient
from actlabel.chat.port import AnswerSchema, ChatRequest, Message, TextPart
from actlabel.runtime.campaign_file import Model
from actlabel.runtime.clock import FakeClock
from tests.unit.chat.scripted_endpoint import Endpoint, serving


@pytest.fixture
async def endpoint() -> AsyncIterator[Endpoint]:
    async with serving() as served:
        yield served


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def client(clock: FakeClock) -> AsyncIterator[OpenAiCompatibleClient]:
    async with OpenAiCompatibleClient(clock=clock, calls_in_flight=64, chance=random.Random(1)) as opened:
        yield opened


@pytest.fixture
def ask(endpoint: Endpoint) -> Callable[..., ChatRequest]:
    """Make a request to the endpoint; keywords change the model's fields."""

    def make(**fields: Any) -> ChatRequest:
        model = Model(**{"endpoint": endpoint.url, "model": "m", "strategy": "naive", "timeout_s": 5.0, "retries": 3, **fields})
        return ChatRequest(
            uid="c1",
            stage="annotator",
            model=model,
            messages=(
                Message(role="system", parts=(TextPart(text="Which animal?"),)),
                Message(role="user", parts=(TextPart(text="miaow"),)),
            ),
            schema=AnswerSchema(name="annotation", properties={"label": {"type": "string", "enum": ["cat", "dog"]}}),
        )

    return make
