"""Too many dead letters pause a campaign for good, on real Kafka: no restart flushes more, and the reason is where people look."""

import subprocess
import sys
from pathlib import Path

from actlabel.core import topics
from actlabel.runtime.campaigns import Campaign
from actlabel.runtime.settings import Settings
from actlabel.standin.faults import Faults
from actlabel.standin.recorded import RecordedAnswers
from actlabel.standin.server import Standin
from tests.acceptance.data import synthetic
from tests.acceptance.fleet import eventually
from tests.acceptance.pipeline import System, system, working

ITEMS = 150
PER_MINUTE = 5


async def test_a_restart_does_not_flush_a_campaign_into_the_dead_letters(tmp_path: Path, kafka_settings: Settings) -> None:
    broken, fine = (synthetic(tmp_path, ITEMS, name=name) for name in ("broken", "fine"))
    tuning = {"ACTLABEL_DEAD_LETTERS_PER_MINUTE": str(PER_MINUTE)}
    async with (
        Standin(RecordedAnswers.load(broken.answers), Faults(nonsense=1.0)) as nonsense,
        Standin(RecordedAnswers.load(fine.answers)) as good,
        system(tmp_path, kafka_settings, **tuning) as arena,
    ):
        campaign = await arena.apply("broken", nonsense.endpoint, sampler__budget=10)
        members = await arena.fleet.start_all(*topics.READS)
        await arena.ingest(campaign, broken.items)

        async def paused() -> bool:
            return topics.ANNOTATOR in (await arena.host.campaigns.status(campaign.uid)).pauses

        await eventually(paused, what="paused at the annotator")
        assert await _dead(arena, campaign) == PER_MINUTE + 1, "the one that crosses the limit is the last, whatever is in flight"
        for end in (members[0].kill, members[0].terminate):
            end()
            members[0] = arena.fleet.start(topics.ANNOTATOR)
            await _has_worked(arena, good.endpoint, fine.items, name=f"beside-{end.__name__}")
            assert await _dead(arena, campaign) == PER_MINUTE + 1
        _is_shown(kafka_settings)

        nonsense.faults = Faults()
        assert _command(kafka_settings, "campaign", "resume", "broken").returncode == 0
        assert "6 records sent round again" in _command(kafka_settings, "dead", "replay", "broken").stdout
        async with working(arena.reviewer(broken, campaign.name)):
            await arena.at_rest(campaign, reviewed=True)
        assert set(await arena.merged(campaign)) == set(broken.truth)
        assert _command(kafka_settings, "audit", "broken").returncode == 0


async def _has_worked(arena: System, endpoint: str, items: Path, *, name: str) -> None:
    """Let the new process annotate another campaign: it has read its partitions then, those of the paused one among them."""
    other = await arena.apply(name, endpoint, sampler__budget=10)
    await arena.ingest(other, items, seal=False)

    async def annotated() -> bool:
        arena.fleet.check()
        return sum((await arena.host.stream.end_offsets(topics.topic(topics.ANNOTATED, other.uid))).values()) == ITEMS

    await eventually(annotated, what="the restarted annotator works for another campaign")


async def _dead(arena: System, campaign: Campaign) -> int:
    rows = await arena.host.database.fetch("SELECT COUNT(*) AS items FROM dead WHERE uid = $1", campaign.uid)
    return int(rows[0]["items"])


def _is_shown(settings: Settings) -> None:
    """The reason and what to type against it stand in every view of the campaign."""
    for words in (("campaign", "list"), ("campaign", "show", "broken"), ("watch", "broken", "--once")):
        said = " ".join(_command(settings, *words).stdout.split())
        assert f"{PER_MINUTE + 1} dead letters in a minute, more than {PER_MINUTE}" in said, words
        assert "actlabel campaign resume broken" in said, words


def _command(settings: Settings, *arguments: str) -> "subprocess.CompletedProcess[str]":
    environment = {"ACTLABEL_STREAM": settings.stream, "ACTLABEL_DATABASE": settings.database, "ACTLABEL_STORAGE": settings.storage}
    environment |= {"PYTHONPATH": ":".join(sys.path), "COLUMNS": "400"}
    return subprocess.run([sys.executable, "-m", "actlabel", *arguments], env=environment, capture_output=True, text=True, check=False)
