"""The queries of our dashboards and alerts, as files hold them."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

DEPLOY = Path(__file__).parents[2] / "deploy"
ALERTS = DEPLOY / "prometheus" / "alerts.yaml"


@dataclass(frozen=True)
class Asked:
    """One query, with where it is written."""

    where: str  # dashboard and panel, or the rule
    expr: str


def dashboards() -> dict[str, dict[str, Any]]:
    """Read every dashboard, by its file's name."""
    return {file.stem: json.loads(file.read_text()) for file in sorted((DEPLOY / "grafana" / "dashboards").glob("*.json"))}


def panels(dashboard: dict[str, Any]) -> list[dict[str, Any]]:
    """Everything of a dashboard that is no heading."""
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def dashboard_queries(name: str) -> list[Asked]:
    """Every query of a dashboard, of its variables too."""
    dashboard = dashboards()[name]
    asked = [Asked(f"{name}: {panel['title']}", target["expr"]) for panel in panels(dashboard) for target in panel["targets"]]
    return [*asked, *_variables(name, dashboard)]


def _variables(name: str, dashboard: dict[str, Any]) -> Iterator[Asked]:
    for variable in dashboard["templating"]["list"]:
        if variable["type"] != "query":
            continue
        found = re.fullmatch(r"query_result\((.*)\)|label_values\((\w+), \w+\)", variable["query"]["query"])
        assert found, f"{name}: variable {variable['name']} asks in a way that this reader does not know"
        yield Asked(f"{name}: variable {variable['name']}", found[1] or found[2])


def rules() -> list[dict[str, Any]]:
    """Every rule of alerts.yaml."""
    return [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]


def rule_queries() -> list[Asked]:
    """The expression of every rule."""
    return [Asked(rule.get("alert") or rule["record"], rule["expr"]) for rule in rules()]


def filled_in(expr: str, *, rate: str = "1m", reach: str = "1h", campaign: str = ".*", stage: str = ".*") -> str:
    """Put values where Grafana would put those of its variables."""
    values = {"$__rate_interval": rate, "$__range": reach, "$campaign": campaign, "$stage": stage}
    for name, value in values.items():
        expr = expr.replace(name, value)
    assert "$" not in expr, f"a variable that nobody knows: {expr}"
    return expr
