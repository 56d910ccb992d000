"""``actlabel watch``: a campaign as it moves."""

import asyncio
from collections import deque
from collections.abc import Mapping
from typing import Annotated

import typer
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from actlabel.cli.pauses import described
from actlabel.cli.running import run_with_host
from actlabel.host.host import Host
from actlabel.host.progress import CampaignProgress, StageProgress, read_oldest, read_progress

_RATE_WINDOW_S = 20.0
_AGE_INTERVAL_S = 5.0


def add_to(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command()(watch)


def watch(
    campaign: Annotated[str, typer.Argument(help="the campaign's name")],
    once: Annotated[bool, typer.Option("--once", help="look for one interval, print and end")] = False,
    interval_s: Annotated[float, typer.Option("--interval", min=0.2, help="seconds between looks")] = 1.0,
) -> None:
    """Show rate, done, cost so far and to come, and time left of each stage, and why it is paused; Ctrl-C ends it."""

    async def work(host: Host) -> None:
        uid = (await host.campaigns.newest(campaign)).uid
        looks = Looks(host, uid)
        console = Console()
        if once:
            await looks.next()
            await asyncio.sleep(interval_s)  # a rate needs two looks
            console.print(await looks.next())
            return
        with Live(await looks.next(), console=console, refresh_per_second=4) as live:
            while True:
                await asyncio.sleep(interval_s)
                live.update(await looks.next())

    try:
        run_with_host(work)
    except KeyboardInterrupt:
        typer.echo()


class Looks:
    """One look after the other; ages cost reads of records and are renewed less often."""

    def __init__(self, host: Host, uid: str) -> None:
        """Nothing is read yet."""
        self._host = host
        self._uid = uid
        self._rates = Rates()
        self._oldest: Mapping[str, float] = {}
        self._aged_s = -_AGE_INTERVAL_S

    async def next(self) -> Group:
        """Look, and draw."""
        progress = await read_progress(self._host, self._uid)
        now_s = self._host.clock.monotonic()
        self._rates.add(now_s, progress)
        if now_s - self._aged_s >= _AGE_INTERVAL_S:
            self._oldest, self._aged_s = await read_oldest(self._host, self._uid), now_s
        return render(progress, self._rates, self._oldest)


class Rates:
    """Records per second of each stage over the last looks."""

    def __init__(self) -> None:
        """Begin without looks."""
        self._looks: deque[tuple[float, dict[str, int]]] = deque()

    def add(self, moment_s: float, progress: CampaignProgress) -> None:
        """Remember a look and forget those older than the window."""
        self._looks.append((moment_s, {stage.name: stage.done for stage in progress.stages}))
        while moment_s - self._looks[0][0] > _RATE_WINDOW_S:
            self._looks.popleft()

    def per_second(self, stage: str) -> float:
        """Return the rate of a stage; 0 while there is only one look."""
        if len(self._looks) < 2:
            return 0.0
        (start, first), (end, last) = self._looks[0], self._looks[-1]
        return (last[stage] - first[stage]) / (end - start)


def render(progress: CampaignProgress, rates: Rates, oldest: Mapping[str, float] | None = None) -> Group:
    """Draw one look. ``oldest``: stage → age in seconds of what waits there the longest, where it is known."""
    table = Table("stage", "done", "waiting", "oldest", "per second", "dead", "cost so far", "cost to come", "time left")
    for column in table.columns[1:]:
        column.justify = "right"
    for stage in progress.stages:
        table.add_row(*_cells(stage, rates.per_second(stage.name), progress.registered, (oldest or {}).get(stage.name)))
    return Group(table, *(Text(line) for line in _lines(progress)))


def _cells(stage: StageProgress, rate: float, registered: int, oldest_s: float | None) -> list[str]:
    left = max(registered - stage.done, stage.lag) if stage.name != "review-gateway" else stage.lag
    to_come = stage.cost_usd / stage.done * left if stage.done else 0.0
    return [
        stage.name,
        str(stage.done),
        str(stage.lag),
        _duration(oldest_s) if oldest_s is not None and stage.lag else "",
        f"{rate:.1f}",
        str(stage.dead),
        f"${stage.cost_usd:.4f}",
        f"${to_come:.4f}",
        _duration(left / rate) if rate > 0 and left else "",
    ]


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"


def _lines(progress: CampaignProgress) -> list[str]:
    seals = ", ".join(f"batch {batch}: {items}" for batch, items in progress.status.seals.items())
    sealed = seals or "no (exact sampling waits for a seal)"
    reviews = ", ".join(f"{count} {state}" for state, count in sorted(progress.reviews.items())) or "none yet"
    lines = [
        f"registered {progress.registered} · sealed {sealed}",
        f"draws {progress.draws} · emitted {progress.emitted} of {progress.to_emit} · on merged {progress.merged_records} records",
        f"reviews {reviews} · budget {progress.budget if progress.budget is not None else 'not drawn yet'} · outbox {progress.outbox}",
    ]
    return [*lines, _money(progress), *_late(progress), *described(progress.status.name, progress.status.pauses)]


def _late(progress: CampaignProgress) -> list[str]:
    if not progress.late:
        return []
    again = f"`actlabel campaign seal {progress.status.name}` lets another draw decide them"
    return [f"{progress.late} items came after the draw of their batch · {again}"]


def _money(progress: CampaignProgress) -> str:
    money = progress.money
    lost = f" · ${money.lost_usd:.4f} reserved by processes that ended without settling" if money.lost_usd else ""
    return f"money ${money.spent_usd:.4f} spent of ${progress.cap_usd:g} · ${money.held_usd:.4f} held for calls in flight{lost}"
