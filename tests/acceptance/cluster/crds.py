"""The custom resource definitions of every operator that an overlay uses, made as the offline schemas are and kept in the cache."""

import importlib.util
import shutil
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import yaml

from tests.acceptance.cluster.go_programs import KEDA, cache, download

_COLLECT: Final = Path(__file__).parents[3] / "k8s" / "schemas" / "collect.py"


def crd_folder() -> Path:
    """Return the folder of the CRDs, made when it is not there (needs Go, Maven and pip, see ``k8s/schemas/collect.py``)."""
    collect = _collect()
    folder = cache() / "-".join(["crds", collect.STRIMZI, *(module.version for module in collect.MODULES)])
    if not folder.exists():
        making = folder.with_suffix(".new")
        making.mkdir(parents=True, exist_ok=True)
        for _, crd in collect._crds():
            for made in _with_what_the_module_lacks(collect, crd):
                (making / f"{made['spec']['group']}_{made['spec']['names']['plural']}.yaml").write_text(yaml.safe_dump(made))
        for file in (Path(download(KEDA)["Dir"]) / "config" / "crd" / "bases").glob("*.yaml"):
            shutil.copy(file, making)  # it watches kinds of its own that no overlay uses
        making.rename(folder)  # complete or not there
    return folder


def _collect() -> ModuleType:
    spec = importlib.util.spec_from_file_location("collect_schemas", _COLLECT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _with_what_the_module_lacks(collect: ModuleType, crd: dict[str, Any]) -> list[dict[str, Any]]:
    """Of KubeRay the newest Go module is older than the release whose fields we use; they are added as in the offline schemas."""
    if crd["spec"]["names"]["kind"] != "RayJob":
        return [crd]
    job = next(version for version in crd["spec"]["versions"] if version["name"] == "v1")
    spec = job["schema"]["openAPIV3Schema"]["properties"]["spec"]
    authentication = {"type": "object", "properties": {name: _structural(one) for name, one in collect.RAY_AUTH["properties"].items()}}
    spec["properties"]["rayClusterSpec"]["properties"]["authOptions"] = authentication
    return [crd, _cron_job(spec)]


def _structural(schema: dict[str, Any]) -> dict[str, Any]:
    return {"type": "string", **schema}


def _cron_job(job_spec: dict[str, Any]) -> dict[str, Any]:
    text = {"type": "string"}
    spec = {
        "type": "object",
        "required": ["schedule", "jobTemplate"],
        "properties": {"schedule": text, "timeZone": text, "suspend": {"type": "boolean"}, "jobTemplate": job_spec},
    }
    root = {"type": "object", "properties": {"apiVersion": text, "kind": text, "metadata": {"type": "object"}, "spec": spec}}
    names = {"kind": "RayCronJob", "listKind": "RayCronJobList", "plural": "raycronjobs", "singular": "raycronjob"}
    versions = [{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": root}}]
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "raycronjobs.ray.io"},
        "spec": {"group": "ray.io", "names": names, "scope": "Namespaced", "versions": versions},
    }
