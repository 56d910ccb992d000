"""``actlabel export`` and ``actlabel train`` as a person types them, on the embedded defaults."""

import asyncio
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from actlabel.core import topics
from actlabel.host.host import open_host
from actlabel.runtime.settings import Settings
from actlabel.stream.port import TopicSettings
from tests.services.dashboard_queries import dashboard_queries, filled_in
from tests.services.prometheus_server import PrometheusServer
from tests.unit.trainer import digit_campaign


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a campaign whose items are all merged, and one without items."""
    folder = tmp_path_factory.mktemp("home")
    asyncio.run(_fill(folder))
    return folder


async def _fill(folder: Path) -> None:
    settings = Settings(
        stream=f"sqlite:///{folder}/.actlabel/stream.db", database=f"sqlite:///{folder}/.actlabel/actlabel.db", storage=f"{folder}/storage"
    )
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


@pytest.mark.ray
def test_train_ends_with_a_table_and_files_and_the_dashboard_has_seen_it(home: Path, prometheus: PrometheusServer, free_port: int) -> None:
    prometheus.scrape({"train": free_port})
    begun_s, words = time.time(), ("--loss", "act", "--loss", "merged-ce", "--epochs", "60")
    done = _actlabel(home, "train", "digits", "--out", "trained", *words, ACTLABEL_HTTP_PORT=str(free_port))
    assert done.returncode == 0, done.stderr
    for query in dashboard_queries("actlabel-training"):
        assert prometheus.over(filled_in(query.expr, rate="5s"), begun_s, time.time(), 0.5), f"no data for {query.where}"
    assert "act" in done.stdout
    assert "best on held-out human labels" in done.stdout
    results = json.loads((home / "trained" / "results.json").read_text())
    assert [model["name"] for model in results["models"]] == ["act", "merged-ce"]
    assert results["snapshot"]["items"] == 200
    assert results["snapshot"]["manifest"]["ranges"]
    again = _actlabel(home, "train", "digits", "--out", "trained")
    assert again.returncode == 2
