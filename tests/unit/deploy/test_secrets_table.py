"""The README's table of secrets is what the manifests mount, less what the operators make."""

import re
from collections.abc import Mapping
from typing import Any, Final

import pytest

from tests.unit.deploy.rendered import ROOT, Document, of_kind, overlay, pods, roles

pytestmark = pytest.mark.kubectl
_BY_CNPG: Final = {"actlabel-db-app", "actlabel-db-ca"}


def _table() -> Mapping[str, str]:
    """Read secret → overlays."""
    text = (ROOT / "k8s/README.md").read_text(encoding="utf-8").partition("### Secrets")[2].partition("\n### ")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("| `")]
    names = {name: row[-1] for row in rows for name in re.findall(r"`([a-z<>-]+)`", row[0])}
    stage = names.pop("<stage>-kafka")
    return names | {f"{role}-kafka": stage for role in roles()}


def _used(documents: list[Document]) -> set[str]:
    mounted = {volume["secret"]["secretName"] for _, pod in pods(documents) for volume in pod["spec"]["volumes"] if "secret" in volume}
    asked: Any = of_kind(documents, "TriggerAuthentication")["kafka"]["spec"]["secretTargetRef"]
    mounted |= {reference["name"] for reference in asked}
    for gateway in of_kind(documents, "Gateway").values():
        mounted |= {ref["name"] for listener in gateway["spec"]["listeners"] for ref in listener.get("tls", {}).get("certificateRefs", ())}
    return mounted


@pytest.mark.parametrize("name", ["dev", "production", "external"])
def test_the_table_names_what_a_person_must_make(name: str):
    documents = list(overlay(name))
    made = set(of_kind(documents, "KafkaUser")) | ({"actlabel-cluster-ca-cert"} if of_kind(documents, "Kafka") else set())
    made |= _BY_CNPG if of_kind(documents, "Cluster") else set()
    listed = {secret for secret, where in _table().items() if where == "all" or name in where.split(", ")}
    assert _used(documents) - made == listed
