"""When a round of training is due, and what a finished run is registered as."""

from pathlib import Path
from typing import Any

import pytest

from actlabel.core.errors import UserError
from actlabel.trainer.job import TrainingResults
from actlabel.trainer.provenance import code_sha256, made_with
from actlabel.trainer.registration import chosen
from actlabel.trainer.schedule import Since, When, described, is_due, parse_when

H = 3600.0


@pytest.mark.parametrize(
    ("text", "answers", "seconds"),
    [
        ("500 reviews or 24h", 500, 24 * H),
        ("24h or 500 reviews", 500, 24 * H),
        ("1 review", 1, None),
        ("12 answers", 12, None),
        ("90 min", None, 1.5 * H),
        ("1.5d", None, 36 * H),
    ],
)
def test_a_condition_reads_as_it_is_said(text: str, answers: int | None, seconds: float | None) -> None:
    assert parse_when(text) == When(answers=answers, seconds=seconds)


@pytest.mark.parametrize(
    "text", ["", "often", "500", "0 reviews", "0h", "24h or 12h", "5 reviews or 6 reviews", "500 reviews and 24h", "-1h", "1e9h", "24hours"]
)
def test_anything_else_is_one_line(text: str) -> None:
    with pytest.raises(UserError, match=r"--when: .* is not like '500 reviews or 24h'"):
        parse_when(text)


@pytest.mark.parametrize(
    ("answers", "hours", "due"),
    [
        (500, 0, True),  # enough, at once
        (499, 23.9, False),  # neither
        (1, 24, True),  # a day, and something is new
        (0, 1000, False),  # the data is what the last round had
        (-3, 1000, False),  # a campaign was purged: nothing to learn from
    ],
)
def test_a_round_is_due_by_answers_or_by_time_with_an_answer(answers: int, hours: float, due: bool) -> None:
    since = Since(answers=answers, seconds=hours * H, last="digits@1")
    assert is_due(parse_when("500 reviews or 24h"), since) is due
    assert described(parse_when("24h"), since) == f"{answers} new answers, {hours:.1f} h of 24.0 since digits@1"


@pytest.mark.parametrize(("text", "due"), [("10 reviews", False), ("2h", True), ("3 reviews", True), ("4 h", False)])
def test_either_condition_may_stand_alone(text: str, due: bool) -> None:
    assert is_due(parse_when(text), Since(answers=3, seconds=3 * H, last=None)) is due


# ---- registration ---------------------------------------------------------------------------------------------------------------------


def _results(selected: str | None, **persistently_negative: bool) -> TrainingResults:
    models: list[Any] = [
        {"name": name.replace("_", "-"), "bounded": name != "act_ce", "persistently_negative": negative}
        for name, negative in persistently_negative.items()
    ]
    return TrainingResults(models_folder=Path("models"), snapshot={}, models=tuple(models), selected=selected, made_with={}, seconds=0)


@pytest.mark.parametrize(
    ("results", "name"),
    [
        (_results("merged-gce", act=False, merged_gce=False), "merged-gce"),  # by held-out labels
        (_results(None, act=False, merged_gce=False), "act"),  # a test set selects nothing: the first that was named
        (_results(None, act_ce=True, merged_gce=True), "merged-gce"),  # below zero within its bound is no alarm, without one it is
        (_results(None, act_ce=True), None),
    ],
)
def test_the_best_model_is_registered_and_never_one_that_diverged(results: TrainingResults, name: str | None) -> None:
    found = chosen(results)
    assert (found["name"] if found else None) == name


def test_a_model_knows_the_code_and_the_libraries_that_made_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert made_with() == made_with()
    assert {"python", "actlabel", "torch", "ray", "safetensors"} <= set(made_with()["versions"])
    before = code_sha256()
    monkeypatch.setattr("actlabel.trainer.provenance._ROOMS", ("core", "classifiers"))
    assert code_sha256() != before
