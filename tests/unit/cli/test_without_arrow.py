"""The image of the services has no Arrow: every command loads without it, and those that need it say so."""

import subprocess
import sys
from pathlib import Path

_BLOCKED = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"pyarrow", "torch", "ray", "sklearn", "matplotlib", "pandas"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Blocked())
"""


def _run(code: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, "-c", _BLOCKED + code, *arguments], capture_output=True, text=True, check=False)


def test_every_command_loads_without_what_only_the_training_image_has():
    done = _run("from actlabel.cli.app import main; main()", "serve", "--help")
    assert done.returncode == 0, done.stderr
    assert "review-gateway" in done.stdout


def test_a_parquet_file_is_refused_with_one_line(tmp_path: Path):
    code = "from pathlib import Path; from actlabel.intake.rows import read_rows\nlist(read_rows(Path(sys.argv[1])))"
    (tmp_path / "x.parquet").touch()
    done = _run(code, str(tmp_path / "x.parquet"))
    assert "UserError" in done.stderr.splitlines()[-1]
    assert "x.parquet: Parquet needs pyarrow, which is not here: use the training image, or pip install pyarrow" in done.stderr
