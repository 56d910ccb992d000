"""Who may talk to whom, decided as a network plugin decides: a pod that a policy names may do what some policy of it allows, no more."""

import ipaddress
from collections.abc import Iterator
from typing import Any

import pytest

from actlabel.core import topics
from tests.unit.deploy.rendered import Document, of_kind, overlay, pods, stages

pytestmark = pytest.mark.kubectl
each_overlay = pytest.mark.parametrize("name", ["production", "external"])
_CALLS_OUT = {topics.ANNOTATOR, topics.CRITICIZER, topics.REVIEW_GATEWAY, topics.SOURCE}
_INSIDE = ["10.1.2.3", "172.20.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "127.0.0.1", "fd00::1", "fe80::1", "::1"]


def _chosen(selector: Any, labels: Any) -> bool:
    wanted = selector.get("matchLabels", {}).items() <= labels.items()
    return wanted and all(labels.get(term["key"]) in term["values"] for term in selector.get("matchExpressions", ()))


def _policies(name: str, labels: Any, way: str) -> list[Document]:
    policies = of_kind(overlay(name), "NetworkPolicy").values()
    return [p for p in policies if way in p["spec"]["policyTypes"] and _chosen(p["spec"]["podSelector"], labels)]


def _rules(name: str, labels: Any, way: str) -> Iterator[Any]:
    for policy in _policies(name, labels, way):
        yield from policy["spec"].get(way.lower(), ())


def _reaches(name: str, labels: Any, address: str, port: int) -> bool:
    target = ipaddress.ip_address(address)
    for rule in _rules(name, labels, "Egress"):
        ports = {entry["port"] for entry in rule.get("ports", ())}
        for block in (peer["ipBlock"] for peer in rule["to"] if "ipBlock" in peer):
            inside = target in ipaddress.ip_network(block["cidr"])
            if inside and not any(target in ipaddress.ip_network(out) for out in block.get("except", ())) and (not ports or port in ports):
                return True
    return False


def _labels(name: str) -> dict[str, Any]:
    return {stage: d["spec"]["template"]["metadata"]["labels"] for stage, d in stages(overlay(name)).items()}


@each_overlay
def test_every_pod_begins_with_nothing_allowed(name: str):
    for path, pod in pods(overlay(name)):
        for way in ("Ingress", "Egress"):
            assert _policies(name, pod["metadata"]["labels"], way), path


@each_overlay
def test_no_address_inside_is_in_reach_over_https_and_only_who_must_calls_out(name: str):
    for stage, labels in _labels(name).items():
        assert not any(_reaches(name, labels, address, 443) for address in _INSIDE), stage
        assert _reaches(name, labels, "203.0.113.7", 443) == (stage in _CALLS_OUT), stage
        assert not _reaches(name, labels, "203.0.113.7", 80), stage
        assert not _reaches(name, labels, "169.254.169.254", 80), stage


@each_overlay
def test_every_stage_finds_names_kafka_and_the_database(name: str):
    for labels in _labels(name).values():
        ports = {entry["port"] for rule in _rules(name, labels, "Egress") for entry in rule.get("ports", ())}
        assert {53, 9093, 5432} <= ports


@each_overlay
def test_the_review_page_is_open_to_the_gateway_alone_and_metrics_to_monitoring(name: str):
    for stage, labels in _labels(name).items():
        opened: dict[Any, list[Any]] = {}
        for rule in _rules(name, labels, "Ingress"):
            for entry in rule["ports"]:
                opened.setdefault(entry["port"], []).extend(rule["from"])
        assert opened.keys() == ({"grpc", "http", "review"} if stage == topics.REVIEW_GATEWAY else {"grpc", "http"})
        assert opened["http"] == [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}]
