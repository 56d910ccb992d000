"""The manifests as an API server would get them: every overlay rendered once a run."""

import functools
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, get_type_hints

import yaml

from actlabel.cli.serve import serve
from tests.services import kubectl

ROOT: Final = Path(__file__).resolve().parents[3]
OVERLAYS: Final = ("dev", "production", "external")
COMPONENT: Final = "app.kubernetes.io/component"
Document = Mapping[str, Any]


@functools.cache
def render(folder: str) -> Sequence[Document]:
    """Render a folder below ``k8s``, for example ``overlays/dev``."""
    program = kubectl.find()
    assert program is not None, "kubectl is missing: bash tests/services/install.sh gets it"
    done = subprocess.run([program, "kustomize", str(ROOT / "k8s" / folder)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return [document for document in yaml.safe_load_all(done.stdout) if document]


def overlay(name: str) -> Sequence[Document]:
    """Render one overlay."""
    return render(f"overlays/{name}")


def of_kind(documents: Sequence[Document], kind: str) -> Mapping[str, Document]:
    """Choose by kind; by name."""
    return {document["metadata"]["name"]: document for document in documents if document["kind"] == kind}


def stages(documents: Sequence[Document]) -> Mapping[str, Any]:
    """The Deployments of stages, by name."""
    return {name: one for name, one in of_kind(documents, "Deployment").items() if one["metadata"]["labels"][COMPONENT] == "stage"}


def roles() -> set[str]:
    """What `actlabel serve` can be, but for the server of trained models, which is no stage."""
    return {role.value for role in get_type_hints(serve)["role"]} - {"model"}


def name_of(document: Document) -> str:
    """Write ``Kind/name``."""
    return f"{document['kind']}/{document['metadata']['name']}"


def pods(documents: Sequence[Document]) -> Iterator[tuple[str, Document]]:
    """Find every pod template in whatever kind: who owns it, and the template."""
    for document in documents:
        for path, node in _walk(document, name_of(document)):
            if isinstance(node.get("spec"), Mapping) and "containers" in node["spec"]:
                yield path, node


def _walk(node: Any, path: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if isinstance(node, Mapping):
        yield path, node
        for key, child in node.items():
            yield from _walk(child, f"{path}.{key}")
    elif isinstance(node, list):
        for number, child in enumerate(node):
            yield from _walk(child, f"{path}[{number}]")


def settings(documents: Sequence[Document]) -> Mapping[str, str]:
    """Read the stages' settings."""
    return next(
        document["data"]
        for document in documents
        if document["kind"] == "ConfigMap" and document["metadata"]["name"].startswith("settings-")
    )
