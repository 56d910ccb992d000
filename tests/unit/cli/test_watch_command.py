"""What `watch` and `dead` say of an embedded campaign in which something waits, died and is paused."""

import io
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from actlabel.cli.watch import Rates, render
from actlabel.core import topics
from actlabel.host.campaign_life import apply_campaign
from actlabel.host.host import Host, open_host
from actlabel.host.progress import read_oldest, read_progress
from actlabel.runtime.campaign_file import parse_campaign
from actlabel.runtime.campaigns import Campaign
from actlabel.runtime.settings import Settings
from actlabel.stream.dead_letters import DeadLetters
from actlabel.stream.port import Partition, Record

CAMPAIGN = """
name: birds
task: {question: "Which?", labels: [bird, plane]}
annotator: {endpoint: "http://127.0.0.1:9/v1", model: m}
criticizer: {endpoint: "http://127.0.0.1:9/v1", model: m}
sampler: {budget: 10}
spend_cap_usd: 7
partitions: 2
"""
ESCAPE = "\x1b[31mred"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    files = {"stream": f"sqlite:///{tmp_path}/stream.db", "database": f"sqlite:///{tmp_path}/actlabel.db"}
    return Settings(**files, storage=str(tmp_path / "storage"))


async def prepare(host: Host) -> Campaign:
    """Two items wait for the annotator; two others died and paused the campaign."""
    campaign = await apply_campaign(host, parse_campaign(CAMPAIGN, where="test"))
    topic = topics.topic(topics.ITEMS, campaign.uid)
    for key in (b"one", b"two"):
        await host.stream.producer().send(topic, key=key, value=b"value")
    desk = DeadLetters(database=host.database, stream=host.stream, campaigns=host.campaigns, clock=host.clock, per_minute=1)
    for offset, key in enumerate((b"[bold]three", ESCAPE.encode())):
        record = Record(Partition(topic, 0), offset, key, b"not an item", (), 0)
        await desk.put(record, stage=topics.ANNOTATOR, version=1, reason="bad-answer", detail=f"it said {ESCAPE}")
    return campaign


def shell(settings: Settings, *words: str, says: str = "") -> "subprocess.CompletedProcess[str]":
    environment = {"ACTLABEL_STREAM": settings.stream, "ACTLABEL_DATABASE": settings.database, "ACTLABEL_STORAGE": settings.storage}
    environment |= {"PYTHONPATH": ":".join(sys.path), "COLUMNS": "300"}
    command = [sys.executable, "-m", "actlabel", *words]
    return subprocess.run(command, env=environment, input=says, capture_output=True, text=True, check=False)


async def test_watch_shows_what_waits_how_long_what_it_costs_and_why_it_is_paused(settings: Settings) -> None:
    async with open_host(settings, runs_stages=False) as host:
        campaign = await prepare(host)
        oldest = await read_oldest(host, campaign.uid)
        progress = await read_progress(host, campaign.uid)
    assert set(oldest) == {topics.ANNOTATOR}
    out = io.StringIO()
    console = Console(width=200, file=out)
    console.print(render(progress, Rates(), {topics.ANNOTATOR: 3725.0}))
    said = out.getvalue()
    for words in (
        "1:02:05",
        "$0.0000 spent of $7",
        "PAUSED at annotator: 2 dead letters in a minute",
        "actlabel campaign resume birds",
    ):
        assert words in said
    assert "\x1b" not in said


async def test_watch_says_what_to_do_for_what_came_after_its_draw(settings: Settings) -> None:
    async with open_host(settings, runs_stages=False) as host:
        campaign = await apply_campaign(host, parse_campaign(CAMPAIGN, where="test"))
        rows = [(campaign.uid, f"item-{n}", batch, draw_batch) for n, (batch, draw_batch) in enumerate([(1, 1), (1, 2), (1, 3), (2, 3)])]
        await host.database.execute_many(
            "INSERT INTO candidate (uid, item_id, batch, draw_batch, revision, epsilon_q16, label, arrived_at, block) "
            "VALUES ($1, $2, $3, $4, 1, 0, 'bird', 0, 0)",
            rows,
        )
        await host.database.execute(
            "INSERT INTO draw (uid, draw, batch, mode, rule, budget, selected, calibration_version, population, raises, parameters, "
            "manifest, complete, created_at) VALUES ($1, 1, 2, 'exact', 'threshold', 0, 0, 0, 2, 0, '{}', '', TRUE, 0)",
            campaign.uid,
        )
        progress = await read_progress(host, campaign.uid)
    out = io.StringIO()
    Console(width=200, file=out).print(render(progress, Rates()))
    assert "2 items came after the draw of their batch · `actlabel campaign seal birds`" in out.getvalue()


async def test_dead_letters_at_the_command_line(settings: Settings) -> None:
    """Listed as they are, without markup and escapes; bytes only when asked; a purge asks, counts, and leaves the item dead."""
    async with open_host(settings, runs_stages=False) as host:
        campaign = await prepare(host)
    listed = shell(settings, "dead", "list", "birds").stdout
    assert "[bold]three" in listed
    assert "\x1b" not in listed
    shown = shell(settings, "dead", "show", "birds", "[bold]three")
    assert all(word in shown.stdout for word in ("annotator", "bad-answer", "it said", "UTC", f"actlabel.items.{campaign.uid}/0 offset 0"))
    assert b"not an item".hex() not in shown.stdout
    assert b"not an item".hex() in shell(settings, "dead", "show", "birds", "[bold]three", "--content").stdout
    assert "no-such-item" in shell(settings, "dead", "show", "birds", "no-such-item").stderr

    refused = shell(settings, "dead", "purge", "birds", "--reason", "bad-answer", says="n\n")
    assert (refused.returncode, "Give up 2 dead letters" in refused.stdout) == (1, True)
    assert "nothing to purge" in shell(settings, "dead", "purge", "birds", "--stage", "criticizer", "--yes").stdout
    assert "1 dead letters purged" in shell(settings, "dead", "purge", "birds", "[bold]three", "--yes").stdout
    assert "three" not in shell(settings, "dead", "list", "birds").stdout
    assert "three" in shell(settings, "dead", "list", "birds", "--purged").stdout
    async with open_host(settings, runs_stages=False) as host:
        assert (await read_progress(host, campaign.uid)).dead == 2
