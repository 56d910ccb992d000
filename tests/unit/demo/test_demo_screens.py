"""What a person sees while the demo works, and at its end."""

import io
import sys

import pytest
from rich.console import Console

import actlabel.demo
from actlabel.chat.settlement import Money
from actlabel.cli.demo import LiveScreen, PlainScreen, demo, open_screen, plain_line, results_table
from actlabel.cli.watch import Rates
from actlabel.core.errors import UserError
from actlabel.host.progress import CampaignProgress, StageProgress
from actlabel.runtime.campaigns import CampaignStatus
from actlabel.runtime.clock import FakeClock

SUMMARY = {
    "items": 1217, "reviews": 243, "budget": 243, "machine_accuracy": 0.84, "merged_accuracy": 0.97, "accuracy_interval": None,
    "error_recall": 0.8, "random_error_recall": 0.2, "models": {"act": {"accuracy": 0.96, "low": 0.93, "high": 0.98}},
    "cost_usd": 0.15, "seconds": 64.2,
}  # fmt: skip


def progress(done, *, draws=0):
    stages = tuple(
        StageProgress(name=name, done=done, lag=0, dead=0, cost_usd=cost)
        for name, cost in (("annotator", 0.02 * done), ("criticizer", 0.04 * done), ("sampler", 0.0), ("review-gateway", 0.0))
    )
    status = CampaignStatus(uid="u", name="digits", version=1, batch=2, seals={1: 100}, pauses={})
    return CampaignProgress(
        status=status, registered=100, stages=stages, draws=draws, drawn_batches=frozenset(), late=0, emitted=0, to_emit=0,
        reviews={"answered": 3, "waiting": 17}, outbox=0, budget=20, merged_records=0, exact=True,
        money=Money(spent_usd=0.0, held_usd=0.0, lost_usd=0.0), cap_usd=10.0,
    )  # fmt: skip


def console(*, terminal):
    return Console(file=io.StringIO(), force_terminal=terminal, width=150)


def test_a_line_says_rate_done_money_and_time():
    rates = Rates()
    rates.add(0.0, progress(0))
    rates.add(2.0, progress(50))
    line = plain_line(progress(50), rates)
    assert "annotator 50/100 (25/s)" in line
    assert "reviews 3/?" in line
    assert "$3.0000 spent, $3.0000 to come" in line
    assert "2 s left" in line
    assert "reviews 3/20" in plain_line(progress(100, draws=1), rates)


def test_without_a_terminal_a_line_comes_every_few_seconds():
    clock, out = FakeClock(), console(terminal=False)
    screen = PlainScreen(out, clock)
    for _ in range(14):
        screen.progress(progress(10))
        clock.advance(0.5)
    screen.progress(progress(100))
    screen.settled()
    screen.settled()
    lines = out.file.getvalue().splitlines()
    assert [line[:7] for line in lines] == ["  0.0 s", "  3.0 s", "  6.0 s", "  7.0 s"]
    assert "annotator 100/100" in lines[-1]


def test_on_a_terminal_the_table_stays_below_what_is_said():
    out = console(terminal=True)
    screen = LiveScreen(out, FakeClock())
    screen.progress(progress(10))
    screen.say("digit-0001: labelled [1]")
    screen.settled()
    screen.say("the end")
    shown = out.file.getvalue()
    assert "criticizer" in shown
    assert shown.index("labelled [1]") < shown.rindex("criticizer") < shown.index("the end")


def test_the_screen_follows_the_terminal():
    assert isinstance(open_screen(console(terminal=True)), LiveScreen)
    assert isinstance(open_screen(console(terminal=False)), PlainScreen)


def test_the_results_say_where_there_is_no_interval():
    out = console(terminal=False)
    out.print(results_table(SUMMARY))
    shown = out.file.getvalue()
    assert "97.0%  (no interval; summary.json says why)" in shown
    assert "96.0%  (93.0% to 98.0%)" in shown
    assert "80.0%, by random review 20.0%" in shown


def test_a_missing_extra_is_named_with_its_remedy(monkeypatch, tmp_path):
    for name in [name for name in sys.modules if name.startswith("actlabel.demo.")]:
        monkeypatch.delitem(sys.modules, name)
        monkeypatch.delattr(actlabel.demo, name.rpartition(".")[2], raising=False)
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(UserError, match=r"pip install 'actlabel\[demo\]'"):
        demo(out=tmp_path / "demo")
    assert not (tmp_path / "demo").exists()
