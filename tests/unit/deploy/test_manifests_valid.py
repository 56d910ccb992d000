"""Every overlay renders and every document of it fits its kind; a kind that nobody knows is refused."""

import copy
from typing import Any

import pytest

from tests.unit.deploy import schemas
from tests.unit.deploy.rendered import OVERLAYS, name_of, of_kind, overlay, render

pytestmark = pytest.mark.kubectl
FOLDERS = ("base", *(f"overlays/{name}" for name in OVERLAYS))


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_document_fits_its_kind(folder: str):
    wrong = {name_of(document): problems for document in render(folder) if (problems := schemas.errors(document))}
    assert not wrong


@pytest.mark.parametrize("folder", FOLDERS)
def test_nothing_is_there_twice(folder: str):
    names = [name_of(document) for document in render(folder)]
    assert len(names) == len(set(names))


def test_a_kind_without_a_schema_is_refused():
    with pytest.raises(schemas.UnknownKindError, match="add its CRD"):
        schemas.errors({"apiVersion": "kafka.strimzi.io/v1", "kind": "KafkaTopic", "metadata": {"name": "x"}})


_BROKEN = {  # kind, where in it, a field that it does not have
    "a field of a core kind": ("Deployment", ("spec", "template", "spec", "containers", 0), "terminationMessagePolicy", 7),
    "a wrong word in a pod": ("Deployment", ("spec", "template", "spec"), "automountServiceAccountTokens", False),
    "Strimzi": ("KafkaNodePool", ("spec",), "replica", 3),
    "Strimzi, a value": ("KafkaUser", ("spec", "authorization", "acls", 0, "resource"), "type", "topics"),
    "KEDA: not a string": ("ScaledObject", ("spec", "triggers", 0, "metadata"), "lagThreshold", 1000),
    "KubeRay": ("RayJob", ("spec",), "submissionModes", "K8sJobMode"),
    "KubeRay, the token": ("RayCronJob", ("spec", "jobTemplate", "rayClusterSpec", "authOptions"), "mode", "tokens"),
    "a pod inside a Ray job": (
        "RayJob",
        ("spec", "rayClusterSpec", "headGroupSpec", "template", "spec", "containers", 0),
        "imagePullPolice",
        "Always",
    ),
    "CloudNativePG": ("Cluster", ("spec", "postgresql", "synchronous"), "methods", "any"),
    "Gateway API": ("Gateway", ("spec", "listeners", 1, "tls"), "mode", "Terminated"),
    "Prometheus": ("PodMonitor", ("spec", "podMetricsEndpoints", 0), "interval_s", "15s"),
}


@pytest.mark.parametrize(("kind", "where", "field", "value"), _BROKEN.values(), ids=_BROKEN)
def test_a_wrong_field_is_found(kind: str, where: tuple[Any, ...], field: str, value: Any):
    document: Any = copy.deepcopy(next(iter(of_kind(overlay("production"), kind).values())))
    assert not schemas.errors(document)
    place = document
    for step in where:
        place = place[step]
    place[field] = value
    assert schemas.errors(document)
