"""A chat client that answers from a script, for tests of what is built on the port."""

from collections.abc import Callable, Iterable

from actlabel.chat.port import ChatAnswer, ChatRequest, TokenUsage
from actlabel.chat.wire import cost_usd
from actlabel.runtime.campaign_file import Model


class FakeChat:
    """See ``port.ChatClient``. Gives the next answer of its script, or what a function makes of the request; keeps the requests."""

    def __init__(self, script: Iterable[str | Exception] | Callable[[ChatRequest], str | Exception]) -> None:
        """``script``: texts to answer with and exceptions to raise, in order; asking beyond the end is an error of the test."""
        self.requests: list[ChatRequest] = []
        self._answer = script if callable(script) else _next_of(script)

    async def complete(self, request: ChatRequest) -> ChatAnswer:
        """See ``port.ChatClient``. Counts 100 tokens in and 10 out."""
        self.requests.append(request)
        text = self._answer(request)
        if isinstance(text, Exception):
            raise text
        usage = TokenUsage(input_tokens=100, output_tokens=10)
        return ChatAnswer(text=text, finish_reason="stop", usage=usage, cost_usd=cost_usd(usage, request.model.price))

    def places(self, uid: str, stage: str, model: Model) -> int:  # noqa: ARG002 - the port's
        """See ``port.ChatClient``."""
        return model.calls_in_flight

    def readiness(self) -> str | None:
        """See ``port.ChatClient``."""
        return None


def _next_of(script: Iterable[str | Exception]) -> Callable[[ChatRequest], str | Exception]:
    answers = iter(script)

    def answer(_: ChatRequest) -> str | Exception:
        try:
            return next(answers)
        except StopIteration:
            raise AssertionError("the script has no more answers") from None

    return answer
