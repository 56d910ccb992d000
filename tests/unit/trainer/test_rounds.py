"""Rounds of training without Ray: who may begin one, what an interrupted one leaves, and what its workers find in storage."""

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from actlabel.core import topics
from actlabel.core.errors import Fatal, UserError
from actlabel.host.host import Host, open_host
from actlabel.runtime.campaigns import Campaign
from actlabel.runtime.settings import Settings
from actlabel.stream.port import TopicSettings
from actlabel.trainer.job import TrainingProgress
from actlabel.trainer.loop import run
from actlabel.trainer.plan import TrainingPlan
from actlabel.trainer.prepare import open_prepared, prepare
from actlabel.trainer.provenance import made_with
from actlabel.trainer.ranks import SoloRanks
from actlabel.trainer.rounds import Rounds, Trained, in_its_own_folder, staging_address
from actlabel.trainer.schedule import parse_when
from actlabel.trainer.snapshot import make_snapshot, open_snapshot
from actlabel.trainer.staging import Staging, own_folder
from tests.unit.trainer import digit_campaign


@pytest.fixture(autouse=True)
def _own_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let what this machine keeps of a run lie in the test's folder."""
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))


@pytest.fixture
async def host(tmp_path: Path) -> AsyncIterator[Host]:
    """A host on embedded files with a campaign whose items are merged."""
    settings = Settings(
        stream=f"sqlite:///{tmp_path}/stream.db", database=f"sqlite:///{tmp_path}/actlabel.db", storage=str(tmp_path / "storage")
    )
    async with open_host(settings, runs_stages=False) as opened:
        yield opened


@pytest.fixture
async def campaign(host: Host) -> Campaign:
    made = await host.campaigns.apply(digit_campaign.campaign().file)
    merged = topics.topic(topics.MERGED, made.uid)
    await host.stream.create_topics({merged: TopicSettings(partitions=3, compacted=True)})
    for item in digit_campaign.records(digit_campaign.digits(items=90, budget=40)):
        item.campaign.uid = made.uid
        host.stream.producer().send(merged, key=item.id.encode(), value=item.SerializeToString())
    await host.stream.producer().flush()
    await _answers(host, made, 40)
    return made


async def _answers(host: Host, campaign: Campaign, published: int) -> None:
    """Leave one row of the review queue that has been answered so often."""
    await host.database.execute(
        "INSERT INTO review (uid, item_id, content_revision, draw, item, queue_order, state, revision, floor_revision, started_revision, "
        "published_revision, published_draw) VALUES ($1, 'x', 1, 1, $2, 0, 'answered', $3, 0, 0, $3, 1) "
        "ON CONFLICT (uid, item_id) DO UPDATE SET published_revision = EXCLUDED.published_revision",
        *(campaign.uid, b"", published),
    )


def _plan(tmp_path: Path, **changes: object) -> TrainingPlan:
    out = tmp_path / "out"
    plan = TrainingPlan(snapshot=out / "snapshot", out=out, losses=("merged-ce",), epochs=1)
    return replace(plan, **changes)  # type: ignore[arg-type]


async def _trained_without_ray(host: Host, campaign: Campaign, plan: TrainingPlan, *, answers: int) -> None:
    """Leave what a run leaves that was killed between its end and its registration."""
    await make_snapshot(host, campaign, plan.snapshot, lambda _done, _all: None)
    torch.set_num_threads(1)
    models = run(prepare(plan), SoloRanks())
    manifest = open_snapshot(plan.snapshot).manifest
    snapshot = {"sha256": manifest["sha256"], "campaign": manifest["campaign"], "human": 40}
    document = {"snapshot": snapshot, "models": models, "selected": models[0]["name"], "made_with": made_with(), "seconds": 1.0}
    (plan.out / "results.json").write_text(json.dumps(document))
    (plan.out / "answers.json").write_text(json.dumps(answers))


async def test_a_run_that_ended_before_it_was_registered_is_registered_and_not_trained_again(
    host: Host, campaign: Campaign, tmp_path: Path
) -> None:
    plan, rounds = _plan(tmp_path), Rounds(host, campaign)
    await _trained_without_ray(host, campaign, plan, answers=30)
    again = replace(plan, resume=True)
    told: list[TrainingProgress] = []
    done = await rounds.train(again, register_as="digits", on_progress=told.append)
    assert done.model is not None
    assert (done.model.reference, done.model.answers, told) == ("digits@1", 30, [])
    twice = await rounds.train(again, register_as="digits", on_progress=told.append)
    assert twice.model == done.model, "the same run is the same version"
    since = await rounds.since()
    assert (since.answers, since.last) == (10, "digits@1"), "what came after the snapshot counts for the next round"
    assert await rounds.number() == 2


async def test_one_process_trains_and_the_other_says_so(host: Host, campaign: Campaign) -> None:
    when = parse_when("10 reviews")
    async with open_host(host.settings, runs_stages=False) as beside:
        other = Rounds(beside, campaign)

        async def work() -> Trained:
            assert await other.when_due(when, _never) == "digits: another process is training; nothing to do"
            raise KeyError("mine")

        with pytest.raises(KeyError, match="mine"):
            await Rounds(host, campaign).when_due(when, work)
        with pytest.raises(AssertionError, match="not now"):  # the lock is free again
            await other.when_due(when, _never)


