"""Training: the job by hand and the nightly one are the same, on the Ray that was tested, with locked doors."""

import re
from typing import Any

import pytest

from tests.unit.deploy.rendered import ROOT, of_kind, overlay

pytestmark = pytest.mark.kubectl


def _job() -> Any:
    return of_kind(overlay("production"), "RayJob")["training"]["spec"]


def test_the_nightly_job_is_the_one_by_hand():
    assert of_kind(overlay("production"), "RayCronJob")["nightly-training"]["spec"]["jobTemplate"] == _job()


def test_ray_is_the_version_that_was_tested():
    pinned = re.search(r"^ray==(.+)$", (ROOT / "deploy/constraints.txt").read_text(encoding="utf-8"), re.MULTILINE)
    assert pinned is not None
    assert _job()["rayClusterSpec"]["rayVersion"] == pinned[1]


def test_nobody_gets_at_the_jobs_api_without_a_token():
    assert _job()["rayClusterSpec"]["authOptions"]["mode"] == "token"


def test_the_mode_is_one_that_the_operator_knows():
    """A free text in the CRD: a typo is accepted and never runs."""
    assert _job()["submissionMode"] in {"K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode"}


def test_workers_are_as_elastic_as_the_command_says():
    data = next(d["data"] for d in overlay("production") if d["kind"] == "ConfigMap" and d["metadata"]["name"].startswith("training-"))
    low, high = re.search(r"--workers (\d+)-(\d+)", data["TRAIN_OPTIONS"]).groups()  # type: ignore[union-attr]
    (workers,) = _job()["rayClusterSpec"]["workerGroupSpecs"]
    assert (workers["minReplicas"], workers["maxReplicas"]) == (int(low), int(high))
    assert _job()["rayClusterSpec"]["enableInTreeAutoscaling"] is True


def test_a_gpu_is_asked_for_where_it_is_used_and_its_taint_is_borne():
    (workers,) = _job()["rayClusterSpec"]["workerGroupSpecs"]
    spec = workers["template"]["spec"]
    assert spec["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"} in spec["tolerations"]
    assert _job()["rayClusterSpec"]["headGroupSpec"]["rayStartParams"] == {"num-cpus": "0"}
