"""``actlabel demo``: the main job on digits, from raw images to a trained model and a report, with nothing to set up."""

from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

import typer
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table

from actlabel.cli.serve import run_stages
from actlabel.cli.watch import Rates, render
from actlabel.core.errors import UserError
from actlabel.host.progress import CampaignProgress
from actlabel.runtime.clock import Clock, SystemClock
from actlabel.runtime.log import configure_logs

_LINE_EVERY_S = 3.0


def add_to(app: typer.Typer) -> None:
    """Join the command to the command line."""
    app.command()(demo)


def demo(
    *,
    out: Annotated[Path, typer.Option(help="the folder that gets everything; one of an earlier demo is made anew")] = Path("actlabel-demo"),
    serve: Annotated[bool, typer.Option("--serve", help="at the end leave the review page open with a few items waiting")] = False,
    seed: Annotated[int, typer.Option(min=0, help="another seed, other splits and another draw")] = 0,
    items: Annotated[int, typer.Option(min=100, max=1217, help="images to label; all by default")] = 1217,
    budget: Annotated[str, typer.Option(help="reviews: a count or a share of the items")] = "20%",
    running: Annotated[str | None, typer.Option(help="http://host:port of a review gateway: use the system that runs there")] = None,
    models_at: Annotated[
        str, typer.Option(help="with --running: where its stages reach the models, served here")
    ] = "http://127.0.0.1:8500",
) -> None:
    """Label 1,217 handwritten digits with two small models and a scripted reviewer, train on the result, and report.

    With --running every stage is one that runs already; ACTLABEL_STREAM, DATABASE, STORAGE and REVIEW_TOKEN_FILE are read as ever.
    """
    if serve and running is not None:
        raise UserError("--serve and --running: the page of a running system is open already; leave --serve out")
    run, page = _rooms()
    elsewhere = None if running is None else run.Elsewhere(review=running, models_at=models_at)
    configure_logs(level="warning", json=False)
    plan = run.Plan(out=out, seed=seed, items=items, budget=budget, elsewhere=elsewhere)
    result = run.run_demo(plan, stages=run_stages, screen=open_screen(Console(stderr=True)))
    Console().print(results_table(result.summary))
    for path in (result.workspace.dataset, result.workspace.report, result.workspace.summary, result.workspace.training / "models"):
        typer.echo(path)
    if serve:
        page.serve_reviews(result.workspace, seed=seed, stages=run_stages, say=typer.echo)


def _rooms() -> tuple[ModuleType, ModuleType]:
    """Import what needs the extra packages. Raises ``UserError`` where they are missing."""
    try:
        from actlabel.demo import run, serve  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise UserError(f"the demo needs the extra demo ({error.name} is missing): pip install 'actlabel[demo]'") from error
    return run, serve


def results_table(summary: Mapping[str, Any]) -> Table:
    """Show what was gained, in a few lines."""
    table = Table("", "result")
    table.add_row("items, reviews", f"{summary['items']}, {summary['reviews']} of a budget of {summary['budget']}")
    table.add_row("labels right: model alone", _share(summary["machine_accuracy"]))
    table.add_row("labels right: after review", f"{_share(summary['merged_accuracy'])}  {_limits(summary['accuracy_interval'])}")
    table.add_row("wrong labels found", f"{_share(summary['error_recall'])}, by random review {_share(summary['random_error_recall'])}")
    for name, model in summary["models"].items():
        table.add_row(f"trained model: {name}", f"{_share(model['accuracy'])}  {_limits(model)}")
    table.add_row("cost, time", f"${summary['cost_usd']:.2f}, {summary['seconds']:.0f} s")
    return table


def _share(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.1%}"


def _limits(interval: Mapping[str, Any] | None) -> str:
    return "(no interval; summary.json says why)" if interval is None else f"({interval['low']:.1%} to {interval['high']:.1%})"


class LiveScreen:
    """For a terminal: a table that changes in place, under the lines."""

    def __init__(self, console: Console, clock: Clock) -> None:
        """Begin without a table."""
        self._begun_s = clock.monotonic()
        self._console = console
        self._clock = clock
        self._rates = Rates()
        self._live: Live | None = None

    def say(self, line: str) -> None:
        """See ``Screen``."""
        self._console.print(stamped(line, self._clock.monotonic() - self._begun_s), highlight=False, markup=False)

    def progress(self, progress: CampaignProgress) -> None:
        """See ``Screen``."""
        self._rates.add(self._clock.monotonic(), progress)
        if self._live is None:
            self._live = Live(Group(), console=self._console, refresh_per_second=4)
            self._live.start()
        self._live.update(render(progress, self._rates))

    def settled(self) -> None:
        """See ``Screen``."""
        if self._live is not None:
            self._live.stop()
            self._live = None


class PlainScreen:
    """For a file or a pipe: a line every few seconds."""

    def __init__(self, console: Console, clock: Clock) -> None:
        """Begin with nothing said."""
        self._begun_s = clock.monotonic()
        self._console = console
        self._clock = clock
        self._rates = Rates()
        self._said_s = float("-inf")
        self._unsaid: str | None = None

    def say(self, line: str) -> None:
        """See ``Screen``."""
        self._console.print(stamped(line, self._clock.monotonic() - self._begun_s), highlight=False, markup=False, soft_wrap=True)

    def progress(self, progress: CampaignProgress) -> None:
        """See ``Screen``."""
        now_s = self._clock.monotonic()
        self._rates.add(now_s, progress)
        self._unsaid = plain_line(progress, self._rates)
        if now_s - self._said_s >= _LINE_EVERY_S:
            self._said_s = now_s
            self.settled()

    def settled(self) -> None:
        """See ``Screen``: the last look is always said."""
        if self._unsaid is not None:
            self.say(self._unsaid)
            self._unsaid = None


def stamped(line: str, seconds: float) -> str:
    """Put the time since the start before a line."""
    return f"{seconds:5.1f} s  {line}"


def open_screen(console: Console) -> LiveScreen | PlainScreen:
    """Choose by what stderr is."""
    return LiveScreen(console, SystemClock()) if console.is_terminal else PlainScreen(console, SystemClock())


def plain_line(progress: CampaignProgress, rates: Rates) -> str:
    """Write one look as one line."""
    stages = [f"{stage.name} {stage.done}/{progress.registered} ({rates.per_second(stage.name):.0f}/s)" for stage in progress.stages[:-1]]
    reviews = f"reviews {progress.reviews.get('answered', 0)}/{progress.budget if progress.draws else '?'}"
    return " · ".join((*stages, reviews, _money(progress), _time_left(progress, rates)))


def _money(progress: CampaignProgress) -> str:
    to_come = sum(stage.cost_usd / stage.done * max(progress.registered - stage.done, 0) for stage in progress.stages[:2] if stage.done)
    return f"${progress.cost_usd:.4f} spent, ${to_come:.4f} to come"


def _time_left(progress: CampaignProgress, rates: Rates) -> str:
    """Say how long the slowest model stage still takes."""
    left = {stage.name: progress.registered - stage.done for stage in progress.stages[:2] if stage.done < progress.registered}
    if not left:
        return "every item is labelled and judged"
    if any(rates.per_second(name) <= 0 for name in left):
        return "time left unknown"
    return f"{max(items / rates.per_second(name) for name, items in left.items()):.0f} s left"
