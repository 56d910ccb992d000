"""The metrics of one model at one stage, looked up once: finding a labelled counter costs more than counting."""

from prometheus_client import Counter

from actlabel.chat.port import ChatAnswer
from actlabel.runtime import metrics

_BREAKER_STATES = {"closed": 0, "half-open": 1, "open": 2}


class Meters:
    """Counts the requests to one model at one stage."""

    def __init__(self, stage: str, model: str) -> None:
        """Find the counters."""
        self._labels = (stage, model)
        self._ok = metrics.CHAT_REQUESTS.labels(stage, model, "ok")
        self._seconds = metrics.CHAT_SECONDS.labels(stage, model)
        self._input = metrics.CHAT_TOKENS.labels(stage, model, "input")
        self._output = metrics.CHAT_TOKENS.labels(stage, model, "output")
        self._cost = metrics.CHAT_COST.labels(stage, model)
        self._throttled: dict[str, Counter] = {}

    def answered(self, answer: ChatAnswer, seconds: float) -> None:
        """Count a request that was answered."""
        self._ok.inc()
        self._seconds.observe(seconds)
        self._input.inc(answer.usage.input_tokens)
        self._output.inc(answer.usage.output_tokens)
        self._cost.inc(answer.cost_usd)

    def failed(self, status: str) -> None:
        """Count a request that was not."""
        metrics.CHAT_REQUESTS.labels(*self._labels, status).inc()

    def waited(self, cause: str, seconds: float) -> None:
        """Count the time that a request waited for its turn."""
        counter = self._throttled.get(cause)
        if counter is None:
            counter = self._throttled[cause] = metrics.CHAT_THROTTLED.labels(*self._labels, cause)
        counter.inc(seconds)


class EndpointMeters:
    """Shows the bound and the breaker of one endpoint, when they change."""

    def __init__(self, stage: str, model: str, endpoint: str) -> None:
        """Find the gauges."""
        self._bound = metrics.CHAT_BOUND.labels(stage, model, endpoint)
        self._breaker = metrics.CHAT_BREAKER.labels(stage, model, endpoint)
        self._shown: tuple[int, str] = (0, "")

    def show(self, bound: int, breaker: str) -> None:
        """Set what differs from the last time."""
        if self._shown == (bound, breaker):
            return
        self._shown = bound, breaker
        self._bound.set(bound)
        self._breaker.set(_BREAKER_STATES[breaker])
