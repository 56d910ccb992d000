"""The programs of a Kubernetes control plane with KEDA, built from their Go modules into a folder that is kept between runs.

Nothing of them lies in the repository. The folder is ``ACTLABEL_CLUSTER_CACHE``, else ``~/.cache/actlabel-cluster``.
"""

import json
import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.services.processes import CannotStartError


@dataclass(frozen=True, slots=True, kw_only=True)
class GoModule:
    """One Go module and what is built of it."""

    path: str
    version: str
    programs: Mapping[str, str]  # name → package inside the module
    siblings: str | None = None  # the version of the modules that it keeps in folders of its own
    linked: Mapping[str, str] | None = None  # variable → value, set by the linker


_KUBERNETES: Final = "1.35.4"
KUBERNETES: Final = GoModule(
    path="k8s.io/kubernetes",
    version=f"v{_KUBERNETES}",
    siblings=f"v0.{_KUBERNETES.partition('.')[2]}",
    programs={name: f"cmd/{name}" for name in ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl")},
    linked={
        "k8s.io/component-base/version.gitVersion": f"v{_KUBERNETES}",
        "k8s.io/component-base/version.gitMajor": "1",
        "k8s.io/component-base/version.gitMinor": _KUBERNETES.split(".")[1],
    },
)
ETCD: Final = GoModule(path="go.etcd.io/etcd/server/v3", version="v3.6.16", programs={"etcd": ""})
KEDA: Final = GoModule(
    path="github.com/kedacore/keda/v2", version="v2.20.2", programs={"keda-operator": "cmd/operator", "keda-adapter": "cmd/adapter"}
)
MODULES: Final = (ETCD, KUBERNETES, KEDA)


def cache() -> Path:
    """Return the folder of what was built."""
    chosen = os.environ.get("ACTLABEL_CLUSTER_CACHE")
    return Path(chosen) if chosen else Path.home() / ".cache" / "actlabel-cluster"


def program(name: str) -> Path:
    """Return a built program. Raises ``CannotStartError`` when it is not there."""
    path = _place(name)
    if not path.exists():
        raise CannotStartError(f"{path} is not there; build it first: python -m tests.acceptance.cluster build")
    return path


def _place(name: str) -> Path:
    return cache() / "bin" / name


def build_all() -> None:
    """Build what is missing, one program after the other; each is told with its time."""
    for module in MODULES:
        missing = {name: package for name, package in module.programs.items() if not _is_built(module, name)}
        if not missing:
            continue
        workspace = _workspace(module)
        for name, package in missing.items():
            began_s = time.monotonic()
            _build(module, workspace, name, package)
            print(f"{name} {module.version}: built in {time.monotonic() - began_s:.0f} s", flush=True)


def _is_built(module: GoModule, name: str) -> bool:
    """Say whether the program is there in the version that is wanted."""
    mark = cache() / "bin" / f"{name}.version"
    return _place(name).exists() and mark.exists() and mark.read_text() == module.version


def _build(module: GoModule, workspace: Path, name: str, package: str) -> None:
    flags = " ".join(["-s", "-w", *(f"-X {variable}={value}" for variable, value in (module.linked or {}).items())])
    target = f"{module.path}/{package}".rstrip("/")
    _go("build", "-mod=mod", "-trimpath", f"-ldflags={flags}", "-o", str(_place(name)), target, within=workspace)
    (cache() / "bin" / f"{name}.version").write_text(module.version)


def _workspace(module: GoModule) -> Path:
    """Make a module of nothing that requires the wanted one with the replacements of its own ``go.mod``, which count only there."""
    folder = cache() / "build" / module.path.replace("/", "_")
    folder.mkdir(parents=True, exist_ok=True)
    (cache() / "bin").mkdir(exist_ok=True)
    (folder / "go.mod").write_text(f"module actlabel.cluster\n\ngo {_go_version()}\n\nrequire {module.path} {module.version}\n")
    described = json.loads(_go("mod", "edit", "-json", download(module)["GoMod"], within=folder))
    if replacements := _replacements(module, described.get("Replace") or []):
        _go("mod", "edit", *replacements, within=folder)
    return folder


def _go_version() -> str:
    return _go("env", "GOVERSION", within=cache()).strip().removeprefix("go")


def download(module: GoModule) -> Mapping[str, str]:
    """Fetch the module's source; returns where it is (``Dir``, ``GoMod``)."""
    found: Mapping[str, str] = json.loads(_go("mod", "download", "-json", f"{module.path}@{module.version}", within=cache()))
    return found


def _replacements(module: GoModule, wanted: Sequence[Mapping[str, Any]]) -> list[str]:
    """Take over what is replaced by another module; a folder of the source tree becomes the module that is published from it."""
    chosen = []
    for one in wanted:
        old, new = one["Old"]["Path"], one["New"]
        if not new["Path"].startswith("."):
            chosen.append(f"-replace={old}={new['Path']}@{new['Version']}")
        elif module.siblings is not None:
            chosen.append(f"-replace={old}={old}@{module.siblings}")
    return chosen


def _go(*arguments: str, within: Path) -> str:
    within.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-buildvcs=false"}
    done = subprocess.run(["go", *arguments], cwd=within, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CannotStartError(f"go {' '.join(arguments)} failed in {within}:\n{done.stderr[-3000:]}")
    return done.stdout
