"""Reading a model's answer. It is hostile input: what comes out is inside the schema, or ``BadAnswer`` says what was wrong."""

import json
import math
import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import orjson

from actlabel.core.errors import ActlabelError

LONGEST_ANSWER = 200_000  # characters
LONGEST_TEXT = 8_000
MOST_QUOTES = 20
LONGEST_QUOTE = 1_000
_CANDIDATES = 32
_PERCENT = re.compile(r"(\d{1,3}(?:\.\d{1,12})?)\s*%", re.ASCII)
_NUMBER = re.compile(r"\d(?:\.\d{1,20})?", re.ASCII)
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")


class BadAnswer(ActlabelError):
    """The answer does not fit its schema. The message says what is wrong, in words that the model can be told."""


def answer_object(text: str, fields: Sequence[str]) -> dict[str, Any]:
    """Find the one JSON object of an answer, bare, fenced or amid prose. Raises ``BadAnswer``.

    Amid prose an object counts only when it has every one of ``fields``; two different ones that do are an ambiguity, not a choice.
    """
    if len(text) > LONGEST_ANSWER:
        raise BadAnswer(f"it is longer than {LONGEST_ANSWER} characters")
    whole = _strict(text.strip())
    candidates = [whole] if isinstance(whole, dict) else [found for found in _embedded(text) if all(name in found for name in fields)]
    if not candidates:
        raise BadAnswer("it holds no JSON object with the fields " + ", ".join(fields))
    if any(other != candidates[0] for other in candidates[1:]):
        raise BadAnswer("it holds more than one JSON object")
    return candidates[0]


def _strict(text: str) -> Any:
    """Parse JSON as its standard has it: no NaN, no infinities, no lone surrogates, bounded nesting."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return None


def _embedded(text: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    position = text.find("{")
    for _ in range(_CANDIDATES):
        if position < 0:
            break
        end = _end_of_object(text, position)
        parsed = _strict(text[position:end]) if end else None
        if isinstance(parsed, dict):
            found.append(parsed)
        position = text.find("{", end or position + 1)
    return found


def _end_of_object(text: str, start: int) -> int:
    """Return where the object that begins at ``start`` ends, 0 where none does."""
    try:
        return _DECODER.raw_decode(text, start)[1]
    except (ValueError, RecursionError):
        return 0


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)


_DECODER = json.JSONDecoder(parse_constant=_no_constant)


def label_field(answer: Mapping[str, Any], name: str, labels: Sequence[str]) -> str:
    """Return the label of the set that a field names, exactly or but for case and outer spaces. Raises ``BadAnswer``."""
    value = answer.get(name)
    if not isinstance(value, str):
        raise BadAnswer(f"{name} is {_shown(value)}, not one of the labels")
    if value in labels:
        return value
    alike = [label for label in labels if _folded(label) == _folded(value)]
    if len(alike) != 1:
        raise BadAnswer(f"{name} is {_shown(value)}, which is not one of the labels")
    return alike[0]


def _folded(text: str) -> str:
    return " ".join(unicodedata.normalize("NFC", text).casefold().split())


def probability_field(answer: Mapping[str, Any], name: str) -> float:
    """Return a number from 0 to 1; "0.95" and "95%" count as what they say. Raises ``BadAnswer``."""
    value = answer.get(name)
    number = _number(value.strip()) if isinstance(value, str) else value
    if isinstance(number, bool) or not isinstance(number, (int, float)):
        raise BadAnswer(f"{name} is {_shown(value)}, not a number from 0 to 1")
    if not (0 <= number <= 1 and math.isfinite(number)):
        raise BadAnswer(f"{name} is {_shown(value)}, outside 0 to 1")
    return abs(float(number))


def _number(text: str) -> float | None:
    if match := _PERCENT.fullmatch(text):
        return float(match[1]) / 100
    return float(text) if _NUMBER.fullmatch(text) else None


def text_field(answer: Mapping[str, Any], name: str) -> str:
    """Return free text, shortened and without control characters; nothing where the field is missing. Raises ``BadAnswer``."""
    value = answer.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise BadAnswer(f"{name} is {_shown(value)}, not a text")
    return clean(value, LONGEST_TEXT)


def texts_field(answer: Mapping[str, Any], name: str) -> tuple[str, ...]:
    """Return a few short texts; none where the field is missing. Raises ``BadAnswer``."""
    value = answer.get(name)
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise BadAnswer(f"{name} is {_shown(value)}, not a list of texts")
    return tuple(text for text in (clean(text, LONGEST_QUOTE) for text in value[:MOST_QUOTES]) if text)


def clean(text: str, longest: int) -> str:
    """Shorten, and drop what no page, database or protobuf should get: control characters and lone surrogates."""
    return _CONTROL.sub("", text[: longest * 2]).strip()[:longest]


def _shown(value: Any) -> str:
    return "missing" if value is None else clean(repr(value)[:60], 60)
