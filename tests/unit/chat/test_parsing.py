"""Answers are hostile input: whatever comes in, what comes out is inside the schema or ``BadAnswer``."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actlabel.chat.parsing import BadAnswer, answer_object, clean, label_field, probability_field, text_field, texts_field

LABELS = ("agrees", "neutral", "disagrees")


@pytest.mark.parametrize(
    "text",
    [
        '{"label": "agrees"}',
        ' \n{"label": "agrees"}\n',
        '```json\n{"label": "agrees"}\n```',
        '```\n{"label": "agrees"}\n```',
        'Sure! Here it is: {"label": "agrees"} Hope that helps {smiley}.',
        'The item says {"other": 1}. So: {"label": "agrees"}',
        '{"label": "agrees"} and again {"label": "agrees"}',  # twice the same is no ambiguity
        '{"label": "agrees", "mood": {"nested": [1, 2]}, "label2": null}',
        '{"label": "AGREES"}',
        '{"label": " agrees "}',
        '{{"label": "agrees"}',
        '\ufeff{"label": "agrees"}',
    ],
)
def test_objects_that_are_found(text: str) -> None:
    assert label_field(answer_object(text, ("label",)), "label", LABELS) == "agrees"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "agrees",
        "[]",
        '["agrees"]',
        '"{}"',
        "null",
        "{}",
        '{"label": "agrees"',
        '{"label": "sideways"}',
        '{"label": ""}',
        '{"label": null}',
        '{"label": 1}',
        '{"label": true}',
        '{"label": ["agrees"]}',
        '{"label": {"agrees": 1}}',
        '{"label": "аgrees"}',  # a Cyrillic а
        '{"label": "agrees\\u0000"}',
        '{"label": "\\ud800"}',
        '{"Label": "agrees"}',
        'Either {"label": "agrees"} or {"label": "neutral"}',
        "{" * 100_000,
        '{"label":' * 5_000,
        "[" * 100_000 + "]" * 100_000,
        '{"a":' * 2_000 + "1" + "}" * 2_000,
        '{"label": "agrees", "n": ' + "9" * 10_000 + "}",
        "x" * 300_000 + '{"label": "agrees"}',
    ],
)
def test_objects_that_are_refused(text: str) -> None:
    with pytest.raises(BadAnswer):
        label_field(answer_object(text, ("label",)), "label", LABELS)


def test_label_that_differs_from_two_only_in_case_is_refused() -> None:
    with pytest.raises(BadAnswer):
        label_field({"label": "US"}, "label", ("us", "Us"))
    assert label_field({"label": "us"}, "label", ("us", "Us")) == "us"


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0, 0.0), (1, 1.0), (0.25, 0.25), ("0.25", 0.25), ("95%", 0.95), (" 95 % ", 0.95), ("0%", 0.0), ("1", 1.0), (-0.0, 0.0)],
)
def test_probabilities_that_are_read(value: object, expected: float) -> None:
    number = probability_field({"p": value}, "p")
    assert number == expected
    assert math.copysign(1, number) == 1


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        False,
        -1,
        -0.001,
        1.001,
        95,
        10**400,
        math.nan,
        math.inf,
        "high",
        "",
        "1e-1",
        "٥",
        "0.5.5",
        "150%",
        "-5%",
        "nan",
        [0.5],
        {},
    ],
)
def test_probabilities_that_are_refused(value: object) -> None:
    with pytest.raises(BadAnswer):
        probability_field({"p": value}, "p")


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e309", "-1e309"])
def test_numbers_that_json_does_not_have_are_refused(number: str) -> None:
    with pytest.raises(BadAnswer):
        answer_object(f'{{"error_probability": {number}}}', ("error_probability",))


def test_free_text_is_bounded_and_can_be_stored_anywhere() -> None:
    assert text_field({"r": "a\x00b\ud800c\nd\te\x7f"}, "r") == "abc\nd\te"
    assert len(text_field({"r": "x" * 100_000}, "r")) == 8_000
    assert text_field({}, "r") == ""
    with pytest.raises(BadAnswer):
        text_field({"r": 7}, "r")


def test_lists_of_texts_are_bounded() -> None:
    quotes = texts_field({"e": ["a" * 5_000, "", " "] + ["b"] * 100}, "e")
    assert len(quotes) <= 20
    assert max(map(len, quotes)) == 1_000
    assert texts_field({"e": None}, "e") == ()
    for bad in ("x", [1], {"a": 1}, [["a"]]):
        with pytest.raises(BadAnswer):
            texts_field({"e": bad}, "e")


FIELDS = st.sampled_from(["label", "p", "reason", "evidence", "x"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.sampled_from(LABELS),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(FIELDS, inner, max_size=5),
    max_leaves=12,
)
ANSWERS = (
    st.text(max_size=200)
    | st.text(alphabet='{}[]":,\\ `ulabetrngsdi0195%.\n', max_size=200)
    | JSON.map(json.dumps)
    | st.tuples(st.text(max_size=30), JSON, st.text(max_size=30)).map(lambda parts: parts[0] + json.dumps(parts[1]) + parts[2])
)


def _read(text: str) -> tuple[str, float, str, tuple[str, ...]] | str:
    """What the text holds, or the complaint."""
    try:
        fields = answer_object(text, ("label", "p"))
        read = label_field(fields, "label", LABELS), probability_field(fields, "p")
        return *read, text_field(fields, "reason"), texts_field(fields, "evidence")
    except BadAnswer as complaint:
        return str(complaint)


@given(ANSWERS)
def test_never_crashes_and_never_leaves_the_schema(text: str) -> None:
    read = _read(text)
    if isinstance(read, str):
        assert 0 < len(read) < 300
        read.encode()
        return
    label, number, reason, evidence = read
    assert label in LABELS
    assert 0 <= number <= 1
    "".join([reason, *evidence]).encode()


@given(st.sampled_from(LABELS), st.floats(0, 1), st.text(), st.text(alphabet=st.characters(exclude_characters="{}")))
def test_good_answers_are_read_amid_any_prose_without_braces(label: str, number: float, reason: str, prose: str) -> None:
    text = f"{prose}\n{json.dumps({'label': label, 'p': number, 'reason': reason})}\n{prose}"
    fields = answer_object(text, ("label", "p"))
    assert (label_field(fields, "label", LABELS), probability_field(fields, "p")) == (label, number)


@given(st.text(st.characters(categories=None), max_size=300), st.integers(1, 100))
def test_clean_text_is_utf8_and_bounded(text: str, longest: int) -> None:
    cleaned = clean(text, longest)
    cleaned.encode()
    assert len(cleaned) <= longest
