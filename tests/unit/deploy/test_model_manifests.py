"""The server of trained models: where a campaign file can name it, with tokens, out of everybody else's reach."""

from typing import Any

import pytest

from actlabel.runtime.settings import Settings
from tests.unit.deploy.rendered import of_kind, overlay, settings

pytestmark = pytest.mark.kubectl


def _deployment() -> Any:
    return of_kind(overlay("production"), "Deployment")["model"]["spec"]["template"]


def test_it_serves_where_the_settings_say_with_tokens():
    (container,) = _deployment()["spec"]["containers"]
    assert (container["command"], container["args"]) == (["actlabel"], ["serve", "model"])
    environment = settings(overlay("production")) | {variable["name"]: variable["value"] for variable in container["env"]}
    ours = {key.removeprefix("ACTLABEL_").lower(): value for key, value in environment.items() if key.startswith("ACTLABEL_")}
    assert ours.keys() <= Settings.model_fields.keys()
    assert any(ours["model_token_file"].startswith(f"{mount['mountPath']}/") for mount in container["volumeMounts"])
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports["api"] == Settings.model_fields["model_port"].default
    assert str(ports["http"]) == environment["ACTLABEL_HTTP_PORT"]


def test_it_has_the_files_that_it_needs_and_no_kafka():
    secrets = {volume["secret"]["secretName"] for volume in _deployment()["spec"]["volumes"] if "secret" in volume}
    assert secrets == {"model-token", "actlabel-db-app", "actlabel-db-ca", "storage"}


def test_it_has_time_to_drain():
    pause_s = _deployment()["spec"]["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
    drain_s = float(settings(overlay("production"))["ACTLABEL_DRAIN_DEADLINE_S"])
    assert _deployment()["spec"]["terminationGracePeriodSeconds"] >= pause_s + drain_s + 30


def test_its_service_budget_and_scaler_choose_it():
    labels = _deployment()["metadata"]["labels"]
    for kind, selector in (("Service", "selector"), ("PodDisruptionBudget", "selector")):
        chosen: Any = of_kind(overlay("production"), kind)["model"]["spec"][selector]
        assert chosen.get("matchLabels", chosen).items() <= labels.items()
    scaler: Any = of_kind(overlay("production"), "HorizontalPodAutoscaler")["model"]["spec"]
    assert scaler["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "Deployment", "name": "model"}
    assert "replicas" not in of_kind(overlay("production"), "Deployment")["model"]["spec"]
    assert labels["actlabel.dev/model-endpoint"] == "true", "the policy `models` lets annotator and criticizer through by it"
