"""The main job as a newcomer runs it: the command itself, in an empty folder, and what it promised."""

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from actlabel.dataset.export import verify

PROMISED_COLUMNS = {
    *("id", "image", "label", "label_source", "model_label", "p_error", "pi", "sampled", "annotator_model", "critic_model"),
    *("campaign_version", "cost_usd", "created_at", "reviewed_at"),
}
PROMISED_FIELDS = {
    *("items", "merged", "in_review", "dead", "reviews", "budget", "machine_accuracy", "merged_accuracy", "error_recall"),
    *("random_error_recall", "cost_usd", "seconds", "accuracy_interval", "models"),
}
COMMAND = (sys.executable, "-m", "actlabel", "demo")


def run(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ACTLABEL_")}
    return subprocess.run([*COMMAND, *options], cwd=folder, env=environment, capture_output=True, text=True, timeout=540, check=False)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """The whole demo on its default path, once."""
    folder = tmp_path_factory.mktemp("newcomer")
    done = run(folder)
    assert done.returncode == 0, done.stderr[-4000:]
    return folder / "actlabel-demo", done


@pytest.fixture(scope="module")
def summary(demo) -> dict[str, object]:
    return json.loads((demo[0] / "summary.json").read_text())


@pytest.mark.ray
def test_summary_has_the_promised_fields_and_a_balanced_ledger(summary):
    assert summary.keys() >= PROMISED_FIELDS
    assert summary["items"] == 1217
    assert summary["items"] == summary["merged"] + summary["in_review"] + summary["dead"]
    assert summary["in_review"] == summary["dead"] == 0
    assert summary["reviews"] == summary["budget"] == 243
    assert summary["cost_usd"] > 0


@pytest.mark.ray
def test_doubt_finds_more_errors_than_chance_and_labels_get_better(summary):
    assert summary["random_error_recall"] == pytest.approx(243 / 1217)
    assert summary["error_recall"] > summary["random_error_recall"]
    assert summary["error_recall_difference"]["low"] > 0
    assert 0.78 < summary["machine_accuracy"] < 0.9
    assert summary["merged_accuracy"] > summary["machine_accuracy"]
    interval = summary["accuracy_interval"]
    assert interval["low"] <= summary["merged_accuracy"] <= interval["high"]


@pytest.mark.ray
def test_act_stands_beside_its_baselines_with_intervals(summary):
    models = summary["models"]
    assert models.keys() >= {"act", "human-only", "machine-only", "merged-ce", "random-review"}
    for name, model in models.items():
        assert 0 < model["low"] < model["accuracy"] < model["high"] < 1, name
    assert models["act"]["accuracy"] > 0.8


@pytest.mark.ray
def test_the_dataset_has_the_promised_columns_and_says_the_same(demo, summary):
    folder = demo[0] / "dataset"
    verify(folder)
    table = pq.read_table(sorted(folder.glob("*.parquet")))
    assert set(table.column_names) >= PROMISED_COLUMNS
    rows = table.to_pylist()
    assert len({row["id"] for row in rows}) == len(rows) == summary["merged"]
    human = [row for row in rows if row["label_source"] == "human"]
    assert len(human) == summary["reviews"] == sum(row["sampled"] for row in rows)
    assert all(row["reviewed_at"] is not None for row in human)
    assert all(row["label"] == row["model_label"] for row in rows if row["label_source"] == "model")
    assert all(0 < row["pi"] <= 1 for row in rows)
    truth = {line["id"]: line["label"] for line in map(json.loads, (demo[0] / "images" / "metadata.jsonl").read_text().splitlines())}
    assert all(row["label"] == truth[row["id"]] for row in human)
    right = sum(row["label"] == truth[row["id"]] for row in rows) / len(rows)
    assert right == pytest.approx(summary["merged_accuracy"])


@pytest.mark.ray
def test_the_report_is_one_page_that_states_the_splits(demo, summary):
    page = (demo[0] / "report.html").read_text()
    assert page.lstrip().lower().startswith("<!doctype html>")
    assert "<svg" in page
    assert not re.findall(r"""(?:src|href)=["']https?://""", page), "the page loads nothing from elsewhere"
    assert summary["splits"].keys() == {"annotator", "critic", "test", "campaign"}
    for part in summary["splits"].values():
        assert part["sha256"] in page
        assert f">{part['items']}<" in page


@pytest.mark.ray
def test_first_labels_and_paths_are_on_the_screen(demo):
    folder, done = demo
    assert re.search(r"digit-\d{4}: labelled \d, wrong with probability 0?\.\d\d", done.stderr)
    assert "annotator 1217/1217" in done.stderr
    for name in ("dataset", "report.html", "summary.json"):
        assert str(folder / name) in done.stdout


@pytest.mark.ray
def test_serve_leaves_a_page_with_items_waiting(tmp_path):
    options = ["--items", "150", "--budget", "60", "--serve"]
    with subprocess.Popen([*COMMAND, *options], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        said = "".join(_until(process, "Ctrl-C"))
        address = re.search(r"http://127\.0\.0\.1:\d+", said)[0]
        token = Path(re.search(r"token: (\S+)", said)[1]).read_text().strip()
        request = urllib.request.Request(f"{address}/api/v1/campaigns", headers={"Authorization": f"Bearer {token}"})
        with urllib.request.urlopen(request, timeout=10) as response:
            campaigns = {campaign["name"]: campaign for campaign in json.load(response)["campaigns"]}
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 0
    assert "digits-to-try" in campaigns
    assert json.loads((tmp_path / "actlabel-demo" / "summary.json").read_text())["in_review"] == 0


def _until(process: subprocess.Popen[str], word: str) -> Iterator[str]:
    for line in process.stdout:
        yield line
        if word in line:
            return
    raise AssertionError(f"the demo ended with {process.wait()} before it said {word!r}")


def test_a_folder_of_somebody_else_is_left_alone(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("precious")
    done = run(tmp_path, "--out", "mine")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "--out" in done.stderr
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.txt"]


def test_an_unusable_budget_is_named_before_anything_starts(tmp_path):
    done = run(tmp_path, "--budget", "many")
    assert done.returncode == 2
    assert "sampler.budget" in done.stderr
    assert "Traceback" not in done.stderr
