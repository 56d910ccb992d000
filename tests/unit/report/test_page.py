"""The page: whole, self-contained, safe with hostile names, and honest where there is no interval."""

import json
import re
import sys
from html.parser import HTMLParser

import pytest
import typer
from typer.testing import CliRunner

from actlabel.cli.report import add_to
from actlabel.core.errors import UserError
from actlabel.host.host import open_host
from actlabel.report.collect import collect
from actlabel.report.findings import find
from actlabel.report.models_file import TrainedModel, read_models
from actlabel.report.page import render_page
from actlabel.report.summary import summary
from actlabel.report.whole_file import write_whole

from .conftest import Scenario

HOSTILE = '<script>alert("x")</script> $\\frac{1}{0}$ -->'


def model(**fields):
    entry = {
        "name": "act",
        "loss": "act",
        "test_accuracy": 0.9,
        "low": 0.85,
        "high": 0.94,
        "test_items": 200,
        "min_batch_risk": -0.1,
        "evaluation": "",
    }
    return {**entry, "mean_batch_risk": 0.5, "max_weight": 12.0, "effective_sample_size": 30.5, **fields}


async def page_of(settings, stage_all, scenario, models=()):
    campaign = await stage_all(scenario)
    async with open_host(settings, runs_stages=False) as host:
        findings = find(await collect(host, campaign), models)
    return plain(render_page(findings)), findings


def plain(page):
    """Read spaces that do not break as spaces."""
    return page.replace("\u00a0", " ").replace("\u202f", " ")


