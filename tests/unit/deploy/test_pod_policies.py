"""What every pod of ours keeps to, whatever the overlay: restricted, read-only, secrets as files, probes, room to drain."""

import re
from collections.abc import Mapping
from typing import Any, Final

import pytest

from actlabel.runtime.settings import Settings
from actlabel.stream.kafka_address import parse_kafka_address
from tests.unit.deploy.rendered import OVERLAYS, Document, name_of, of_kind, overlay, pods, roles, settings, stages

pytestmark = pytest.mark.kubectl
each_overlay = pytest.mark.parametrize("name", OVERLAYS)
_LEAVING_S: Final = 30  # after the drain: last commits, the group, the servers
_OF_THE_AUTOSCALER: Final = {"autoscaler-scratch", "api-token"}  # KubeRay puts that container into the head (test_training_manifests.py)
_UNITS: Final = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30}


def _stages(name: str) -> Mapping[str, Any]:
    return stages(overlay(name))


def _spec(deployment: Document) -> Any:
    return deployment["spec"]["template"]["spec"]


def _container(deployment: Document) -> Any:
    (container,) = _spec(deployment)["containers"]
    return container


def _bytes(quantity: str) -> int:
    return int(quantity[:-2]) * _UNITS[quantity[-2:]]


@each_overlay
def test_every_role_has_its_deployment_and_nothing_else_has(name: str):
    """Adding a stage is one file in the base: forgetting it fails here."""
    assert {tuple(_container(one)["args"][:2]) for one in _stages(name).values()} == {("serve", role) for role in roles()}
    assert all(_container(one)["command"] == ["actlabel"] for one in _stages(name).values())


@each_overlay
def test_every_pod_keeps_to_the_restricted_standard_and_writes_only_to_scratch(name: str):
    found = dict(pods(overlay(name)))
    assert len(found) >= len(roles())
    for path, pod in found.items():
        spec: Any = pod["spec"]
        security = spec["securityContext"]
        assert security["runAsNonRoot"], path
        assert security["runAsUser"] == security["runAsGroup"] == security["fsGroup"] == 10001, path
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}, path
        assert spec["automountServiceAccountToken"] is False, path
        assert spec["serviceAccountName"] in of_kind(overlay(name), "ServiceAccount"), path
        assert not any(spec.get(field) for field in ("hostNetwork", "hostPID", "hostIPC", "initContainers")), path
        for container in spec["containers"]:
            own = container["securityContext"]
            assert own == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}, "readOnlyRootFilesystem": True}, path
            writable = {mount["mountPath"] for mount in container["volumeMounts"] if not mount.get("readOnly")}
            assert "/tmp" in writable <= {"/tmp", "/dev/shm"}, path


def test_the_namespaces_admit_nothing_but_restricted_pods():
    for name in OVERLAYS:
        (namespace,) = of_kind(overlay(name), "Namespace").values()
        assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
        assert {d["metadata"].get("namespace", "actlabel") for d in overlay(name)} == {namespace["metadata"]["name"]}


@each_overlay
def test_secrets_are_files_that_only_the_pod_reads(name: str):
    """0400 in a volume is root's own unless the pod has an ``fsGroup``, which the kubelet then lets read."""
    for path, pod in pods(overlay(name)):
        spec: Any = pod["spec"]
        volumes = {volume["name"]: volume for volume in spec["volumes"]}
        assert len(volumes) == len(spec["volumes"]), path
        assert all(volume["secret"]["defaultMode"] == 0o400 for volume in volumes.values() if "secret" in volume), path
        for container in spec["containers"]:
            mounts = {mount["name"]: mount for mount in container["volumeMounts"]}
            assert mounts.keys() == volumes.keys() - _OF_THE_AUTOSCALER, path
            assert all(mounts[known].get("readOnly") for known, volume in volumes.items() if "secret" in volume), path
            assert "secretRef" not in str(container.get("envFrom")), path
            assert not any("secretKeyRef" in str(variable) for variable in container.get("env", ())), path


def _environment(deployment: Document, data: Mapping[str, str]) -> Mapping[str, str]:
    return {**data, **{variable["name"]: variable["value"] for variable in _container(deployment).get("env", ())}}


