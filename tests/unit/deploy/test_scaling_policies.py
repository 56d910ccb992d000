"""Scaling as KEDA 2.20 reads it: rules that its CRD does not hold are held here (deploy.md §1.2), and ours on top."""

import re
from typing import Any, Final

import pytest

from actlabel.core import topics
from actlabel.runtime.campaign_file import CampaignFile
from tests.unit.deploy.rendered import OVERLAYS, Document, of_kind, overlay, settings, stages

pytestmark = pytest.mark.kubectl
each_overlay = pytest.mark.parametrize("name", OVERLAYS)
_PARTITIONS: Final = int(CampaignFile.model_fields["partitions"].default)
_TRUE: Final = "true"


def _scaled(name: str) -> dict[str, Any]:
    return {key: document["spec"] for key, document in of_kind(overlay(name), "ScaledObject").items()}


def _lag_triggers(spec: Document) -> list[Any]:
    return [trigger for trigger in spec["triggers"] if trigger["type"] == "kafka"]


@each_overlay
def test_every_stage_is_scaled_and_its_deployment_leaves_the_number_to_keda(name: str):
    deployments = stages(overlay(name))
    assert {spec["scaleTargetRef"]["name"] for spec in _scaled(name).values()} == deployments.keys()
    assert not any("replicas" in deployment["spec"] for deployment in deployments.values()), "an apply would set it back"


@each_overlay
def test_who_is_looked_at_by_lag_is_looked_at_by_its_own_group_over_all_topics(name: str):
    by_lag = {stage: _lag_triggers(spec) for stage, spec in _scaled(name).items()}
    assert {stage for stage, triggers in by_lag.items() if triggers} == topics.READS.keys(), "source and mirror have a group per campaign"
    for stage, triggers in by_lag.items():
        for trigger in triggers:
            assert trigger["metadata"]["consumerGroup"] == topics.group(stage)
            assert "topic" not in trigger["metadata"]


@each_overlay
def test_no_stage_gets_more_pods_than_a_campaign_has_partitions(name: str):
    for stage, spec in _scaled(name).items():
        assert 0 <= spec["minReplicaCount"] <= spec["maxReplicaCount"] <= _PARTITIONS, stage


@each_overlay
def test_only_stages_whose_work_is_all_in_their_lag_go_to_zero(name: str):
    """The sampler has read and committed everything while it waits for a seal, or writes out its draw."""
    assert {stage for stage, spec in _scaled(name).items() if spec["minReplicaCount"] == 0} == {topics.ANNOTATOR, topics.CRITICIZER}


@each_overlay
def test_the_traps_of_the_kafka_trigger_are_stepped_around(name: str):
    for stage, spec in _scaled(name).items():
        for trigger in _lag_triggers(spec):
            data = trigger["metadata"]
            assert all(isinstance(value, str) for value in data.values()), stage
            assert re.fullmatch(r"\d+\.\d+\.\d+", data["version"]), "without one KEDA speaks Kafka 1.0"
            assert data["offsetResetPolicy"] == "earliest"
            # a group without offsets reads as "every topic", each of its records as lag; `apply` commits the beginning of ours
            assert data["scaleToZeroOnInvalidOffset"] == _TRUE
            assert int(data["lagThreshold"]) > int(data["activationLagThreshold"]) == 0
            assert data["tls"] == "enable"
            assert "unsafeSsl" not in data
            assert trigger["authenticationRef"]["name"] in of_kind(overlay(name), "TriggerAuthentication")
            assert not (data.keys() & {"allowIdleConsumers", "excludePersistentLag"})
            limits = data.keys() & {"limitToPartitionsWithLag", "ensureEvenDistributionOfPartitions"}
            assert not limits or (len(limits) == 1 and "topic" in data)
            assert spec["fallback"]["behavior"] == "currentReplicasIfHigher"
            assert 1 <= spec["fallback"]["replicas"] <= spec["maxReplicaCount"]


@each_overlay
def test_keda_looks_at_the_cluster_that_the_stages_use(name: str):
    servers = settings(overlay(name))["ACTLABEL_STREAM"].partition("://")[2].partition("?")[0].rpartition("@")[2]
    looked_at = {trigger["metadata"]["bootstrapServers"] for spec in _scaled(name).values() for trigger in _lag_triggers(spec)}
    assert looked_at == {servers}


@each_overlay
def test_a_formula_knows_its_triggers(name: str):
    with_formula = 0
    for spec in _scaled(name).values():
        formula = spec["advanced"].get("scalingModifiers", {}).get("formula")
        names = {trigger["name"] for trigger in spec["triggers"] if "name" in trigger}
        if formula is None:
            assert not names
            continue
        with_formula += 1
        assert set(re.findall(r"[a-z]+", formula)) - {"min", "max"} == names
        assert len(names) == len(spec["triggers"])
    assert with_formula == (2 if name == "production" else 0)


def _wanted(lag: float, *, throttled: float = 0.0, age: float = 0.0, pods: float = 0.0) -> float:
    """Evaluate the formula of the annotator and divide by the target, as the horizontal autoscaler does (without rounding up)."""
    modifiers = _scaled("production")["annotator"]["advanced"]["scalingModifiers"]
    first, yes, no = re.fullmatch(r"(.+?) \? (.+?) : \((.+)\)", modifiers["formula"]).groups()  # type: ignore[union-attr]
    second, old, else_ = re.fullmatch(r"(.+?) \? (.+?) : (.+)", no).groups()  # type: ignore[union-attr]
    known = {"lag": lag, "throttled": throttled, "age": age, "pods": pods, "min": min, "max": max}
    return float(eval(f"({yes}) if ({first}) else (({old}) if ({second}) else ({else_}))", {}, known)) / float(modifiers["target"])


def test_the_formula_decides_as_it_says():
    assert _wanted(5000) == 5, "by lag; at zero pods there is nothing else to know"
    assert _wanted(5000, throttled=0.9, pods=3) == 3, "the provider is the bound: no more than there are"
    assert _wanted(1000, throttled=0.9, pods=3) == 1, "but fewer when there is less to do"
    assert _wanted(900, age=700, pods=1) == 2, "little lag, but old: one more"
    assert _wanted(900, age=700, throttled=0.9, pods=1) == 0.9, "unless the provider is why it is old"
    assert _wanted(0, pods=1) == 0
