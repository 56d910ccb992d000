"""The overlay ``external`` with the addresses of this machine's Kafka and PostgreSQL, and times for an impatient reader."""

import base64
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from tests.acceptance.cluster.overlays import K8S, NAMESPACE
from tests.services.secured_kafka import SecuredKafka

STAGES: Final = ("annotator", "criticizer", "sampler", "review-gateway", "source", "mirror")
_HOST: Final = {"name": "ACTLABEL_HOST", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """What differs from the manifests so that a run takes minutes."""

    lag: int = 300  # items that one pod is for
    most: int = 3  # pods of a stage
    look_s: int = 3  # KEDA, for activation
    cooldown_s: int = 15  # from the last item to zero
    settle_s: int = 15  # before fewer pods


class LocalOverlay:
    """A kustomization in a folder of the run, on top of the one in the repository."""

    def __init__(self, folder: Path, kafka: SecuredKafka, *, database: str, storage: Path, token: str, times: Times | None = None) -> None:
        """``database``: as processes of this machine reach it. ``token``: the operator's at the review gateway."""
        self._folder = folder
        self._kafka = kafka
        self._database = database
        self._storage = storage
        self._token = token
        self._times = times or Times()

    def write(self, image: str) -> Path:
        """Write it for one version of the image; returns the folder to apply."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._put("scaling.yaml", self._scaling())
        self._put("host.yaml", [{"op": "add", "path": "/spec/template/spec/containers/0/env", "value": [_HOST]}])
        self._put("host-too.yaml", [{"op": "add", "path": "/spec/template/spec/containers/0/env/-", "value": _HOST}])
        name, _, tag = image.partition(":")
        with_variables = "sampler|review-gateway"
        patches = [
            {"path": "scaling.yaml", "target": {"kind": "ScaledObject", "name": "annotator|criticizer|sampler|review-gateway"}},
            {"path": "host.yaml", "target": {"kind": "Deployment", "name": "annotator|criticizer|source|mirror"}},
            {"path": "host-too.yaml", "target": {"kind": "Deployment", "name": with_variables}},
        ]
        settings = [f"{key}={value}" for key, value in self._settings().items()]
        document = {
            "apiVersion": "kustomize.config.k8s.io/v1beta1",
            "kind": "Kustomization",
            "namespace": NAMESPACE,
            "resources": [os.path.relpath(K8S / "overlays" / "external", self._folder.resolve())],
            "images": [{"name": "registry.example.com/actlabel/service", "newName": name, "newTag": tag}],
            "configMapGenerator": [{"name": "settings", "behavior": "merge", "literals": settings}],
            "patches": patches,
        }
        self._put("kustomization.yaml", document)
        return self._folder

    def _put(self, name: str, document: Any) -> None:
        (self._folder / name).write_text(yaml.safe_dump(document, sort_keys=False))

    def _settings(self) -> Mapping[str, str]:
        files = "password_file=/etc/actlabel/kafka/password&ca_file=/etc/actlabel/kafka-ca/ca.crt"
        return {
            "ACTLABEL_STREAM": f"kafka+sasl_ssl://operator@127.0.0.1:{self._kafka.port('scram')}?{files}",
            "ACTLABEL_DATABASE": self._database,
            "ACTLABEL_STORAGE": str(self._storage),
        }

    def _scaling(self) -> list[dict[str, Any]]:
        times, trigger = self._times, "/spec/triggers/0/metadata"
        scale_down = "/spec/advanced/horizontalPodAutoscalerConfig/behavior/scaleDown"
        changes = {
            f"{trigger}/bootstrapServers": f"127.0.0.1:{self._kafka.port('scram')}",
            f"{trigger}/lagThreshold": str(times.lag),
            "/spec/maxReplicaCount": times.most,
            "/spec/pollingInterval": times.look_s,
            "/spec/cooldownPeriod": times.cooldown_s,
            f"{scale_down}/stabilizationWindowSeconds": times.settle_s,
            f"{scale_down}/policies": [{"type": "Pods", "value": 1, "periodSeconds": 10}],
        }
        return [{"op": "replace", "path": path, "value": value} for path, value in changes.items()]

    def secrets(self) -> str:
        """The secrets that the manifests name, as a platform engineer makes them."""
        kafka = {"username": "operator", "password": self._kafka.file("password").read_text().strip()}
        ca = {"ca.crt": self._kafka.file("ca.crt").read_text()}
        files: dict[str, Mapping[str, str]] = {f"{stage}-kafka": kafka for stage in (*STAGES, "keda")}
        files |= {"kafka-ca": ca, "database": {"password": "not asked for"}, "database-ca": ca}
        files |= {"review-token": {"token": self._token}, "draw-key": {"key": "the same key in every run, 32 bytes and more"}}
        return yaml.safe_dump_all([_secret(name, content) for name, content in files.items()])


def _secret(name: str, content: Mapping[str, str]) -> dict[str, Any]:
    data = {key: base64.b64encode(value.encode()).decode() for key, value in content.items()}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": NAMESPACE}, "data": data}
