"""KEDA's operator and metrics adapter beside a control plane: it scales what its CRDs name, as it would from inside a cluster."""

import os
import shutil
import time
from pathlib import Path
from typing import Final

import yaml

from tests.acceptance.cluster.control_plane import ControlPlane
from tests.services.processes import free_port, listens, wait_until

_NAMESPACE: Final = "keda"
_START_S: Final = 90.0


def start_keda(plane: ControlPlane) -> None:
    """Start both and wait until the API server reaches the adapter. Its CRDs must be there. Raises ``CannotStartError``."""
    folder = _certificates(plane)
    grpc_port, adapter_port = free_port(), free_port()
    plane.kubectl("apply", "--server-side", "-f", "-", text=yaml.safe_dump_all(_objects(adapter_port)))
    environment = {
        **os.environ,
        "KUBECONFIG": str(plane.kubeconfig),
        "POD_NAMESPACE": _NAMESPACE,
        "KEDA_CLUSTER_OBJECT_NAMESPACE": _NAMESPACE,
        "WATCH_NAMESPACE": "",
    }
    _start_operator(plane, folder, grpc_port, environment)
    _start_adapter(plane, folder, grpc_port, adapter_port, environment)
    _wait_for_the_api(plane)


def _certificates(plane: ControlPlane) -> Path:
    """Lay out what both read: they know each other by it."""
    pair, folder = plane.certificates.server("keda"), plane.folder / "keda"
    folder.mkdir()
    for source, name in ((pair.certificate, "tls.crt"), (pair.key, "tls.key"), (plane.certificates.ca, "ca.crt")):
        shutil.copy(source, folder / name)
    return folder


def _start_operator(plane: ControlPlane, folder: Path, grpc_port: int, environment: dict[str, str]) -> None:
    process = plane.run(
        "keda-operator",
        f"--cert-dir={folder}",
        f"--metrics-service-bind-address=127.0.0.1:{grpc_port}",
        f"--metrics-bind-address=127.0.0.1:{free_port()}",
        f"--health-probe-bind-address=127.0.0.1:{free_port()}",
        "--enable-webhook-patching=false",
        "--enable-apiservice-patching=false",
        "--zap-log-level=info",
        environment=environment,
    )
    log = plane.folder / "keda-operator.log"
    wait_until(lambda: listens(grpc_port), process=process, timeout_s=_START_S, name="keda-operator", log=log)


def _start_adapter(plane: ControlPlane, folder: Path, grpc_port: int, port: int, environment: dict[str, str]) -> None:
    access = [f"--{which}-kubeconfig={plane.kubeconfig}" for which in ("lister", "authentication", "authorization")]
    process = plane.run(
        "keda-adapter",
        *access,
        f"--cert-dir={folder}",
        "--bind-address=127.0.0.1",
        f"--secure-port={port}",
        f"--port={free_port()}",
        f"--metrics-service-address=localhost:{grpc_port}",
        environment=environment,
    )
    log = plane.folder / "keda-adapter.log"
    wait_until(lambda: listens(port), process=process, timeout_s=_START_S, name="keda-adapter", log=log)


def _wait_for_the_api(plane: ControlPlane) -> None:
    deadline = time.monotonic() + _START_S
    while plane.kubectl_run("get", "--raw", "/apis/external.metrics.k8s.io/v1beta1", check=False).returncode:
        assert time.monotonic() < deadline, "the API server does not reach KEDA's adapter"
        time.sleep(0.5)


def _objects(adapter_port: int) -> list[dict[str, object]]:
    """The adapter as an API of the cluster, and who may ask it."""
    service = {"name": "keda-metrics", "namespace": _NAMESPACE}
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": _NAMESPACE}},
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": service,
            "spec": {"type": "ExternalName", "externalName": "localhost", "ports": [{"port": adapter_port}]},
        },
        {
            "apiVersion": "apiregistration.k8s.io/v1",
            "kind": "APIService",
            "metadata": {"name": "v1beta1.external.metrics.k8s.io"},
            "spec": {
                "group": "external.metrics.k8s.io",
                "version": "v1beta1",
                "service": {**service, "port": adapter_port},
                "insecureSkipTLSVerify": True,
                "groupPriorityMinimum": 100,
                "versionPriority": 100,
            },
        },
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRole",
            "metadata": {"name": "external-metrics-reader"},
            "rules": [{"apiGroups": ["external.metrics.k8s.io"], "resources": ["*"], "verbs": ["*"]}],
        },
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": "external-metrics-reader"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "external-metrics-reader"},
            "subjects": [{"kind": "ServiceAccount", "name": "horizontal-pod-autoscaler", "namespace": "kube-system"}],
        },
    ]
