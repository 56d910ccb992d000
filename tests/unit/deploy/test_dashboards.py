"""The dashboards are what their generator writes, and they and the alerts ask for what the code exports, with the labels that it has."""

import re
from itertools import combinations
from typing import Any

import pytest
import yaml
from prometheus_client.metrics import MetricWrapperBase

from actlabel.runtime import metrics
from deploy.grafana.generate import FOLDER, PAGES, text_of
from tests.services.dashboard_queries import ALERTS, DEPLOY, Asked, dashboard_queries, dashboards, filled_in, panels, rule_queries, rules

PROMETHEUS_OWN = {"instance", "job"}
_SELECTOR = re.compile(r"\b((?:actlabel_|up\b)\w*)(?:\{([^}]*)\})?")
_MATCHER = re.compile(r"(\w+)\s*(?:=~|!~|!=|=)")
_GROUPING = re.compile(r"\b(?:by|on|ignoring|group_left)\s*\(([^)]*)\)")


def exported() -> dict[str, set[str]]:
    """Every series name of the code's metrics, with its labels."""
    found: dict[str, set[str]] = {}
    for metric in vars(metrics).values():
        if isinstance(metric, MetricWrapperBase):
            labels = set(metric._labelnames)
            suffixes = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_count", "_sum")}[metric._type]
            found |= {metric._name + suffix: labels | ({"le"} if suffix == "_bucket" else set()) for suffix in suffixes}
    return found


EXPORTED = exported()
ASKED = [*(query for name in dashboards() for query in dashboard_queries(name)), *rule_queries()]


def used(query: Asked) -> dict[str, set[str]]:
    """The metrics of a query, with the labels that its selectors name."""
    found: dict[str, set[str]] = {}
    for name, matchers in _SELECTOR.findall(filled_in(query.expr)):
        found.setdefault(name, set()).update(_MATCHER.findall(matchers))
    return found


def test_the_json_is_what_the_generator_writes():
    files = {file.name: file.read_text() for file in FOLDER.glob("*.json")}
    assert files == {f"{page.uid}.json": text_of(page) for page in PAGES}, "run python -m deploy.grafana.generate"


@pytest.mark.parametrize("query", ASKED, ids=lambda query: query.where)
def test_a_query_asks_for_what_is_exported(query: Asked):
    names = {name: labels for name, labels in used(query).items() if name != "up"}
    unknown = names.keys() - EXPORTED.keys()
    assert not unknown, f"{unknown} is exported by nobody"
    for name, labels in names.items():
        assert labels <= EXPORTED[name] | PROMETHEUS_OWN, f"{name} has no label {labels - EXPORTED[name]}"
    grouped = {label.strip() for labels in _GROUPING.findall(query.expr) for label in labels.split(",")} - {""}
    known = set().union(*(EXPORTED[name] for name in names), PROMETHEUS_OWN)
    made = set(re.findall(r'label_replace\(.*?"(\w+)"', query.expr, re.DOTALL))
    assert grouped <= known | made, f"nothing here has the label {grouped - known - made}"


def test_every_metric_is_on_a_dashboard_or_in_an_alert():
    asked = {name for query in ASKED for name in used(query)}
    families = {metric._name: metric._type for metric in vars(metrics).values() if isinstance(metric, MetricWrapperBase)}
    unused = {name for name in families if not any(word == name or word.startswith(f"{name}_") for word in asked)}
    assert not unused, "nobody looks at these: put them on a page, or remove them"


def test_help_is_a_sentence_and_names_have_one_prefix():
    for metric in vars(metrics).values():
        if isinstance(metric, MetricWrapperBase):
            assert metric._documentation.endswith("."), metric._name
            assert metric._name.startswith("actlabel_")


@pytest.mark.parametrize("name", dashboards())
def test_a_dashboard_can_be_read_at_a_glance(name: str):
    dashboard = dashboards()[name]
    assert next(variable["name"] for variable in dashboard["templating"]["list"]) == "datasource"
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
    for panel in panels(dashboard):
        assert panel["description"].endswith("."), panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert {target["datasource"]["uid"] for target in panel["targets"]} == {"${datasource}"}
    for one, other in combinations(dashboard["panels"], 2):
        assert not _overlap(one["gridPos"], other["gridPos"]), (one["title"], other["title"])


def _overlap(one: dict[str, int], other: dict[str, int]) -> bool:
    beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
    return not (beside or one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"])


def _alerts() -> list[dict[str, Any]]:
    return [rule for rule in rules() if "alert" in rule]


@pytest.mark.parametrize("rule", _alerts(), ids=lambda rule: rule["alert"])
def test_an_alert_says_what_to_do_and_is_tested(rule: dict[str, Any]):
    assert set(rule["annotations"]) == {"summary", "description", "runbook"}
    assert rule["labels"]["severity"] in {"critical", "warning", "info"}
    assert rule["annotations"]["runbook"] == f"runbook.md#{rule['alert']}"
    runbook = (DEPLOY / "prometheus" / "runbook.md").read_text()
    assert f"\n## {rule['alert']}\n" in runbook
    tested = [case for file in ALERTS.parent.glob("alerts*_test.yaml") for test in yaml.safe_load(file.read_text())["tests"]
              for case in test.get("alert_rule_test", ()) if case["alertname"] == rule["alert"]]  # fmt: skip
    assert any(case.get("exp_alerts") for case in tested), "no test sees it fire"


def test_the_runbook_knows_no_alert_that_is_gone():
    headings = re.findall(r"^## (Actlabel\w+)$", (DEPLOY / "prometheus" / "runbook.md").read_text(), re.MULTILINE)
    assert headings == [rule["alert"] for rule in _alerts()], "one heading each, in the order of alerts.yaml"
