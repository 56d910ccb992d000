"""compose.yaml fits the Compose specification, and is the same system as everywhere."""

import json
import re
from typing import Any, Final

import jsonschema
import pytest
import yaml

from actlabel.runtime.settings import Settings
from tests.unit.deploy.rendered import ROOT, roles

_DEPLOY: Final = ROOT / "deploy"
_LEAVING_S: Final = 30


@pytest.fixture(scope="module")
def compose() -> Any:
    return yaml.safe_load((_DEPLOY / "compose.yaml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def stages(compose: Any) -> dict[str, Any]:
    served = {service["command"][1]: service for service in compose["services"].values() if service.get("command", [""])[0] == "serve"}
    return {role: service for role, service in served.items() if role != "model"}


def test_it_fits_the_specification(compose: Any):
    schema = json.loads((ROOT / "k8s/schemas/compose-spec.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator(schema).validate(compose)
    compose["services"]["kafka"]["heathcheck"] = {}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(schema).validate(compose)
    del compose["services"]["kafka"]["heathcheck"]


def test_every_role_is_there_under_its_name(compose: Any, stages: dict[str, Any]):
    assert stages.keys() == roles()
    assert all(compose["services"][name] is stages[name] for name in stages)


def test_settings_are_settings(compose: Any):
    for name, service in compose["services"].items():
        ours = {k.removeprefix("ACTLABEL_").lower(): v for k, v in service.get("environment", {}).items() if k.startswith("ACTLABEL_")}
        assert ours.keys() <= Settings.model_fields.keys(), name
        Settings(**ours)


def test_what_runs_is_pinned_locked_and_open_to_this_machine_alone(compose: Any, stages: dict[str, Any]):
    for name, service in compose["services"].items():
        assert re.search(r":[a-z0-9.]+$", service["image"]), name
        assert not service["image"].endswith(":latest"), name
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ())), name
        assert not service.get("privileged"), name
        secret = [k for k in service.get("environment", {}) if re.search("PASSWORD|TOKEN|SECRET", k) and not k.endswith("_FILE")]
        assert not secret, name
    for name, service in [*stages.items(), *((name, compose["services"][name]) for name in ("demo", "model"))]:
        assert (service["read_only"], service["cap_drop"], service["security_opt"]) == (True, ["ALL"], ["no-new-privileges:true"]), name


def test_a_stage_has_time_to_drain(stages: dict[str, Any]):
    drain_s = float(Settings.model_fields["drain_deadline_s"].default)
    assert all(float(stage["stop_grace_period"].removesuffix("s")) >= drain_s + _LEAVING_S for stage in stages.values())


def test_secrets_that_are_used_are_those_that_are_made(compose: Any):
    made = re.search(r"for name in (.+); do", (_DEPLOY / "secrets.sh").read_text(encoding="utf-8"))
    assert made is not None
    used = {secret for service in compose["services"].values() for secret in service.get("secrets", ())}
    assert used == set(made[1].split()) == compose["secrets"].keys()
    named = re.findall(r"/run/secrets/([a-z-]+)", (_DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
    assert set(named) == used


def test_the_broker_is_set_as_everywhere_on_one_node(compose: Any):
    lines = (_DEPLOY / "kafka/server.properties").read_text(encoding="utf-8").splitlines()
    wanted = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    one = {key: "1" if "replica" in key or "isr" in key else value for key, value in wanted.items()}
    environment = compose["services"]["kafka"]["environment"]
    assert {key: environment[f"KAFKA_{key.upper().replace('.', '_')}"] for key in one} == one


def test_folders_that_are_mounted_are_there(compose: Any):
    mounts = [volume.split(":")[0] for service in compose["services"].values() for volume in service.get("volumes", ())]
    assert all((_DEPLOY / source).is_dir() for source in mounts if source.startswith("."))
    assert {source for source in mounts if not source.startswith(".")} == compose["volumes"].keys()


def test_prometheus_looks_at_every_stage(stages: dict[str, Any]):
    config = yaml.safe_load((_DEPLOY / "prometheus/prometheus.yaml").read_text(encoding="utf-8"))
    (job,) = [job for job in config["scrape_configs"] if "actlabel" in job["job_name"]]
    (looked_up,) = job["dns_sd_configs"]
    assert set(looked_up["names"]) >= {*stages, "model"}
    assert looked_up["port"] == 8080


def test_trained_models_are_served_where_a_campaign_can_name_them(compose: Any, stages: dict[str, Any]):
    model = compose["services"]["model"]
    assert (model["command"], model["profiles"], set(model["depends_on"])) == (["serve", "model"], ["models"], {"postgres"})
    assert model["image"] == compose["services"]["demo"]["image"], "it needs torch"
    holders = {name for name, service in compose["services"].items() if "model-token" in service.get("secrets", ())}
    assert holders == {"model", "annotator", "criticizer"}


def test_the_demo_goes_through_the_stages_of_this_file(compose: Any):
    demo = compose["services"]["demo"]
    assert demo["command"][:3] == ["demo", "--running", "http://review-gateway:8400"]
    assert demo["hostname"] == "demo", "where the stages reach its models"
    assert "http://demo:8500" in demo["command"]
    assert {"annotator", "criticizer", "sampler", "review-gateway", "kafka", "postgres"} <= demo["depends_on"].keys()
