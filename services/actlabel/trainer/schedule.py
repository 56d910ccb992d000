"""When a round of training is due. Pure."""

import re
from dataclasses import dataclass
from typing import Final

from actlabel.core.errors import UserError

_ANSWERS: Final = re.compile(r"(\d{1,9}) (?:reviews?|answers?)")
_TIME: Final = re.compile(r"(\d{1,6}(?:\.\d{1,3})?) ?(min|h|d)")
_SECONDS: Final = {"min": 60.0, "h": 3600.0, "d": 86400.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class When:
    """What makes a round due; either alone does."""

    answers: int | None  # so many new ones of reviewers
    seconds: float | None  # since the last round


@dataclass(frozen=True, slots=True, kw_only=True)
class Since:
    """What has come since the last round."""

    answers: int  # of reviewers, published on the merged topic
    seconds: float
    last: str | None  # what that round registered; None: no round yet, and the campaign's beginning counts


def parse_when(text: str) -> When:
    """Read ``500 reviews``, ``24h`` or ``500 reviews or 24h``. Raises ``UserError``."""
    answers: int | None = None
    seconds: float | None = None
    for part in text.strip().split(" or "):
        if (match := _ANSWERS.fullmatch(part.strip())) and answers is None and int(match[1]):
            answers = int(match[1])
        elif (match := _TIME.fullmatch(part.strip())) and seconds is None and float(match[1]):
            seconds = float(match[1]) * _SECONDS[match[2]]
        else:
            raise UserError(f"--when: {text!r} is not like '500 reviews or 24h' (min, h and d are known)")
    return When(answers=answers, seconds=seconds)


def is_due(when: When, since: Since) -> bool:
    """Say whether to train now. Time alone is no reason: without one new answer the data is what the last round had."""
    if since.answers <= 0:
        return False
    enough = when.answers is not None and since.answers >= when.answers
    late = when.seconds is not None and since.seconds >= when.seconds
    return enough or late


def described(when: When, since: Since) -> str:
    """Say in a few words how far it is."""
    answers = f"{since.answers} new answers" + (f" of {when.answers}" if when.answers is not None else "")
    hours = f"{since.seconds / 3600:.1f} h" + (f" of {when.seconds / 3600:.1f}" if when.seconds is not None else "")
    return f"{answers}, {hours} since {since.last or 'the campaign began'}"
