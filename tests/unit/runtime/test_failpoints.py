"""Every failpoint is declared once and stands at one place; an armed one strikes at its passing and nowhere else."""

import ast
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

import actlabel
from actlabel.core.errors import UserError
from actlabel.runtime import failpoints
from actlabel.runtime.failpoints import POINTS, arm, failpoint

_SERVICES = Path(actlabel.__file__).parent
_PASS = """
import sys
from actlabel.runtime.failpoints import arm, failpoint
from actlabel.runtime.log import configure_logs
configure_logs(level="info", json=True)
arm(sys.argv[1])
for number in range(5):
    failpoint("result.stored")
    failpoint("result.called")
    print(number, flush=True)
"""


def placed() -> Counter[str]:
    """The names at the call sites, as literals; a call without one would raise here."""
    names: Counter[str] = Counter()
    for file in _SERVICES.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "failpoint":
                names[ast.literal_eval(node.args[0])] += 1
    return names


def test_every_point_is_declared_and_stands_at_one_place() -> None:
    assert placed() == Counter(POINTS.keys())


def passings(text: str) -> tuple[int, list[str]]:
    done = subprocess.run([sys.executable, "-c", _PASS, text], capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout.split()


@pytest.mark.parametrize(
    ("text", "passed"),
    [
        ("result.called", []),
        ("result.called:3", ["0", "1"]),
        ("result.called:3:kill", ["0", "1"]),
        ("result.called:kill", []),
    ],
)
def test_the_process_dies_at_its_passing(text: str, passed: list[str]) -> None:
    assert passings(text) == (-9, passed)


def test_another_point_does_not_strike() -> None:
    assert passings("record.marked") == (0, ["0", "1", "2", "3", "4"])


def test_unarmed_nothing_strikes() -> None:
    arm(None)
    for name in POINTS:
        failpoint(name)
    assert failpoints._armed is None


@pytest.mark.parametrize(
    "text", ["result.caled", "", "result.called:0", "result.called:-1", "result.called:x", "result.called:1:kill:more"]
)
def test_what_is_no_failpoint_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="ACTLABEL_FAILPOINT"):
        arm(text)


def test_a_process_does_not_start_with_a_failpoint_that_does_not_exist(tmp_path: Path) -> None:
    environment = {"ACTLABEL_FAILPOINT": "result.caled", "PYTHONPATH": str(_SERVICES.parent), "PATH": ""}
    command = [sys.executable, "-m", "actlabel", "serve", "sampler"]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("actlabel: ACTLABEL_FAILPOINT: there is no failpoint 'result.caled'")
    assert list(tmp_path.iterdir()) == []
