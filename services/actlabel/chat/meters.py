"""The metrics of one model at one stage, looked up once: finding a labelled counter costs more than counting."""

from actlabel.chat.port import ChatAnswer
from actlabel.runtime import metrics


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
