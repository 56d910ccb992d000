"""What a document of a kind may hold: Kubernetes' own kinds by ``kubernetes-validate``, those of operators by ``k8s/schemas``."""

import functools
import json
from collections.abc import Iterator
from typing import Any, Final

import kubernetes_validate.utils as core
import referencing
from jsonschema import Draft202012Validator, ValidationError, validators
from jsonschema.protocols import Validator

from tests.unit.deploy.rendered import ROOT, Document

_SCHEMAS: Final = ROOT / "k8s" / "schemas"
KUBERNETES: Final = "1.35.0"


class UnknownKindError(Exception):
    """Nobody knows this kind, so nobody checked the document."""


def errors(document: Document) -> list[str]:
    """Say what is wrong, a line each. Raises ``UnknownKindError``."""
    return [
        f"{problem.json_path}: {problem.message[:300]}"
        for problem in _validator(document["apiVersion"], document["kind"]).iter_errors(document)
    ]


@functools.cache
def _validator(api_version: str, kind: str) -> Validator:
    group = api_version.partition("/")[0]
    path = _SCHEMAS / f"{group}.{kind}.json"
    if not path.is_file():
        return _core(api_version, kind)
    schema = json.loads(path.read_text(encoding="utf-8"))
    return _WithPods(schema)


@functools.cache
def _core(api_version: str, kind: str) -> Validator:
    group, _, version = api_version.rpartition("/")
    name = "-".join(part for part in (kind.lower(), group.partition(".")[0], version) if part)
    folder = f"kubernetes-json-schema/v{KUBERNETES}-local-strict"
    try:
        schema = core.schema_contents(f"{folder}/{name}.json", KUBERNETES)
    except FileNotFoundError as error:
        raise UnknownKindError(f"{api_version} {kind} has no schema: add its CRD to k8s/schemas/collect.py") from error
    registry: Any = referencing.Registry()
    for contents in (schema, core.schema_contents(f"{folder}/_definitions.json", KUBERNETES)):
        registry = referencing.Resource.from_contents(contents) @ registry
    return Draft202012Validator(schema, registry=registry)


def _pod_spec(_validator: Any, _flag: bool, spec: Any, _schema: Any) -> Iterator[ValidationError]:
    """Check the pod inside an operator's kind by Kubernetes' own schema."""
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "inside"}, "spec": spec}
    yield from _core("v1", "Pod").iter_errors(pod)


_WithPods: Final = validators.extend(Draft202012Validator, {"x-pod-spec": _pod_spec})
