"""When to ask an endpoint again: full jitter, and never sooner than it asked for."""

import random
import re
from datetime import UTC
from email.utils import parsedate_to_datetime

from actlabel.chat.http_connection import Reply
from actlabel.core.errors import ActlabelError

RETRIED_STATUSES = frozenset({408, 409, 425, 429, *range(500, 600)})
FIRST_WAIT_S = 0.5
LONGEST_WAIT_S = 60.0
LONGEST_RETRY_AFTER_S = 300.0
_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)")


class TryAgain(ActlabelError):
    """This attempt failed in a way that the next one may not."""

    def __init__(self, message: str, *, status: str, retry_after_s: float | None = None) -> None:
        """``status``: for the metric. ``retry_after_s``: the endpoint asked for so long a pause."""
        super().__init__(message)
        self.status = status
        self.retry_after_s = retry_after_s


def backoff_s(attempt: int, *, chance: random.Random) -> float:
    """Draw the wait after failed attempt number ``attempt`` (from 0): uniform up to a doubling bound (full jitter, AWS 2015)."""
    return chance.uniform(0.0, min(LONGEST_WAIT_S, FIRST_WAIT_S * 2.0 ** min(attempt, 30)))


def retry_after_s(header: str | None, *, now: float) -> float | None:
    """Read a Retry-After header (RFC 9110 §10.2.3: seconds or a date; ``now`` in seconds since 1970), capped; None for nonsense."""
    if header is None:
        return None
    seconds = _seconds(header.strip(), now)
    return None if seconds is None else min(max(seconds, 0.0), LONGEST_RETRY_AFTER_S)


def nothing_left_s(reply: Reply) -> float:
    """Read the headers with which endpoints tell what is left of a limit per minute: 0 where something is.

    Otherwise how long until there is one more, where ``x-ratelimit-reset-requests`` (like 6m0s, 1.5s or 20ms) says when all are back.
    """
    if reply.header("x-ratelimit-remaining-requests") != "0":
        return 0.0
    limit, reset = reply.header("x-ratelimit-limit-requests") or "", reply.header("x-ratelimit-reset-requests") or ""
    if not (limit.isascii() and limit.isdigit() and len(limit) < 10 and int(limit)):
        return 0.0
    seconds = sum(float(number) * _UNITS_S[unit] for number, unit in _DURATION.findall(reset[:40]))
    return min(seconds / int(limit), LONGEST_RETRY_AFTER_S)


def _seconds(text: str, now: float) -> float | None:
    # some endpoints send fractions of a second, which the RFC does not know
    if text.isascii() and text.replace(".", "", 1).isdigit() and len(text) < 20:
        return float(text)
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError):
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() - now