@each_overlay
def test_settings_are_settings_and_every_file_that_they_name_is_mounted(name: str):
    data = settings(overlay(name))
    for stage, deployment in _stages(name).items():
        environment = _environment(deployment, data)
        ours = {key.removeprefix("ACTLABEL_").lower(): value for key, value in environment.items() if key.startswith("ACTLABEL_")}
        assert ours.keys() <= Settings.model_fields.keys(), stage
        read = Settings(**ours)  # type: ignore[arg-type]  # pydantic reads the texts
        parse_kafka_address(read.stream, where="ACTLABEL_STREAM")
        mounted = tuple(f"{mount['mountPath']}/" for mount in _container(deployment)["volumeMounts"])
        files = [word for value in environment.values() for word in re.findall(r"/etc/[^&?\s]+", value)]
        assert len(files) >= 3
        assert all(file.startswith(mounted) for file in files), (stage, files)


@each_overlay
def test_ports_are_those_of_the_settings_and_every_probe_has_its_own_question(name: str):
    data = settings(overlay(name))
    for stage, deployment in _stages(name).items():
        container = _container(deployment)
        ports = {port["name"]: str(port["containerPort"]) for port in container["ports"]}
        assert (ports["http"], ports["grpc"]) == (data["ACTLABEL_HTTP_PORT"], data["ACTLABEL_GRPC_PORT"]), stage
        assert data["ACTLABEL_HOST"] == "0.0.0.0", "probes come from outside"
        for question in ("startup", "readiness", "liveness"):
            assert container[f"{question}Probe"]["grpc"] == {"port": int(ports["grpc"]), "service": question}, stage
    gateway = {port["name"]: port["containerPort"] for port in _container(_stages(name)["review-gateway"])["ports"]}
    assert gateway["review"] == Settings.model_fields["review_port"].default


@each_overlay
def test_a_pod_has_time_to_drain(name: str):
    drain_s = float(settings(overlay(name))["ACTLABEL_DRAIN_DEADLINE_S"])
    for stage, deployment in _stages(name).items():
        pause_s = _container(deployment).get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
        assert _spec(deployment)["terminationGracePeriodSeconds"] >= pause_s + drain_s + _LEAVING_S, stage


@each_overlay
def test_selectors_choose_what_they_mean(name: str):
    documents = overlay(name)
    for stage, deployment in _stages(name).items():
        labels = deployment["spec"]["template"]["metadata"]["labels"]
        assert deployment["spec"]["selector"]["matchLabels"].items() <= labels.items(), stage
        service: Any = of_kind(documents, "Service")[stage]["spec"]
        budget: Any = of_kind(documents, "PodDisruptionBudget")[stage]["spec"]
        assert service["selector"] == budget["selector"]["matchLabels"] == deployment["spec"]["selector"]["matchLabels"]
        assert {port["targetPort"] for port in service["ports"]} <= {port["name"] for port in _container(deployment)["ports"]}
        assert len({"minAvailable", "maxUnavailable"} & budget.keys()) == 1
        assert budget["unhealthyPodEvictionPolicy"] == "AlwaysAllow"
        for spread in _spec(deployment)["topologySpreadConstraints"]:
            assert spread["labelSelector"]["matchLabels"].items() <= labels.items()
            assert spread["matchLabelKeys"] == ["app.kubernetes.io/name", "pod-template-hash"]


@each_overlay
def test_nothing_asks_for_more_than_its_limit_and_everything_has_one_for_memory(name: str):
    for path, pod in pods(overlay(name)):
        for container in pod["spec"]["containers"]:
            wants, most = container["resources"]["requests"], container["resources"]["limits"]
            assert _bytes(wants["memory"]) <= _bytes(most["memory"]), path
            assert "cpu" not in most, f"{path}: a throttled poll loop misses its heartbeats"
            assert wants.get("nvidia.com/gpu") == most.get("nvidia.com/gpu"), path


@pytest.mark.parametrize("name", ["production", "external"])
def test_images_of_a_cluster_that_counts_are_named_by_their_digest(name: str):
    images = [container["image"] for _, pod in pods(overlay(name)) for container in pod["spec"]["containers"]]
    assert all(re.fullmatch(r"[a-z0-9./-]+@sha256:[0-9a-f]{64}", image) for image in images), images


@each_overlay
def test_names_are_of_dns(name: str):
    for document in overlay(name):
        assert re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,51}[a-z0-9])?", document["metadata"]["name"]), name_of(document)
