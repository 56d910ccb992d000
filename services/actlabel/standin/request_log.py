"""What was asked, how often, and how it ended: the witness of "paid once"."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from actlabel.completions.protocol import Question
from actlabel.core.errors import UserError


class RequestLog:
    """Counts requests by digest; with a file, writes one line at arrival and one at the end, each on disk before anything else happens."""

    def __init__(self, path: Path | None = None) -> None:
        """``path``: a JSON-lines file that is appended to. Raises ``UserError`` when it cannot be opened."""
        self.arrived: Counter[str] = Counter()  # request digest → arrivals
        self.paid: Counter[str] = Counter()  # request digest → answers with status 200
        self.outcomes: Counter[str] = Counter()  # status, or 'abandoned' → requests
        self.in_flight = 0
        self.most_in_flight = 0
        self._number = 0
        self._open: set[int] = set()
        self._faults: dict[int, str] = {}  # requests in flight that an injected fault ends
        self._turn: asyncio.Event | None = None
        self._file = _open(path) if path is not None else None

    def arrival(self, question: Question, caller: str = "") -> tuple[int, int]:
        """Note an arrival; returns its number among all requests and among those of its digest, both from 1. ``caller``: who asked."""
        self._number += 1
        self._open.add(self._number)
        self.arrived[question.request_digest] += 1
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        self._write("arrived", self._number, question, caller=caller)
        return self._number, self.arrived[question.request_digest]

    def fault(self, name: str, numbers: Iterable[int] | None = None) -> None:
        """Note that an injected fault, not the client, is what ends these requests (all that are in flight where none are named)."""
        self._faults.update(dict.fromkeys(self._open if numbers is None else numbers, name))

    def end(self, number: int, question: Question, outcome: str, *, written_tokens: int = 0) -> None:
        """Note the end of request ``number``: the HTTP status, ``disconnect``, or ``abandoned`` when the client left first."""
        self._open.discard(number)
        self.in_flight -= 1
        self.outcomes[outcome] += 1
        if outcome == "200":
            self.paid[question.request_digest] += 1
        self._write(outcome, number, question, written_tokens, fault=self._faults.pop(number, ""))

    async def until(self, holds: Callable[["RequestLog"], bool]) -> None:
        """Wait until ``holds`` is true of this log; it is asked again at every arrival and end."""
        while not holds(self):
            self._turn = self._turn or asyncio.Event()
            await self._turn.wait()

    def _write(self, event: str, number: int, question: Question, written_tokens: int = 0, **more: str) -> None:
        if self._turn is not None:
            self._turn.set()
            self._turn = None
        if self._file is None:
            return
        line = {
            "event": event,
            "number": number,
            "at_s": time.time(),
            "request": question.request_digest,
            "item": question.item_digest,
            "task": question.task,
            "model": question.model,
            "tokens": question.prompt_tokens + written_tokens,
            **more,
        }
        self._file.write(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))

    def snapshot(self) -> dict[str, Any]:
        """Return the counts as plain values, for JSON."""
        return {
            "arrived": dict(self.arrived),
            "paid": dict(self.paid),
            "outcomes": dict(self.outcomes),
            "requests": self._number,
            "in_flight": self.in_flight,
            "most_in_flight": self.most_in_flight,
        }

    def clear(self) -> None:
        """Forget the counts; requests in flight stay counted, and the file is kept."""
        self.arrived.clear()
        self.paid.clear()
        self.outcomes.clear()
        self.most_in_flight = self.in_flight

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()


def _open(path: Path) -> BinaryIO:
    try:
        return path.open("ab", buffering=0)
    except OSError as error:
        raise UserError(f"{path}: the request log cannot be written ({error.strerror})") from error
