"""The metrics of one model at one stage, looked up once and counted in plain numbers."""

from actlabel.chat.port import ChatAnswer
from actlabel.runtime import metrics
from actlabel.runtime.tallies import HistogramTally, Tally

_BREAKER_STATES = {"closed": 0, "half-open": 1, "open": 2}


class Meters:
    """Counts the requests to one model at one stage."""

    def __init__(self, stage: str, model: str) -> None:
        """Find the counters."""
        self._labels = (stage, model)
        self._ok = Tally(metrics.CHAT_REQUESTS.labels(stage, model, "ok"))
        self._seconds = HistogramTally(metrics.CHAT_SECONDS.labels(stage, model))
        self._input = Tally(metrics.CHAT_TOKENS.labels(stage, model, "input"))
        self._output = Tally(metrics.CHAT_TOKENS.labels(stage, model, "output"))
        self._cost = Tally(metrics.CHAT_COST.labels(stage, model))
        self._throttled: dict[str, Tally] = {}

    def answered(self, answer: ChatAnswer, seconds: float) -> None:
        """Count a request that was answered."""
        self._ok.count += 1
        self._seconds.observe(seconds)
        self._input.count += answer.usage.input_tokens
        self._output.count += answer.usage.output_tokens
        self._cost.count += answer.cost_usd

    def failed(self, status: str) -> None:
        """Count a request that was not."""
        metrics.CHAT_REQUESTS.labels(*self._labels, status).inc()

    def waited(self, cause: str, seconds: float) -> None:
        """Count the time that a request waited for its turn."""
        tally = self._throttled.get(cause)
        if tally is None:
            tally = self._throttled[cause] = Tally(metrics.CHAT_THROTTLED.labels(*self._labels, cause))
        tally.count += seconds


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
