"""Training: the job by hand and the recurring one are the same, on the Ray that was tested, with locked doors."""

import re
import shlex
from typing import Any

import pytest
from typer.main import get_command

from actlabel.cli.app import build
from tests.unit.deploy.rendered import ROOT, of_kind, overlay, pods

pytestmark = pytest.mark.kubectl


def _job() -> Any:
    return of_kind(overlay("production"), "RayJob")["training"]["spec"]


def test_the_recurring_job_is_the_one_by_hand_when_a_round_is_due():
    recurring = of_kind(overlay("production"), "RayCronJob")["recurring-training"]["spec"]["jobTemplate"]
    assert recurring == _job() | {"entrypoint": f'{_job()["entrypoint"]} --when "$TRAIN_WHEN"'}


def test_the_command_is_one_that_our_command_line_takes():
    """Carried out as the submitter's shell does: names of the environment replaced, split into words."""
    for entrypoint in (
        _job()["entrypoint"],
        of_kind(overlay("production"), "RayCronJob")["recurring-training"]["spec"]["jobTemplate"]["entrypoint"],
    ):
        line = re.sub(r"\$(\w+)", lambda match: _settings()[match[1]], entrypoint)
        program, command, *arguments = shlex.split(line)
        assert (program, command) == ("actlabel", "train")
        known = {name for option in get_command(build()).commands["train"].params for name in option.opts}  # type: ignore[attr-defined]
        assert {word for word in arguments if word.startswith("--")} <= known


def _settings() -> Any:
    return next(d["data"] for d in overlay("production") if d["kind"] == "ConfigMap" and d["metadata"]["name"].startswith("training-"))


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
    low, high = re.search(r"--workers (\d+)-(\d+)", _settings()["TRAIN_OPTIONS"]).groups()  # type: ignore[union-attr]
    (workers,) = _job()["rayClusterSpec"]["workerGroupSpecs"]
    assert 0 == workers["minReplicas"] < int(low) <= workers["maxReplicas"] == int(high), "a round that is not due costs no GPU"
    assert _job()["rayClusterSpec"]["enableInTreeAutoscaling"] is True


def test_a_gpu_is_asked_for_where_it_is_used_and_its_taint_is_borne():
    (workers,) = _job()["rayClusterSpec"]["workerGroupSpecs"]
    spec = workers["template"]["spec"]
    assert spec["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"} in spec["tolerations"]
    assert _job()["rayClusterSpec"]["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0", "nothing is trained on the head"


def test_the_autoscaler_that_kuberay_adds_is_locked_in_too_and_alone_has_a_token():
    """The namespace would refuse the head's pod otherwise, and the driver could ask for pods."""
    cluster = _job()["rayClusterSpec"]
    own, spec = cluster["autoscalerOptions"], cluster["headGroupSpec"]["template"]["spec"]
    assert own["securityContext"] == spec["containers"][0]["securityContext"]
    assert {mount["name"] for mount in own["volumeMounts"]} == {"autoscaler-scratch", "api-token"}
    assert {mount["name"] for mount in own["volumeMounts"]} <= {volume["name"] for volume in spec["volumes"]}
    assert "api-token" not in {mount["name"] for mount in spec["containers"][0]["volumeMounts"]}
    assert own["resources"]["limits"]["memory"]


def test_labels_that_kuberay_selects_by_are_left_to_it():
    for _, pod in pods([of_kind(overlay("production"), "RayJob")["training"]]):
        assert not [label for label in pod["metadata"]["labels"] if label.startswith("ray.io/") or label == "app.kubernetes.io/name"]
