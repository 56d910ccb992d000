"""Every overlay of ours on a real API server: strict validation on the server, and restricted Pod Security where pods are made."""

import subprocess
import time
from pathlib import Path
from typing import Any, Final

import yaml

from tests.acceptance.cluster.control_plane import ControlPlane
from tests.acceptance.cluster.go_programs import program
from tests.acceptance.cluster.timeline import Timeline

K8S: Final = Path(__file__).parents[3] / "k8s"
OVERLAYS: Final = ("dev", "production", "external")
NAMESPACE: Final = "actlabel"
_WAIT_S: Final = 60.0


def render(folder: Path) -> str:
    """Render a kustomization. Raises ``AssertionError`` with what kubectl says."""
    done = subprocess.run([str(program("kubectl")), "kustomize", str(folder)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def apply(plane: ControlPlane, manifests: str) -> int:
    """Apply on the server, every field checked; returns the number of objects. A warning is an error: Pod Security warns so."""
    done = plane.kubectl_run("apply", "--server-side", "--validate=strict", "-f", "-", text=manifests)
    assert "Warning" not in done.stderr, done.stderr
    return len(done.stdout.splitlines())


def apply_every_overlay(plane: ControlPlane, timeline: Timeline) -> None:
    """Apply one after the other, see that every Deployment gets pods, and remove it again."""
    for name in OVERLAYS:
        manifests = render(K8S / "overlays" / name)
        count = apply(plane, manifests)
        deployments = [one["metadata"]["name"] for one in yaml.safe_load_all(manifests) if one and one["kind"] == "Deployment"]
        for deployment in deployments:
            _wait_for_a_pod(plane, deployment)
        timeline.note(f"overlay {name}: {count} objects applied, no warning; a pod was made of each of {len(deployments)} Deployments")
        plane.kubectl("delete", "--wait", "--ignore-not-found", "-f", "-", text=manifests)


def refuses_what_breaks_the_rules(plane: ControlPlane, timeline: Timeline) -> None:
    """See that both guards are there at all: an unknown field, and a pod that may be root."""
    plane.kubectl("apply", "--server-side", "-f", str(K8S / "base" / "namespace.yaml"))
    wrong = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "wrong", "namespace": NAMESPACE}, "spec": {"containers": [_CONTAINER]}}
    said = plane.kubectl_run("apply", "--server-side", "-f", "-", text=yaml.safe_dump(wrong), check=False).stderr
    assert 'violates PodSecurity "restricted' in said, said
    wrong["spec"] = {"containers": [_CONTAINER], "restartpolicy": "Never"}
    said = plane.kubectl_run("apply", "--server-side", "--validate=strict", "-f", "-", text=yaml.safe_dump(wrong), check=False).stderr
    assert "unknown field" in said or "field not declared" in said, said
    timeline.note("a pod that may be root, and an unknown field, are refused")
    plane.kubectl("delete", "--wait", "-f", str(K8S / "base" / "namespace.yaml"))


_CONTAINER: Final[dict[str, Any]] = {"name": "one", "image": "any"}


def _wait_for_a_pod(plane: ControlPlane, deployment: str) -> None:
    """Wait until admission has let one through; it need not run."""
    deadline = time.monotonic() + _WAIT_S
    selector = f"app.kubernetes.io/name={deployment}"
    while not plane.kubectl("get", "pods", "-n", NAMESPACE, "-l", selector, "-o", "name"):
        assert time.monotonic() < deadline, plane.kubectl("get", "events", "-n", NAMESPACE)
        time.sleep(0.5)
