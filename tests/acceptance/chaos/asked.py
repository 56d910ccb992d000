"""What the model endpoint was asked, from its own log: read while it is being written."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import orjson

_FAULTED = ("429", "500")


def caller_of(key: str) -> str:
    """Name a caller as the stand-in does, by its key."""
    return hashlib.blake2b(f"Bearer {key}".encode(), digest_size=8).hexdigest()


@dataclass(slots=True)
class Request:
    """One request."""

    number: int
    digest: str  # of the request, word for word
    task: str  # annotate, criticize
    caller: str  # digest of the key that it came with
    arrived_s: float  # seconds since 1970
    ended_s: float | None = None
    outcome: str = ""  # HTTP status, or `abandoned`; empty while it is in flight
    fault: str = ""  # that ended it, where it was an injected one

    @property
    def faulted(self) -> bool:
        """Say whether the stand-in failed on purpose: asking again is no waste of ours."""
        return self.fault != "" or self.outcome in _FAULTED

    @property
    def good(self) -> bool:
        """Say whether it was answered as it should be."""
        return self.outcome == "200" and not self.fault

    def in_flight_during(self, start_s: float, end_s: float) -> bool:
        """Say whether it was in flight at some moment between the two."""
        return self.arrived_s <= end_s and (self.ended_s is None or self.ended_s >= start_s)


class Asked:
    """Follows the log file; every look takes in what was appended."""

    def __init__(self, log: Path) -> None:
        """``log``: what the stand-in writes."""
        self._log = log
        self._read = 0
        self._by_number: dict[int, Request] = {}
        self._open: dict[int, Request] = {}
        self._answered: set[str] = set()
        self.answered: Counter[str] = Counter()  # task → requests that were answered well, each counted once

    def look(self) -> None:
        """Take in what was appended."""
        with self._log.open("rb") as file:
            file.seek(self._read)
            text = file.read()
        complete = text[: text.rfind(b"\n") + 1]
        self._read += len(complete)
        for line in complete.splitlines():
            self._take(orjson.loads(line))

    def _take(self, line: dict[str, object]) -> None:
        number = int(str(line["number"]))
        if line["event"] == "arrived":
            request = Request(number, str(line["request"]), str(line["task"]), str(line["caller"]), float(str(line["at_s"])))
            self._by_number[number] = self._open[number] = request
            return
        request = self._open.pop(number)
        request.ended_s, request.outcome, request.fault = float(str(line["at_s"])), str(line["event"]), str(line["fault"])
        if request.good and request.digest not in self._answered:
            self._answered.add(request.digest)
            self.answered[request.task] += 1

    def in_flight(self, caller: str | None = None) -> int:
        """Count the requests in flight, of one caller or of all."""
        return sum(caller in {None, request.caller} for request in self._open.values())

    @property
    def requests(self) -> Sequence[Request]:
        """Return all, in the order of their arrival."""
        return list(self._by_number.values())
