"""An opinion as a chat completion whose content fits the JSON schema of the request."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson

from actlabel.completions.opinion import Opinion
from actlabel.completions.protocol import Question, Refused

_EMPTY: Final[Mapping[str, Any]] = {"string": "", "number": 0, "integer": 0, "boolean": False, "array": [], "object": {}, "null": None}
_BARE: Final[Mapping[str, tuple[str, ...]]] = {
    "annotate": ("reasoning", "label"),
    "criticize": ("reasoning", "error_probability", "suggested_label", "reason", "evidence"),
}


def content(question: Question, opinion: Opinion) -> str:
    """Write the answer with the properties of the schema, in its order; without a schema, with those that the task usually has.

    Raises ``Refused`` when the schema's label set does not hold the label.
    """
    properties = question.schema["properties"] if question.schema else {name: {} for name in _BARE[question.task]}
    try:
        answer = {name: _value(name, schema, question, opinion) for name, schema in properties.items()}
    except (AttributeError, TypeError, LookupError, RecursionError) as error:
        raise Refused(400, "invalid_schema", "response_format.json_schema.schema: is not a JSON schema") from error
    return orjson.dumps(answer).decode()


def allowed_labels(question: Question) -> Sequence[str] | None:
    """Return the labels that an annotation may have; None where the request does not say."""
    properties = question.schema.get("properties", {})
    label = properties.get("label") if isinstance(properties, Mapping) else None
    names = label.get("enum") if isinstance(label, Mapping) else None
    return [name for name in names if isinstance(name, str)] if isinstance(names, list) else None


def _value(name: str, schema: Mapping[str, Any], question: Question, opinion: Opinion) -> Any:
    match name:
        case "label":
            return _label(schema, opinion.label)
        case "suggested_label":
            return _suggestion(schema, question, opinion)
        case "error_probability":
            return round(opinion.error_probability, 6)
        case "reason" | "reasoning" | "rationale":
            return opinion.reason
        case _:
            return _filler(schema)


def _label(schema: Mapping[str, Any], label: str) -> str:
    if not _allows(schema, label):
        raise Refused(400, "label_not_in_schema", f"{label!r}, the answer, is no label of the schema; name labels alike in both")
    return label


def _suggestion(schema: Mapping[str, Any], question: Question, opinion: Opinion) -> str | None:
    """Suggest the answerer's own label where it differs, else nothing in the way that the schema allows."""
    agreed = question.label_under_review or opinion.label
    wished = (opinion.label,) if opinion.label != agreed else ("", None, agreed)
    return next((value for value in wished if _allows(schema, value)), agreed)


def _allows(schema: Mapping[str, Any], value: str | None) -> bool:
    if "anyOf" in schema:
        return any(_allows(choice, value) for choice in schema["anyOf"])
    if "enum" in schema:
        return value in schema["enum"]
    types = schema.get("type", ["string", "null"])
    return ("null" if value is None else "string") in ([types] if isinstance(types, str) else types)


def _filler(schema: Mapping[str, Any]) -> Any:
    """Invent the least that a schema takes."""
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return schema["enum"][0]
    if schema.get("anyOf"):
        return _filler(schema["anyOf"][0])
    types = schema.get("type", "string")
    kind = types if isinstance(types, str) else types[0]
    if kind == "object":
        return {name: _filler(inner) for name, inner in schema.get("properties", {}).items()}
    return schema.get("minimum", _EMPTY.get(kind)) if kind in {"number", "integer"} else _EMPTY.get(kind)


def tokens(text: str) -> int:
    """Count about what a hosted model would."""
    return len(text) // 4 + 3


def body(
    question: Question, text: str, *, number: int, at_s: float, finish_reason: str = "stop", more: Mapping[str, Any] | None = None
) -> bytes:
    """Wrap the content as the JSON of a chat completion; ``number`` makes its id, ``at_s`` is seconds since 1970.

    ``more``: what the protocol does not know, under the name ``actlabel``; clients ignore it.
    """
    completion_tokens = tokens(text)
    return orjson.dumps(
        {
            "id": f"chatcmpl-{number}",
            "object": "chat.completion",
            "created": int(at_s),
            "model": question.model,
            "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish_reason}],
            "usage": {
                "prompt_tokens": question.prompt_tokens,
                "completion_tokens": completion_tokens,
                "total_tokens": question.prompt_tokens + completion_tokens,
            },
            **({"actlabel": more} if more else {}),
        }
    )


def error_body(refused: Refused) -> bytes:
    """Write an error as OpenAI-compatible servers do."""
    kind = "invalid_request_error" if 400 <= refused.status < 500 else "server_error"
    return orjson.dumps({"error": {"message": str(refused), "type": kind, "param": None, "code": refused.code}})
