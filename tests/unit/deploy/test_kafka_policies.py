"""Kafka and PostgreSQL: rights to the letter, the broker's settings, connections that add up."""

from collections.abc import Mapping
from typing import Any, Final

import pytest

from actlabel.core import topics
from tests.unit.deploy.rendered import OVERLAYS, ROOT, Document, of_kind, overlay, settings, stages

pytestmark = pytest.mark.kubectl
with_kafka = pytest.mark.parametrize("name", ["dev", "production"])

WRITES: Final[Mapping[str, frozenset[str]]] = {
    topics.ANNOTATOR: frozenset({topics.ANNOTATED, topics.DEAD}),
    topics.CRITICIZER: frozenset({topics.CRITIQUED, topics.DEAD}),
    topics.SAMPLER: frozenset({topics.REVIEW, topics.MERGED, topics.DEAD}),
    topics.REVIEW_GATEWAY: frozenset({topics.MERGED, topics.DEAD}),
    topics.SOURCE: frozenset({topics.ITEMS}),
    topics.MIRROR: frozenset({topics.MERGED_JSON}),
}
"""What each stage produces; tests/integration/test_stage_rights.py runs all of them with exactly the rights of the manifests."""
READS: Final = {**topics.READS, topics.MIRROR: topics.MERGED}
_RESERVED_CONNECTIONS: Final = 20  # for superusers, backups, people and the trainer


def rights(user: Document) -> set[tuple[str, str, str, str]]:
    """Write a user's rights as (type, name, pattern, operation)."""
    found = set()
    for acl in user["spec"]["authorization"]["acls"]:
        resource = acl["resource"]
        for operation in acl["operations"]:
            found.add((resource["type"], resource.get("name", ""), resource.get("patternType", "literal"), operation))
    return found


def _wanted(stage: str) -> set[tuple[str, str, str, str]]:
    own = {("group", topics.group(stage), "prefix", operation) for operation in ("Describe", "Read")}
    if stage in READS:
        own |= {("topic", topics.prefix(READS[stage]), "prefix", operation) for operation in ("Describe", "Read")}
    return own | {("topic", topics.prefix(kind), "prefix", operation) for kind in WRITES[stage] for operation in ("Describe", "Write")}


@with_kafka
@pytest.mark.parametrize("stage", WRITES)
def test_a_stage_may_do_exactly_what_it_does(name: str, stage: str):
    assert rights(of_kind(overlay(name), "KafkaUser")[f"{stage}-kafka"]) == _wanted(stage)


@with_kafka
def test_who_is_no_stage_may_do_no_more_than_its_work(name: str):
    users = of_kind(overlay(name), "KafkaUser")
    assert users.keys() == {f"{who}-kafka" for who in (*WRITES, "operator", "trainer", "keda")}
    assert {operation for *_, operation in rights(users["keda-kafka"])} == {"Describe"}
    assert all(resource.startswith("actlabel.") for _, resource, _, _ in rights(users["keda-kafka"])), "it must not see other topics"
    assert rights(users["trainer-kafka"]) == {
        ("topic", topics.prefix(topics.MERGED), "prefix", operation) for operation in ("Describe", "Read")
    }
    assert all(user["spec"]["authentication"] == {"type": "tls"} for user in users.values())
    assert all(user["metadata"]["labels"]["strimzi.io/cluster"] == "actlabel" for user in users.values())


@with_kafka
def test_every_pod_has_the_secret_of_its_own_user(name: str):
    users = of_kind(overlay(name), "KafkaUser")
    for stage, deployment in stages(overlay(name)).items():
        volumes: dict[str, Any] = {volume["name"]: volume for volume in deployment["spec"]["template"]["spec"]["volumes"]}
        assert volumes["kafka"]["secret"]["secretName"] == f"{stage}-kafka"
        assert volumes["kafka"]["secret"]["secretName"] in users
        assert volumes["kafka-ca"]["secret"]["secretName"] == "actlabel-cluster-ca-cert"


def _properties() -> Mapping[str, str]:
    lines = (ROOT / "deploy/kafka/server.properties").read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


@with_kafka
def test_the_broker_is_set_as_everywhere(name: str):
    config = {key: str(value).lower() for key, value in of_kind(overlay(name), "Kafka")["actlabel"]["spec"]["kafka"]["config"].items()}
    assert config["auto.create.topics.enable"] == "false"
    assert int(config["offsets.retention.minutes"]) >= 90 * 24 * 60, "a group that was scaled to zero keeps its place"
    alike = {key for key in config.keys() & _properties().keys() if "replica" not in key and "isr" not in key}
    assert {"auto.create.topics.enable", "offsets.retention.minutes"} <= alike
    assert {key: config[key] for key in alike} == {key: _properties()[key] for key in alike}


@with_kafka
def test_replicas_fit_the_brokers(name: str):
    pools = of_kind(overlay(name), "KafkaNodePool").values()
    brokers = sum(pool["spec"]["replicas"] for pool in pools if "broker" in pool["spec"]["roles"])
    config = of_kind(overlay(name), "Kafka")["actlabel"]["spec"]["kafka"]["config"]
    assert config["default.replication.factor"] <= brokers
    assert config["min.insync.replicas"] == max(config["default.replication.factor"] - 1, 1), "one broker may be away"
    assert sum("controller" in pool["spec"]["roles"] for pool in pools) == 1


@with_kafka
def test_the_stages_never_want_more_connections_than_the_database_has(name: str):
    """Each pod: its pool, and one for a lock that it holds."""
    each = int(settings(overlay(name))["ACTLABEL_DATABASE_CONNECTIONS"]) + 1
    most = sum(spec["spec"]["maxReplicaCount"] + 1 for spec in of_kind(overlay(name), "ScaledObject").values())  # and one while rolling
    most += sum(spec["spec"]["maxReplicas"] + 1 for spec in of_kind(overlay(name), "HorizontalPodAutoscaler").values())
    database = of_kind(overlay(name), "Cluster")["actlabel-db"]["spec"]["postgresql"]["parameters"]
    assert each * most <= int(database["max_connections"]) - _RESERVED_CONNECTIONS


@pytest.mark.parametrize("name", OVERLAYS)
def test_the_addresses_hold_no_secret_and_check_who_answers(name: str):
    data = settings(overlay(name))
    assert "password=" not in data["ACTLABEL_DATABASE"]
    assert ":" not in data["ACTLABEL_DATABASE"].partition("//")[2].partition("@")[0]
    assert "sslmode=verify-full" in data["ACTLABEL_DATABASE"]
    assert data["ACTLABEL_STREAM"].startswith(("kafka+ssl://", "kafka+sasl_ssl://"))
