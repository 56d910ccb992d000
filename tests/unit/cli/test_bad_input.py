"""A user's mistake ends with one clear line, exit code 2 and nothing half-written; never with a traceback."""

import subprocess
import sys
from pathlib import Path

import pytest

from actlabel.cli.app import main

CAMPAIGN = """
name: birds
task: {question: "Which?", labels: [bird, plane]}
annotator: {endpoint: "http://127.0.0.1:9/v1", model: m}
criticizer: {endpoint: "http://127.0.0.1:9/v1", model: m}
sampler: {budget: 10}
spend_cap_usd: 1
partitions: 2
"""


class Shell:
    """Types commands into a fresh embedded system."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self._patch, self._capsys = folder, monkeypatch, capsys
        self.set("STREAM", f"sqlite:///{folder}/stream.db")
        self.set("DATABASE", f"sqlite:///{folder}/actlabel.db")
        self.set("STORAGE", str(folder / "storage"))

    def set(self, name: str, value: str) -> None:
        self._patch.setenv(f"ACTLABEL_{name}", value)

    def file(self, name: str, text: str) -> str:
        (self.folder / name).write_text(text)
        return str(self.folder / name)

    def run(self, *words: str) -> tuple[int, str, str]:
        """Return exit code, output and errors."""
        self._patch.setattr(sys, "argv", ["actlabel", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        said = self._capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    def fails(self, *words: str) -> str:
        """Run what must fail as a user's mistake does, and return its message."""
        code, _, errors = self.run(*words)
        assert code == 2, errors
        assert "Traceback" not in errors
        return errors


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(tmp_path, monkeypatch, capsys)


def test_a_campaign_from_apply_to_delete(shell: Shell) -> None:
    assert "birds: version 1" in shell.run("campaign", "apply", shell.file("c.yaml", CAMPAIGN))[1]
    assert "birds: version 1" in shell.run("campaign", "apply", shell.file("c.yaml", CAMPAIGN))[1]  # the same is no new version
    assert "birds: version 2" in shell.run("campaign", "apply", shell.file("c.yaml", CAMPAIGN + "seed: 2\n"))[1]
    data = shell.file("d.jsonl", '{"id": "1", "text": "x"}\n')
    assert "1 new, 0 known" in shell.run("ingest", "birds", data)[1]
    assert "0 new, 1 known" in shell.run("ingest", "birds", data, "--seal")[1]
    assert "batch 1 is sealed with 1 items" in shell.run("campaign", "show", "birds")[1]
    assert "birds" in shell.run("campaign", "list")[1]
    assert "registered 1" in shell.run("watch", "birds", "--once")[1]
    assert "deleted" in shell.run("campaign", "delete", "birds", "--yes")[1]
    assert "does not exist" in shell.fails("campaign", "show", "birds")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("campaign", "show", "nobody"), "campaign 'nobody' does not exist; `actlabel campaign list` names"),
        (("ingest", "nobody", "x.jsonl"), "campaign 'nobody' does not exist"),
        (("campaign", "apply", "none.yaml"), "none.yaml: cannot be read"),
        (("export", "nobody", "--out", "x"), "campaign 'nobody' does not exist"),
        (("export", "nobody", "--out", "x", "--follow", "--format", "jsonl"), "campaign 'nobody' does not exist"),
        (("export", "nobody", "--out", "x", "--follow", "--format", "csv"), "--format: csv cannot be followed"),
        (("train", "nobody", "--out", "x"), "campaign 'nobody' does not exist"),
        (("report", "nobody", "--out", "x.html"), "campaign 'nobody' does not exist"),
        (("standin", "--answers", "none.jsonl"), "none.jsonl: cannot be read"),
    ],
)
def test_what_is_not_there(shell: Shell, words: tuple[str, ...], message: str) -> None:
    assert message in shell.fails(*words)


@pytest.mark.parametrize(
    ("text", "message"),
    [("name: [", "c.yaml:1: not valid YAML"), (CAMPAIGN.replace("sampler: {budget: 10}", ""), "c.yaml: sampler: is missing")],
)
def test_a_broken_campaign_file(shell: Shell, text: str, message: str) -> None:
    assert message in shell.fails("campaign", "apply", shell.file("c.yaml", text))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "d.jsonl:1: is not JSON"),
        ("", "d.jsonl: holds no records"),
        ('{"id": "1", "text": "x"}\n{"id": "1", "text": "y"}\n', "d.jsonl:2: id '1' came with other content"),
        ('{"id": "1", "image": "c.yaml"}', "d.jsonl:1: image: is no image"),
        ('{"id": "1", "text": "x", "more": "\\ud800"}', "d.jsonl:1: a field beside the content is not valid Unicode"),
    ],
)
def test_broken_data(shell: Shell, text: str, message: str) -> None:
    shell.run("campaign", "apply", shell.file("c.yaml", CAMPAIGN))
    assert message in shell.fails("ingest", "birds", shell.file("d.jsonl", text))
    assert "registered 0" in shell.run("watch", "birds", "--once")[1]


