"""A stage for one campaign alone keeps to what every stage keeps to, and is nobody else's."""

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from actlabel.core import topics
from tests.unit.deploy import schemas
from tests.unit.deploy.rendered import ROOT, Document, name_of, of_kind, overlay, render

pytestmark = pytest.mark.kubectl


@pytest.fixture
def with_campaign(tmp_path: Path) -> list[Document]:
    """The overlay `dev` with the component first, as its README says."""
    shutil.copytree(ROOT / "k8s/overlays/dev", tmp_path, dirs_exist_ok=True)
    file = tmp_path / "kustomization.yaml"
    k8s = os.path.relpath(ROOT / "k8s", tmp_path.resolve())
    text = file.read_text().replace("components:\n", "components:\n  - ../../components/campaign-stage\n", 1)
    file.write_text(text.replace("../../", f"{k8s}/"))
    return list(render(str(tmp_path)))


def test_it_differs_from_the_stage_of_all_campaigns_in_its_name_and_its_campaign_only(with_campaign: list[Document]):
    deployments: Any = of_kind(with_campaign, "Deployment")
    own, shared = deployments["annotator-birds"]["spec"]["template"], deployments["annotator"]["spec"]["template"]
    assert own["spec"]["containers"][0].pop("args") == [*shared["spec"]["containers"][0].pop("args"), "--campaign", "birds"]
    by_name = {volume["name"]: volume for volume in own["spec"].pop("volumes")}
    assert by_name == {volume["name"]: volume for volume in shared["spec"].pop("volumes")}
    assert own["spec"] == shared["spec"]
    assert own["metadata"]["labels"].pop("app.kubernetes.io/name") == "annotator-birds"
    assert shared["metadata"]["labels"].pop("app.kubernetes.io/name") == "annotator"
    assert own["metadata"] == shared["metadata"]


def test_it_is_scaled_by_the_group_of_its_campaign(with_campaign: list[Document]):
    scaled: Any = of_kind(with_campaign, "ScaledObject")
    own, shared = scaled["annotator-birds"]["spec"], scaled["annotator"]["spec"]
    assert own.pop("scaleTargetRef") == {"name": "annotator-birds"}
    assert own["triggers"][0]["metadata"].pop("consumerGroup") == topics.campaign_group(topics.ANNOTATOR, "0123456789ab")
    shared.pop("scaleTargetRef")
    assert shared["triggers"][0]["metadata"].pop("consumerGroup") == topics.group(topics.ANNOTATOR)
    assert own == shared


def test_nothing_else_changes_and_all_of_it_fits(with_campaign: list[Document]):
    added = {name_of(document) for document in with_campaign} - {name_of(document) for document in overlay("dev")}
    assert added == {"Deployment/annotator-birds", "PodDisruptionBudget/annotator-birds", "ScaledObject/annotator-birds"}
    assert not [problem for document in with_campaign for problem in schemas.errors(document)]
