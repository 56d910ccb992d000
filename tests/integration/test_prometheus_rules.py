"""Prometheus itself reads our rules and every query of the dashboards, and the alerts fire when they should."""

import subprocess
from pathlib import Path

import pytest
import yaml

from tests.services.dashboard_queries import ALERTS, DEPLOY, Asked, dashboard_queries, dashboards, filled_in


def run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_rules_and_the_scrape_configuration_are_read(promtool: str):
    assert "rules found" in run(promtool, "check", "rules", str(ALERTS))
    assert "SUCCESS" in run(promtool, "check", "config", str(DEPLOY / "prometheus" / "prometheus.yaml"))


@pytest.mark.parametrize("file", sorted(ALERTS.parent.glob("alerts*_test.yaml")), ids=lambda file: file.stem)
def test_every_alert_fires_when_it_should_and_only_then(promtool: str, file: Path):
    assert "SUCCESS" in run(promtool, "test", "rules", str(file))


def test_every_query_of_the_dashboards_is_promql(promtool: str, tmp_path: Path):
    queries = [query for name in dashboards() for query in dashboard_queries(name)]
    rules = [{"record": f"query:{number}", "expr": filled_in(query.expr)} for number, query in enumerate(queries)]
    file = tmp_path / "queries.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboards", "rules": rules}]}))
    assert f"{len(queries)} rules found" in run(promtool, "check", "rules", str(file))


def test_a_query_that_is_none_is_found(promtool: str, tmp_path: Path):
    broken = Asked("nowhere", "sum by (stage (up)")
    file = tmp_path / "queries.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "broken", "rules": [{"record": "a:b", "expr": filled_in(broken.expr)}]}]}))
    with pytest.raises(AssertionError, match="parse error"):
        run(promtool, "check", "rules", str(file))