def test_the_same_id_with_other_content(shell: Shell) -> None:
    shell.run("campaign", "apply", shell.file("c.yaml", CAMPAIGN))
    shell.run("ingest", "birds", shell.file("d.jsonl", '{"id": "1", "text": "x"}'))
    assert "d.jsonl:1: id '1' is registered with other content" in shell.fails(
        "ingest", "birds", shell.file("d.jsonl", '{"id": "1", "text": "y"}')
    )


def test_a_folder_of_somebody_else_is_not_followed_into(shell: Shell) -> None:
    shell.run("campaign", "apply", shell.file("c.yaml", CAMPAIGN + "mirror: {}\n"))
    message = shell.fails("export", "birds", "--follow", "--format", "jsonl", "--out", str(shell.folder))
    assert "is there and no followed export; name another place" in message


def test_partitions_are_fixed_at_the_first_apply(shell: Shell) -> None:
    shell.run("campaign", "apply", shell.file("c.yaml", CAMPAIGN))
    changed = shell.file("c.yaml", CAMPAIGN.replace("partitions: 2", "partitions: 3"))
    assert "birds: partitions: is 2 since the first apply" in shell.fails("campaign", "apply", changed)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("STREAM", "redis://x", "ACTLABEL_STREAM"),
        ("DATABASE", "mysql://x", "ACTLABEL_DATABASE: 'mysql://x' is neither"),
        ("DATABASE", "postgresql://nobody@127.0.0.1:9/none", "PostgreSQL"),
        ("DATABASE", "sqlite:////proc/none/x.db", "ACTLABEL_DATABASE"),
        ("STORAGE", "nofs://x", "ACTLABEL_STORAGE"),
        ("CALLS_IN_FLIGHT", "0", "ACTLABEL_CALLS_IN_FLIGHT"),
        ("REVIEW_PORT", "http", "ACTLABEL_REVIEW_PORT"),
    ],
)
def test_settings_that_cannot_be_used(shell: Shell, name: str, value: str, message: str) -> None:
    shell.run("campaign", "apply", shell.file("c.yaml", CAMPAIGN))
    shell.set(name, value)
    assert message in shell.fails("ingest", "birds", shell.file("d.jsonl", '{"id": "1", "text": "x"}'))


def test_a_broker_that_is_not_there(shell: Shell) -> None:
    shell.set("STREAM", "kafka://127.0.0.1:9")
    message = shell.fails("campaign", "list")
    assert "127.0.0.1:9" in message
    assert "ACTLABEL_STREAM" in message


def test_stages_on_kafka_with_a_sqlite_database(shell: Shell) -> None:
    shell.set("STREAM", "kafka://127.0.0.1:9")
    assert "ACTLABEL_DATABASE must be postgresql://" in shell.fails("serve", "annotator")


def test_a_second_process_on_the_same_files(shell: Shell, free_port: int) -> None:
    shell.set("REVIEW_PORT", str(free_port))
    with subprocess.Popen([sys.executable, "-m", "actlabel", "serve", "annotator"], stderr=subprocess.PIPE, text=True) as first:
        assert first.stderr is not None
        next(line for line in first.stderr if "process is up" in line)
        message = shell.fails("up")
        first.terminate()
        first.stderr.read()
    assert str(first.pid) in message
    assert "stream.db" in message


def test_only_stages_that_call_models_and_only_on_kafka_have_a_campaign_for_themselves(shell: Shell) -> None:
    shell.run("campaign", "apply", shell.file("c.yaml", CAMPAIGN))
    assert "only annotator and criticizer can work for one alone, and only on Kafka" in shell.fails(
        "serve", "annotator", "--campaign", "birds"
    )
    assert "dedicate campaigns on Kafka" in shell.fails("campaign", "dedicate", "birds", "annotator")
    assert "'sampler' works for all campaigns together" in shell.fails("campaign", "dedicate", "birds", "sampler")
    shell.set("STREAM", "kafka://127.0.0.1:1")
    shell.set("DATABASE", "postgresql://nobody@127.0.0.1:1/nothing")
    assert "only annotator and criticizer" in shell.fails("serve", "sampler", "--campaign", "birds")


def test_a_stage_on_embedded_files_ends_with_what_is_wrong(shell: Shell) -> None:
    shell.set("SECRET_KEY_FILE", str(shell.folder / "nothing"))
    assert "ACTLABEL_SECRET_KEY_FILE" in shell.fails("serve", "sampler")


def test_a_stage_on_kafka_with_a_wrong_address_ends_with_it(shell: Shell) -> None:
    shell.set("DATABASE", "postgresql://nobody@127.0.0.1:1/nothing")
    shell.set("STREAM", "kafka://nothing")
    assert "is not host:port" in shell.fails("serve", "annotator")
