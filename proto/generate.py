"""Regenerate the committed stubs: ``python proto/generate.py [OUTPUT_DIRECTORY]``.

Needs ``grpcio-tools`` (in the ``dev`` extra). Writes ``actlabel/contracts/v1/*_pb2*.py[i]`` under the output directory,
``services`` by default.
"""

import sys
from importlib.resources import files
from pathlib import Path

from grpc_tools import protoc

PROTO = Path(__file__).parent


def generate(output: Path) -> None:
    """Write the stubs of every .proto file under ``output``; raises SystemExit with protoc's message when it fails."""
    sources = sorted(str(path.relative_to(PROTO)) for path in PROTO.rglob("*.proto"))
    flags = [f"--{kind}_out={output}" for kind in ("python", "pyi", "grpc_python")]
    include = files("grpc_tools").joinpath("_proto")
    if protoc.main(["protoc", f"-I{PROTO}", f"-I{include}", *flags, *sources]):
        raise SystemExit("protoc failed; its messages are above")


if __name__ == "__main__":
    generate(Path(sys.argv[1]) if len(sys.argv) > 1 else PROTO.parent / "services")
