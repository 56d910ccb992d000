"""Recorded answers of a real model, by the text of the item."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from actlabel.completions.opinion import Opinion
from actlabel.completions.protocol import Question, Refused
from actlabel.core.errors import UserError


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerFields:
    """How the columns of an answers file are called."""

    text: str = "text"  # of the item, verbatim
    label: str = "llm"  # that the recorded model gave
    error_probability: str = "error_prob"  # that this label is wrong, as the recorded critic said


@dataclass(frozen=True, slots=True)
class _Recorded:
    label: str
    error_probability: float


class RecordedAnswers:
    """Answers with what a model answered before; the human label of the file, where there is one, is never read."""

    def __init__(self, answers: Mapping[str, _Recorded]) -> None:
        """``answers``: item text → what was recorded. Use ``load``."""
        self._answers = answers

    @classmethod
    def load(cls, path: Path, fields: AnswerFields | None = None) -> "RecordedAnswers":
        """Read a JSON-lines file; of two lines with the same text the first counts.

        Raises ``UserError`` with file, line and field when a line cannot be used, and when there is none.
        """
        answers: dict[str, _Recorded] = {}
        for text, recorded in _read(path, fields or AnswerFields()):
            answers.setdefault(text, recorded)
        if not answers:
            raise UserError(f"{path}: holds no recorded answers; a line is an object with text, label and error probability")
        return cls(answers)

    def __len__(self) -> int:
        """Count the distinct texts."""
        return len(self._answers)

    def answer(self, question: Question) -> Opinion:
        """See ``Answerer``: the first text part that is on record decides."""
        recorded = next((self._answers[text] for text in question.texts if text in self._answers), None)
        if recorded is None:
            raise Refused(422, "item_not_recorded", "no recorded answer for this text; the answers file must hold it verbatim")
        wrong = recorded.error_probability
        if question.label_under_review not in {None, recorded.label}:
            wrong = 1.0 - wrong  # another label is right only where the recorded one is wrong
        return Opinion(label=recorded.label, error_probability=wrong, reason=f"Recorded answer: {recorded.label}.")


def _read(path: Path, fields: AnswerFields) -> Iterator[tuple[str, _Recorded]]:
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    for number, line in enumerate(lines, start=1):
        if line.strip():
            yield _entry(line, fields, where=f"{path}:{number}")


def _entry(line: bytes, fields: AnswerFields, *, where: str) -> tuple[str, _Recorded]:
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise UserError(f"{where}: is not JSON ({error})") from error
    if not isinstance(row, dict):
        raise UserError(f"{where}: is not a JSON object")
    text, label, wrong = (_field(row, name, where) for name in (fields.text, fields.label, fields.error_probability))
    if not isinstance(text, str) or not isinstance(label, str):
        raise UserError(f"{where}: {fields.text} and {fields.label} are strings")
    if not isinstance(wrong, (int, float)) or isinstance(wrong, bool) or not 0 <= wrong <= 1:
        raise UserError(f"{where}: {fields.error_probability}: a number between 0 and 1 is required, not {wrong!r}")
    return text, _Recorded(label, float(wrong))


def _field(row: Mapping[str, Any], name: str, where: str) -> Any:
    if name not in row:
        raise UserError(f"{where}: has no field {name!r}; name the right one with --text-field, --label-field or --error-field")
    return row[name]