async def _never() -> Trained:
    raise AssertionError("not now")


async def test_no_round_is_due_without_answers_or_too_few(host: Host, campaign: Campaign) -> None:
    rounds = Rounds(host, campaign)
    said = await rounds.when_due(parse_when("41 reviews or 24h"), _never)
    assert said == "digits: no round is due: 40 new answers of 41, 0.0 h of 24.0 since the campaign began"
    await host.database.execute("UPDATE campaign SET created_at = created_at - 90000")
    with pytest.raises(AssertionError, match="not now"):
        await rounds.when_due(parse_when("41 reviews or 24h"), _never)
    await _answers(host, campaign, 0)
    assert "0 new answers of 41, 25.0 h of 24.0" in str(await rounds.when_due(parse_when("41 reviews or 24h"), _never))


async def test_a_round_goes_on_only_with_its_own_options(host: Host, campaign: Campaign, tmp_path: Path) -> None:
    plan = _plan(tmp_path, staging=staging_address(host, campaign))
    first = in_its_own_folder(plan, 1)
    assert not first.resume
    first.snapshot.mkdir(parents=True)
    assert in_its_own_folder(plan, 1).resume
    assert in_its_own_folder(replace(plan, workers=(2, 4)), 1).resume, "more workers are the same run"
    assert not in_its_own_folder(replace(plan, seed=1), 1).resume
    assert not in_its_own_folder(plan, 2).resume
    assert len({in_its_own_folder(replace(plan, seed=seed), 1).staging for seed in (0, 1)}) == 2


# ---- through storage ------------------------------------------------------------------------------------------------------------------


async def test_a_driver_and_its_workers_elsewhere_find_the_run_in_storage(host: Host, campaign: Campaign, tmp_path: Path) -> None:
    plan = in_its_own_folder(_plan(tmp_path, staging=staging_address(host, campaign)), 1)
    assert plan.staging is not None
    staging = Staging(plan.staging)
    await make_snapshot(host, campaign, plan.snapshot, lambda _done, _all: None)
    here = prepare(plan)
    staging.put_inputs(plan)
    staging.put_answers(12)
    with staging.on_this_machine(plan) as local, staging.on_this_machine(plan) as beside:
        assert local == beside, "one copy for the workers of a machine"
        there = open_prepared(local)
        assert not local.out.is_relative_to(tmp_path / "out")
        assert there.snapshot.sha256 == here.snapshot.sha256
        assert local.config_sha256 == plan.config_sha256
        torch.testing.assert_close(there.features().batch(there.train[:5]), here.features().batch(here.train[:5]))
        run(there, SoloRanks())
    assert not own_folder(plan.staging, made=False).exists()
    assert json.loads(staging.read_progress())["model"] == "merged-ce"
    staging.fetch_models(tmp_path / "fetched")
    assert (tmp_path / "fetched" / "models" / "merged-ce" / "model.safetensors").exists()
    # the driver's machine is lost with all it had
    again = in_its_own_folder(_plan(tmp_path / "elsewhere", staging=staging_address(host, campaign)), 1)
    assert again.resume
    assert await Rounds(host, campaign)._frozen(again, lambda _: None) == 12
    assert open_snapshot(again.snapshot).sha256 == here.snapshot.sha256
    staging.remove()
    assert not staging.has_inputs()
    with pytest.raises(Fatal, match="holds no inputs"), staging.on_this_machine(plan):
        pass


async def test_what_another_run_left_in_storage_is_never_taken_for_ours(host: Host, campaign: Campaign, tmp_path: Path) -> None:
    plan = _plan(tmp_path, staging=f"{tmp_path}/staging")
    await make_snapshot(host, campaign, plan.snapshot, lambda _done, _all: None)
    prepare(plan)
    staging = Staging(f"{tmp_path}/staging")
    staging.put_inputs(plan)
    with pytest.raises(UserError, match="holds an interrupted run; --resume it"):
        staging.put_inputs(plan)
    staging.put_inputs(replace(plan, resume=True))
    part = next(plan.snapshot.glob("part-*.parquet"))
    part.write_bytes(part.read_bytes() + b"\0")
    with pytest.raises(UserError, match="had another snapshot"):
        staging.put_inputs(replace(plan, resume=True))


async def test_inputs_that_were_changed_in_storage_are_refused(host: Host, campaign: Campaign, tmp_path: Path) -> None:
    plan = _plan(tmp_path, staging=f"{tmp_path}/staging")
    await make_snapshot(host, campaign, plan.snapshot, lambda _done, _all: None)
    prepare(plan)
    staging = Staging(f"{tmp_path}/staging")
    staging.put_inputs(plan)
    features = next((tmp_path / "staging" / "inputs" / "run" / "features").iterdir())
    features.write_bytes(b"\0" + features.read_bytes()[1:])
    with pytest.raises(UserError, match="is not the file that was stored there"), staging.on_this_machine(plan):
        pass


def test_a_folder_of_somebody_else_is_not_trusted(tmp_path: Path) -> None:
    own_folder("s3://x/y").rmdir()
    (tmp_path / "theirs").mkdir()
    own_folder("s3://x/y", made=False).symlink_to(tmp_path / "theirs")
    with pytest.raises(Fatal, match="belongs to somebody else"):
        own_folder("s3://x/y")
