"""What the monitoring component ships is what compose shows: every dashboard, every alert, every pod's metrics."""

import importlib.util
from typing import Any

import pytest
import yaml

from tests.unit.deploy.rendered import ROOT, of_kind, overlay

pytestmark = pytest.mark.kubectl


@pytest.mark.parametrize("name", ["production", "external"])
def test_every_dashboard_is_there_and_nothing_else_has_their_label(name: str):
    maps: Any = of_kind(overlay(name), "ConfigMap")
    labelled = {key: one for key, one in maps.items() if one["metadata"].get("labels", {}).get("grafana_dashboard") == "1"}
    shipped = {file: text for one in labelled.values() for file, text in one["data"].items()}
    folder = ROOT / "deploy/grafana/dashboards"
    assert shipped == {file.name: file.read_text(encoding="utf-8") for file in folder.glob("*.json")}
    assert shipped


def test_the_alerts_are_those_of_the_rule_file():
    spec = importlib.util.spec_from_file_location("make_rules", ROOT / "k8s/components/monitoring/make_rules.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    written = yaml.safe_load((ROOT / "k8s/components/monitoring/alerts.yaml").read_text(encoding="utf-8"))
    assert written == module.rule(), "run k8s/components/monitoring/make_rules.py"
    assert of_kind(overlay("production"), "PrometheusRule")["actlabel"]["spec"] == module.rule()["spec"]


def test_every_stage_is_scraped_where_it_answers():
    monitor: Any = of_kind(overlay("production"), "PodMonitor")["stages"]["spec"]
    for name, deployment in of_kind(overlay("production"), "Deployment").items():
        if name == "operator":
            continue  # nothing runs there
        template: Any = deployment["spec"]["template"]
        (term,) = monitor["selector"]["matchExpressions"]
        assert template["metadata"]["labels"][term["key"]] in term["values"]
        ports = {port["name"] for container in template["spec"]["containers"] for port in container["ports"]}
        assert {endpoint["port"] for endpoint in monitor["podMetricsEndpoints"]} <= ports