class Reader(HTMLParser):
    """Collects what a browser would act on."""

    VOID = frozenset({"meta", "br", "link", "img", "hr", "input"})

    def __init__(self):
        super().__init__()
        self.open, self.tags, self.urls, self.ids = [], [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        named = dict(attrs)
        self.ids += [named["id"]] if "id" in named else []
        self.urls += [value for name, value in attrs if name in ("src", "href", "xlink:href", "action", "data")]
        self.handlers = [name for name, _ in attrs if name.startswith("on")]
        assert not self.handlers
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


async def test_page_is_whole_self_contained_and_safe(settings, stage_all):
    models = [
        TrainedModel(**model(name=HOSTILE, persistently_negative=True)),
        TrainedModel(**model(loss="in words", test_accuracy=None, low=None, high=None, persistently_negative=False)),
    ]
    page, _ = await page_of(settings, stage_all, Scenario(), models)
    reader = Reader()
    reader.feed(page)
    assert reader.open == []
    assert "script" not in reader.tags
    assert all(url.startswith("#") for url in reader.urls)
    assert len(reader.ids) == len(set(reader.ids))
    assert {url[1:] for url in reader.urls} <= set(reader.ids)
    assert set(re.findall(r"url\(#([^)]+)\)", page)) <= set(reader.ids)
    assert not re.search(r"""https?://|@import|url\((?!#)""", page.replace("http://www.w3.org", ""))
    assert "Right &lt;b&gt;or&lt;/b&gt; left?" in page
    assert "small &lt;script&gt;" in page
    assert "stays negative" in page
    assert "in words" in page
    assert page.count("<svg") == 4
    assert "#010101" not in page
    assert "DejaVu" not in page
    assert not re.search(r"<svg[^>]*\s(width|height)=", page)
    assert 'name="viewport"' in page
    assert "prefers-color-scheme: dark" in page


async def test_page_says_the_numbers(settings, stage_all):
    page, findings = await page_of(settings, stage_all, Scenario())
    machine = findings.machine.from_reviews
    assert f"{100 * machine.low:.1f} to {100 * machine.high:.1f} %" in page
    assert f"{100 * findings.merged.by_gold:.1f} %" in page
    assert f"{100 * findings.review.recall.estimate:.1f} %" in page
    assert "random review: 33.3 %" in page
    assert "points more than random review" in page
    assert "Balanced: every registered item is in exactly one place." in page
    assert "$0.042" in page
    assert "= 600 registered" in page


@pytest.mark.parametrize(
    ("scenario", "words"),
    [
        (
            Scenario(audit_share=0.0, gold=False),
            ["No valid interval can be given", "could never be chosen", "cannot be said from these reviews", "cannot be drawn"],
        ),
        (Scenario(audit_share=0.1), ["an interval needs 30", "The diamond is the truth"]),
        (Scenario(unanswered=9, undecidable=7), ["7 undecidable, 9 not answered yet", "from all of them right to all of them wrong"]),
        (Scenario(in_flight=5), ["5 items are on their way"]),
        (Scenario(error_rate=0.0), ["The model made no mistake"]),
        (Scenario(mode="streaming"), ["streaming, 5 blocks"]),
        (Scenario(gold=False, rule="exponential"), ["Review found an estimated", "β = 15.0", "weighted by 1/π"]),
    ],
)
async def test_page_says_what_is_not_known(settings, stage_all, scenario, words):
    page, _ = await page_of(settings, stage_all, scenario)
    text = " ".join(page.split())
    for sentence in words:
        assert sentence in text


async def test_same_findings_give_the_same_bytes(settings, stage_all):
    page, findings = await page_of(settings, stage_all, Scenario())
    assert plain(render_page(findings)) == page


async def test_without_matplotlib_the_extra_is_named(settings, stage_all, monkeypatch):
    _, findings = await page_of(settings, stage_all, Scenario(items=80, budget=20))
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(UserError, match=r"pip install 'actlabel\[report\]'"):
        render_page(findings)


def command(*arguments):
    app = typer.Typer()
    add_to(app)
    app.command()(lambda: None)  # a second command, so that the first keeps its name
    return CliRunner().invoke(app, ["report", *map(str, arguments)])


@pytest.fixture
def as_environment(settings, monkeypatch):
    for name in ("stream", "database", "storage"):
        monkeypatch.setenv(f"ACTLABEL_{name.upper()}", getattr(settings, name))


def test_command_writes_page_and_summary(tmp_path, stage_all, as_environment):
    import asyncio  # noqa: PLC0415

    asyncio.run(stage_all(Scenario()))
    results = tmp_path / "results.json"
    results.write_text(json.dumps([model(), model(name="human-only", loss="human-only")]))
    out, numbers = tmp_path / "deep" / "report.html", tmp_path / "summary.json"
    answer = command("sides", "--out", out, "--models", results, "--json", numbers)
    assert answer.exit_code == 0, answer.exception
    document = json.loads(numbers.read_text())
    wanted = "items merged in_review dead reviews budget machine_accuracy merged_accuracy error_recall random_error_recall models"
    assert {*wanted.split(), "cost_usd", "seconds"} <= document.keys()
    assert document["accuracy_interval"].keys() == {"low", "high"}
    assert document["models"]["act"] == {"accuracy": 0.9, "low": 0.85, "high": 0.94}
    assert document["error_recall_difference"]["low"] > 0
    assert "human-only" in out.read_text(encoding="utf-8")
    assert sorted(path.name for path in out.parent.iterdir()) == ["report.html"]


def test_command_refuses_an_unknown_campaign_and_writes_nothing(tmp_path, as_environment):
    out = tmp_path / "report.html"
    answer = command("nobody", "--out", out)
    assert isinstance(answer.exception, UserError)
    assert "'nobody' does not exist" in str(answer.exception)
    assert not out.exists()


def test_a_disk_that_refuses_is_one_line_and_leaves_nothing(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        write_whole(tmp_path / "file" / "report.html", "x")
    (tmp_path / "taken").mkdir()
    with pytest.raises(UserError, match="nothing was kept"):
        write_whole(tmp_path / "taken", "x")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "taken"]


def test_results_of_the_trainer_are_read_as_it_writes_them(tmp_path):
    path = tmp_path / "results.json"
    path.write_text(
        json.dumps({"models": [model(min_batch_risk=float("-inf"), persistently_negative=True, notes=["x"])], "selected": None})
    )
    (read,) = read_models(path)
    assert (read.name, read.test_accuracy, read.min_batch_risk, read.persistently_negative) == ("act", 0.9, float("-inf"), True)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("{", "cannot be read as JSON"),
        ("3", "no list of models"),
        ("[{}]", "model 1: has no name"),
        (json.dumps([model(), model(test_accuracy="high")]), "model 2: test_accuracy: 'high' is not a number"),
        (json.dumps([model(test_accuracy=1.5)]), "no share of right answers"),
        (json.dumps([model(test_accuracy=0.5, low=0.6)]), "no share of right answers"),
        ('[{"name": "a", "low": NaN}]', "low: nan is not a number"),
    ],
)
def test_a_broken_results_file_is_named(tmp_path, text, word):
    path = tmp_path / "results.json"
    path.write_text(text)
    with pytest.raises(UserError, match=re.escape(word)) as caught:
        read_models(path)
    assert str(path) in str(caught.value)


def test_summary_takes_the_callers_clock(settings, stage_all):
    import asyncio  # noqa: PLC0415

    async def made():
        return (await page_of(settings, stage_all, Scenario(items=80, budget=20)))[1]

    findings = asyncio.run(made())
    assert summary(findings, seconds=12.5)["seconds"] == 12.5
