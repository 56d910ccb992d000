"""The demo's folder is its own, or it is left alone."""

import stat

import pytest

from actlabel.core.errors import UserError
from actlabel.demo.workspace import fresh


def test_a_second_run_cleans_the_first_and_nothing_else(tmp_path):
    workspace = fresh(tmp_path / "demo")
    (workspace.root / "dataset").mkdir()
    (workspace.root / "dataset" / "old.parquet").touch()
    (workspace.root / "notes.txt").write_text("mine")
    again = fresh(tmp_path / "demo")
    assert not (again.root / "dataset").exists()
    assert (again.root / "notes.txt").read_text() == "mine"


def test_the_token_is_new_at_every_run_and_nobody_elses(tmp_path):
    first = fresh(tmp_path / "demo").token_file.read_text()
    workspace = fresh(tmp_path / "demo")
    assert len(first) >= 32
    assert workspace.token_file.read_text() != first
    assert stat.S_IMODE(workspace.token_file.stat().st_mode) == 0o600


def test_a_seed_repeats_its_draw_and_another_does_not(tmp_path):
    keys = [fresh(tmp_path / "demo", seed=seed).key_file.read_text() for seed in (1, 1, 2)]
    assert keys[0] == keys[1] != keys[2]


@pytest.mark.parametrize("make", ["folder", "file"])
def test_what_the_demo_did_not_make_is_left_alone(tmp_path, make):
    out = tmp_path / "mine"
    if make == "folder":
        out.mkdir()
        (out / "dataset").touch()
    else:
        out.write_text("precious")
    with pytest.raises(UserError, match="--out"):
        fresh(out)
    assert out.exists()


def test_an_empty_folder_is_taken(tmp_path):
    assert fresh(tmp_path).state.is_dir()


def test_settings_stay_inside_the_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("ACTLABEL_STREAM", "kafka://elsewhere:9092")
    workspace = fresh(tmp_path / "demo")
    settings = workspace.settings(review_port=0)
    assert settings.stream == f"sqlite:///{workspace.state / 'stream.db'}"
    assert settings.database.startswith(f"sqlite:///{workspace.root}")
