"""The committed stubs are what the .proto files say."""

import runpy
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
COMMITTED = ROOT / "services/actlabel/contracts/v1"


@pytest.fixture(scope="module")
def regenerated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("stubs")
    arguments, sys.argv = sys.argv, ["generate.py", str(output)]
    try:
        runpy.run_path(str(ROOT / "proto/generate.py"), run_name="__main__")
    finally:
        sys.argv = arguments
    return output / "actlabel/contracts/v1"


def test_committed_stubs_equal_regenerated_ones(regenerated: Path) -> None:
    fresh = {path.name: path.read_text() for path in regenerated.glob("*_pb2*")}
    committed = {path.name: path.read_text() for path in COMMITTED.glob("*_pb2*")}
    assert sorted(fresh) == sorted(committed)
    assert [name for name in fresh if fresh[name] != committed[name]] == [], "run: python proto/generate.py"
