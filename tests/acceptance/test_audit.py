"""The audit of real campaigns: clean while they move, balanced at rest, and sharp when something is planted."""

import json
import subprocess
import sys
from pathlib import Path

from actlabel.audit.handle import run_audit
from actlabel.audit.ledger import Ledger
from actlabel.contracts.v1.item_pb2 import Item
from actlabel.core import topics
from actlabel.runtime.campaigns import Campaign
from actlabel.runtime.settings import Settings
from actlabel.standin.faults import Faults
from actlabel.standin.recorded import RecordedAnswers
from actlabel.standin.server import Standin
from actlabel.stream.dead_records import Choice, DeadRecords
from tests.acceptance.data import synthetic
from tests.acceptance.fleet import eventually
from tests.acceptance.pipeline import System, make_settings, one_process, system, working

ITEMS = 400


async def audited(arena: System, campaign: Campaign) -> Ledger:
    return await run_audit(arena.host, campaign.uid, work=None, progress=lambda *_: None)


def command(settings: Settings, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run `actlabel` in a process of its own on the same stream and database."""
    environment = {"ACTLABEL_STREAM": settings.stream, "ACTLABEL_DATABASE": settings.database, "ACTLABEL_STORAGE": settings.storage}
    here = {"PYTHONPATH": ":".join(sys.path), "COLUMNS": "150"}
    return subprocess.run(
        [sys.executable, "-m", "actlabel", *arguments], env=environment | here, capture_output=True, text=True, check=False
    )


async def test_audit_on_kafka_while_stages_are_killed(tmp_path: Path, kafka_settings: Settings) -> None:
    recording = synthetic(tmp_path, ITEMS)
    tuning = {"ACTLABEL_CALLS_IN_FLIGHT": "20", "ACTLABEL_WINDOW_ITEMS": "60"}
    async with (
        Standin(RecordedAnswers.load(recording.answers), Faults(latency_ms=100, nonsense=0.2, seed=3)) as model,
        system(tmp_path, kafka_settings, **tuning) as arena,
    ):
        campaign = await arena.apply("audited", model.endpoint, sampler__budget=60)
        members = await arena.fleet.start_all(*topics.READS)
        await arena.ingest(campaign, recording.items)
        moving = []
        for member in members[:2]:
            moving += [await audited(arena, campaign) for _ in range(3)]
            member.kill()
            arena.fleet.start(member.role)
        async with working(arena.reviewer(recording, campaign.name)):
            moving += [await audited(arena, campaign) for _ in range(3)]
            await arena.at_rest(campaign, reviewed=True)
        rest = await audited(arena, campaign)
        assert [ledger.violations for ledger in moving] == [[]] * len(moving)
        assert sum(ledger.moving for ledger in moving) >= 3
        _balances(rest)
        assert rest.reviewed == 60
        assert rest.dead > 0
        assert command(kafka_settings, "audit", "audited").returncode == 0
        await _planted(arena, campaign, kafka_settings)


def _balances(ledger: Ledger) -> None:
    assert ledger.violations == []
    assert not ledger.moving, ledger
    assert ledger.registered == ITEMS == ledger.merged + ledger.in_review + ledger.dead
    by_kind = {line.kind: line for line in ledger.topics}
    assert by_kind["items"].items == ITEMS
    assert by_kind["merged"].items == ledger.merged
    assert by_kind["merged"].repeated <= by_kind["critiqued"].repeated + 60, "what was produced twice around a kill"


async def _planted(arena: System, campaign: Campaign, settings: Settings) -> None:
    """A late machine record over a human one, and a dead letter that nobody knows of any more: both are named."""
    merged = await arena.merged(campaign)
    human = next(item for item in merged.values() if item.HasField("review"))
    machine = Item.FromString(human.SerializeToString())
    machine.ClearField("review")
    topic = topics.topic(topics.MERGED, campaign.uid)
    await arena.host.stream.producer().send(topic, key=human.id.encode(), value=machine.SerializeToString())
    lost = (await _dead(arena).list(campaign.uid))[0].item_id
    await arena.host.database.execute("DELETE FROM dead WHERE uid = $1 AND item_id = $2", campaign.uid, lost)
    outcome = command(settings, "audit", "audited", "--json")
    assert outcome.returncode == 1
    said = json.loads(outcome.stdout)
    first = {violation["fault"]: violation["first"] for violation in said["violations"]}
    assert said["state"] == "violated"
    assert first == {"lost": [lost], "human-overwritten": [human.id], "merged-unreviewed": [human.id]}


def _dead(arena: System) -> DeadRecords:
    return DeadRecords(database=arena.host.database, stream=arena.host.stream, clock=arena.host.clock)


async def test_audit_embedded_with_replayed_purged_and_waiting_items(tmp_path: Path) -> None:
    files = {"stream": f"sqlite:///{tmp_path}/stream.db", "database": f"sqlite:///{tmp_path}/actlabel.db"}
    settings = make_settings(tmp_path, **files)
    recording = synthetic(tmp_path, ITEMS)
    async with (
        Standin(RecordedAnswers.load(recording.answers), Faults(nonsense=0.3, seed=3)) as model,
        one_process(tmp_path, settings) as arena,
    ):
        campaign = await arena.apply("audited", model.endpoint, sampler__budget=30)
        await arena.ingest(campaign, recording.items, seal=False)

        async def waits_for_a_seal() -> bool:
            return not (await arena.progress(campaign)).moving()

        await eventually(waits_for_a_seal, what="all critiqued")
        unsealed = await audited(arena, campaign)
        assert unsealed.violations == []
        assert set(unsealed.in_flight) == {"draw"}
        moving = command(settings, "audit", "audited")
        assert (moving.returncode, "waits for a seal or a draw" in moving.stdout) == (3, True), moving.stdout + moving.stderr

        dead = [one.item_id for one in await _dead(arena).list(campaign.uid)]
        assert len(dead) >= 4
        await _dead(arena).purge(campaign.uid, Choice(item_ids=dead[:2]))
        await _dead(arena).replay(campaign.uid, Choice(item_ids=dead[2:]))
        await arena.host.campaigns.seal(campaign.uid)
        await arena.at_rest(campaign, reviewed=False)
        rest = await audited(arena, campaign)
        assert (rest.violations, rest.in_flight, rest.in_review, rest.purged) == ([], {}, 30, 2)
        assert rest.merged + rest.in_review + rest.dead == rest.registered == ITEMS
        assert sum(line.replayed for line in rest.topics) == len(dead) - 2
