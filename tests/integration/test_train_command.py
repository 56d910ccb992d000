"""``actlabel export``, ``train`` and ``serve model`` as a person types them, on the embedded defaults: the loop closes."""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from actlabel.annotator.main import run as run_annotator
from actlabel.classifiers.contents import Content
from actlabel.classifiers.stored import StoredModel, load_model
from actlabel.contracts.v1.item_pb2 import Item
from actlabel.core import topics
from actlabel.criticizer.main import run as run_criticizer
from actlabel.host.campaign_life import apply_campaign
from actlabel.host.host import Host, open_host
from actlabel.intake.fields import Fields
from actlabel.intake.ingest import ingest
from actlabel.review_gateway.entries import statements
from actlabel.runtime.campaign_file import CampaignFile
from actlabel.runtime.campaigns import Campaign
from actlabel.runtime.settings import Settings
from actlabel.sampler.main import run as run_sampler
from actlabel.stream.port import TopicSettings
from tests.acceptance.fleet import eventually
from tests.services.dashboard_queries import ALERTS, dashboard_queries, filled_in
from tests.services.processes import free_port, listens, start, wait_until
from tests.services.prometheus_server import PrometheusServer
from tests.unit.trainer import digit_campaign


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a campaign whose items are all merged, and one without items."""
    folder = tmp_path_factory.mktemp("home")
    asyncio.run(_fill(folder))
    return folder


def _settings(folder: Path) -> Settings:
    state = folder / ".actlabel"
    return Settings(
        stream=f"sqlite:///{state}/stream.db", database=f"sqlite:///{state}/actlabel.db", storage=f"{state}/storage", session_timeout_s=6.0
    )


async def _fill(folder: Path) -> None:
    settings = _settings(folder)
    items = digit_campaign.records(digit_campaign.digits(items=200, budget=60))
    async with open_host(settings, runs_stages=False) as host:
        file = digit_campaign.campaign().file
        empty = await host.campaigns.apply(file.model_copy(update={"name": "empty"}))
        made = await host.campaigns.apply(file)
        for campaign in (empty, made):
            merged = topics.topic(topics.MERGED, campaign.uid)
            await host.stream.create_topics({merged: TopicSettings(partitions=file.partitions, compacted=True)})
        for item in items:
            item.campaign.uid = made.uid
            host.stream.producer().send(topics.topic(topics.MERGED, made.uid), key=item.id.encode(), value=item.SerializeToString())
        await host.stream.producer().flush()
        await _answer(host, made.uid, [item for item in items if item.HasField("review")])


async def _answer(host: Host, uid: str, items: list[Item]) -> None:
    """Leave the rows that the review gateway leaves behind answers it has published."""
    sql = statements()
    async with host.database.transaction() as session:
        for order, item in enumerate(items):
            await session.execute(sql["insert_entry"], uid, item.id, 1, 1, item.SerializeToString(), order, "answered")
            await session.execute("UPDATE review SET revision = 1, published_revision = 1 WHERE uid = $1 AND item_id = $2", uid, item.id)


def _actlabel(home: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "actlabel", *words]
    environment = {**os.environ, **environment}
    return subprocess.run(command, cwd=home, env=environment, capture_output=True, text=True, timeout=300, check=False)


def test_export_writes_the_data_set_once(home: Path) -> None:
    done = _actlabel(home, "export", "digits", "--out", "dataset")
    assert done.returncode == 0, done.stderr
    assert "200 items, 60 of them labelled by people" in done.stdout
    assert pq.read_table(sorted((home / "dataset").glob("*.parquet"))).num_rows == 200
    again = _actlabel(home, "export", "digits", "--out", "dataset")
    assert (again.returncode, again.stderr.strip()) == (2, "actlabel: dataset: is already there; name another place, or remove it first")


@pytest.mark.parametrize("form", ["jsonl", "csv"])
def test_export_knows_plain_formats(home: Path, form: str) -> None:
    done = _actlabel(home, "export", "digits", "--format", form, "--out", form)
    assert done.returncode == 0, done.stderr
    assert (home / form / f"dataset.{form}").stat().st_size > 0
    assert len(list((home / form / "images").iterdir())) > 100


# what a person may get wrong, and the one line that says so
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("export", "nobody", "--out", "x"), "campaign 'nobody' does not exist"),
        (("export", "empty", "--out", "x"), "campaign 'empty' has no merged items yet"),
        (("train", "empty", "--out", "x"), "campaign 'empty' has no merged items yet"),
        (("train", "digits", "--out", "x", "--when", "often"), "--when: 'often' is not like '500 reviews or 24h'"),
        (("train", "digits", "--out", "x", "--register-as", "A B"), "'A B' cannot be a model's name"),
        (("model", "show", "nobody"), "no model 'nobody' is registered"),
        (("model", "pin", "x y"), "'x y' names no model"),
        (("train", "digits", "--out", "x", "--loss", "magic"), "--loss: 'magic' is not one of act"),
        (("train", "digits", "--out", "x", "--workers", "many"), "--workers: 'many' is neither a number"),
        (("train", "digits", "--out", "x", "--model", "ngrams"), "--model ngrams: the items have no text"),
        (("train", "digits", "--out", "x", "--test", "nowhere.jsonl"), "nowhere.jsonl: there is no such test set"),
        (("train", "digits", "--out", "x", "--loss", "act-ce"), "so that cross-entropy has no lower bound"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(home: Path, words: tuple[str, ...], message: str) -> None:
    done = _actlabel(home, *words)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not [path for path in (home / "x").rglob("*") if path.is_file()]


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrometheusServer]:
    """One for all tests of this file."""
    server = PrometheusServer(tmp_path_factory.mktemp("prometheus"), rules=ALERTS)
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def trained(home: Path, prometheus: PrometheusServer) -> subprocess.CompletedProcess[str]:
    """A round that is due by its reviews; Ray starts once for every test below."""
    words = (
        "--out",
        "trained",
        "--loss",
        "act",
        "--loss",
        "merged-ce",
        "--epochs",
        "60",
        "--when",
        "50 reviews or 24h",
        "--through-storage",
    )
    port = free_port()
    prometheus.scrape({"train": port})
    done = _actlabel(home, "train", "digits", *words, ACTLABEL_HTTP_PORT=str(port))
    assert done.returncode == 0, done.stderr
    return done


@pytest.mark.ray
def test_train_ends_with_a_table_and_files(home: Path, trained: subprocess.CompletedProcess[str]) -> None:
    assert "act" in trained.stdout
    assert "best on held-out human labels" in trained.stdout
    results = json.loads((_round(home) / "results.json").read_text())
    assert [model["name"] for model in results["models"]] == ["act", "merged-ce"]
    assert results["snapshot"]["items"] == 200
    assert results["snapshot"]["manifest"]["ranges"]
    again = _actlabel(home, "train", "digits", "--out", str(_round(home)))
    assert again.returncode == 2


@pytest.mark.ray
def test_the_training_dashboard_has_seen_it(trained: subprocess.CompletedProcess[str], prometheus: PrometheusServer) -> None:
    now_s = time.time()
    for query in dashboard_queries("actlabel-training"):
        assert prometheus.over(filled_in(query.expr, rate="5s"), now_s - 300, now_s, 0.5), f"no data for {query.where}"


@pytest.mark.ray
def test_a_round_is_registered_and_the_next_is_not_due(home: Path, trained: subprocess.CompletedProcess[str]) -> None:
    assert "registered as digits@1 " in trained.stdout
    listed = _actlabel(home, "model", "list")
    assert "digits@1" in listed.stdout
    shown = json.loads(_actlabel(home, "model", "show", "digits").stdout)
    results = json.loads((_round(home) / "results.json").read_text())
    assert shown["snapshot"]["sha256"] == results["snapshot"]["sha256"]
    assert (shown["snapshot"]["human"], shown["snapshot"]["draws"], shown["answers"]) == (60, {"1": 200}, 60)
    assert shown["metrics"]["name"] == results["selected"]
    assert 0 <= shown["metrics"]["low"] <= shown["metrics"]["test_accuracy"] <= shown["metrics"]["high"] <= 1
    assert (shown["campaign"]["name"], shown["campaign"]["version"]) == ("digits", 1)
    assert len(shown["config_sha256"]) == len(shown["code_sha256"]) == 64
    assert {"python", "torch", "ray", "safetensors"} <= set(shown["versions"])
    stored = {path.name for path in (home / ".actlabel" / "storage" / "models" / shown["digest"]).iterdir()}
    assert stored == {"model.safetensors", "config.json", "labels.json", "manifest.json", "model_card.json", "metrics.jsonl"}
    again = _actlabel(home, "train", "digits", "--out", "trained", "--when", "50 reviews or 24h")
    assert (again.returncode, again.stderr.strip()) == (0, "")
    assert "digits: no round is due: 0 new answers of 50, 0.0 h of 24.0 since digits@1" in again.stdout


@pytest.mark.ray
async def test_the_model_annotates_and_criticizes_a_second_campaign(home: Path, trained: subprocess.CompletedProcess[str]) -> None:
    images = digit_campaign.write_test_folder(home / "second", items=40)
    port, log = free_port(), home / "model.log"
    server = start([sys.executable, "-m", "actlabel", "serve", "model"], log=log, environment=_environment(home, port))
    try:
        wait_until(lambda: listens(port), process=server, timeout_s=90, name="the model server", log=log)
        async with open_host(_settings(home), runs_stages=True) as host:
            campaign = await apply_campaign(host, _second(f"http://127.0.0.1:{port}/v1"))
            await ingest(host.register(campaign), images, Fields(), progress=lambda *_: None)
            await host.campaigns.seal(campaign.uid)
            stages = [asyncio.create_task(run(host, serve_grpc=False)) for run in (run_annotator, run_criticizer, run_sampler)]
            await eventually(lambda: _decided(host, campaign.uid, 40), what="40 decided items", within_s=90)
            host.stop.set()
            await asyncio.gather(*stages)
            items = [item async for item in _critiqued(host, campaign)]
    finally:
        server.terminate()
        server.wait(60)
    assert server.returncode == 0, log.read_text()
    model = load_model(_round(home) / "models" / _chosen(home))
    assert len(items) == 40
    for item in items:
        chances = _chances(model, item.content.parts[0].media.inline)
        label = int(np.argmax(chances))
        assert (item.annotation.label, item.annotation.model) == (str(label), "digits@1")
        assert item.critique.error_probability == pytest.approx(1 - chances[label], abs=2e-6)
    right = sum(item.annotation.label == item.id.partition("/")[0] for item in items)
    assert right > 20, "it has learned something"


def _round(home: Path) -> Path:
    return next((home / "trained").glob("round-1-*"))


def _environment(home: Path, port: int) -> dict[str, str]:
    settings = _settings(home)
    places = {"ACTLABEL_DATABASE": settings.database, "ACTLABEL_STORAGE": settings.storage, "ACTLABEL_STREAM": "kafka://nobody:1"}
    return {**os.environ, **places, "ACTLABEL_MODEL_PORT": str(port)}


def _second(endpoint: str) -> CampaignFile:
    return CampaignFile.model_validate(
        {
            "name": "second",
            "task": {"question": "Which digit?", "labels": [str(digit) for digit in range(10)]},
            "annotator": {"endpoint": endpoint, "model": "digits@1"},
            "criticizer": {"endpoint": endpoint, "model": "digits", "strategy": "naive"},
            "sampler": {"budget": 20},
            "spend_cap_usd": 0,
            "partitions": 2,
        }
    )


async def _decided(host: Host, uid: str, items: int) -> bool:
    rows = await host.database.fetch("SELECT COUNT(*) AS n FROM decision WHERE uid = $1", uid)
    return bool(rows[0]["n"] == items)


async def _critiqued(host: Host, campaign: Campaign) -> AsyncIterator[Item]:
    for partition, end in (await host.stream.end_offsets(topics.topic(topics.CRITIQUED, campaign.uid))).items():
        async for batch in host.stream.scan(partition, start=0, end=end):
            for record in batch:
                yield Item.FromString(record.value)


def _chosen(home: Path) -> str:
    return str(json.loads((_round(home) / "results.json").read_text())["selected"])


def _chances(model: StoredModel, image: bytes) -> list[float]:
    batch = model.kind.collate([model.kind.row(Content("x", "", image))])
    with torch.no_grad():
        return torch.softmax(model.model(**batch).double(), dim=1)[0].tolist()
