"""Recorded answers and small models, and the command that serves them."""

import base64
import json
import re
import signal
import subprocess
import sys
import urllib.request
from dataclasses import replace

import numpy as np
import pytest

from actlabel.cli.standin import read_faults
from actlabel.completions.protocol import Refused, read_question
from actlabel.core.errors import UserError
from actlabel.standin.classifier import ClassifierAnswers
from actlabel.standin.opinion import ByModel
from actlabel.standin.recorded import AnswerFields, RecordedAnswers


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", r"answers.jsonl:2: is not JSON"),
        ("[1]", r":2: is not a JSON object"),
        ('{"text": "a", "llm": "x"}', r":2: has no field 'error_prob'.*--error-field"),
        ('{"text": 1, "llm": "x", "error_prob": 0}', r":2: text and llm are strings"),
        ('{"text": "a", "llm": "x", "error_prob": 1.2}', r":2: error_prob: a number between 0 and 1.*1\.2"),
        ('{"text": "a", "llm": "x", "error_prob": true}', r":2: error_prob"),
    ],
)
def test_a_broken_line_is_named_with_its_remedy(tmp_path, line, message):
    file = tmp_path / "answers.jsonl"
    file.write_text('{"text": "ok", "llm": "x", "error_prob": 0.5}\n' + line + "\n")
    with pytest.raises(UserError, match=message):
        RecordedAnswers.load(file)


def test_an_empty_and_a_missing_file_are_named(tmp_path):
    (tmp_path / "empty.jsonl").write_text("\n")
    with pytest.raises(UserError, match="holds no recorded answers"):
        RecordedAnswers.load(tmp_path / "empty.jsonl")
    with pytest.raises(UserError, match="cannot be read"):
        RecordedAnswers.load(tmp_path / "absent.jsonl")


def test_other_column_names(tmp_path, make_request):
    file = tmp_path / "answers.jsonl"
    file.write_text('{"body": "Ice melts.", "guess": "agrees", "doubt": 0.5}\n')
    recorded = RecordedAnswers.load(file, AnswerFields(text="body", label="guess", error_probability="doubt"))
    assert len(recorded) == 1
    assert recorded.answer(read_question(json.dumps(make_request()).encode())).label == "agrees"


class Halves:
    """Class 'b' with the probability that the first number says."""

    classes_ = np.array(["a", "b"])

    def predict_proba(self, rows):
        return np.array([[1 - row[0], row[0]] for row in rows])


def test_a_classifier_annotates_and_doubts(make_request):
    answers = ClassifierAnswers(Halves(), features=lambda _: [0.9])
    question = read_question(json.dumps(make_request()).encode())
    assert answers.answer(question).label == "b"
    assert answers.answer(question).error_probability == pytest.approx(0.1)
    assert answers.answer(replace(question, label_under_review="a")).error_probability == pytest.approx(0.9)
    assert answers.answer(replace(question, label_under_review="unknown")).error_probability == 1.0


def test_models_on_one_server_are_told_apart_by_name(make_request):
    both = ByModel({"recorded": ClassifierAnswers(Halves(), features=lambda _: [0.9])})
    question = read_question(json.dumps(make_request()).encode())
    assert both.answer(question).label == "b"
    with pytest.raises(Refused, match="'gpt' is not served here; there is recorded"):
        both.answer(replace(question, model="gpt"))


def test_a_classifier_sees_the_image():
    png = base64.b64encode(b"\x01").decode()
    part = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{png}"}}
    question = read_question(json.dumps({"model": "m", "messages": [{"role": "user", "content": [part]}]}).encode())
    answers = ClassifierAnswers(Halves(), features=lambda asked: [float(asked.image_bytes()[0])], labels=("zero", "one"))
    assert answers.answer(question).label == "one"


def test_fault_words_of_the_command_line():
    faults = read_faults(["error=0.25", "concurrency=64,8", "seed=3"], latency_ms=20)
    assert (faults.error, faults.concurrency, faults.seed, faults.latency_ms) == (0.25, (64, 8), 3, 20.0)


@pytest.mark.parametrize("word", ["error", "nothing=1", "error=x", "error=2", "concurrency=a"])
def test_a_wrong_fault_word_is_named(word):
    with pytest.raises(UserError, match="--fault"):
        read_faults([word], latency_ms=0)


def test_the_command_serves_and_stops_on_sigterm(tmp_path, make_request):
    file = tmp_path / "answers.jsonl"
    file.write_text('{"text": "Ice melts.", "llm": "agrees", "error_prob": 0.5}\n')
    program = "import typer; from actlabel.cli.standin import add_to; app = typer.Typer(); add_to(app); app()"
    command = [sys.executable, "-c", program, "--answers", str(file), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        address = re.search(r"http://\S+", process.stdout.readline())[0]
        request = urllib.request.Request(
            f"{address}/chat/completions", json.dumps(make_request()).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=10) as response:
            answer = json.load(response)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=10) == 0
    assert json.loads(answer["choices"][0]["message"]["content"]) == {"label": "agrees"}
