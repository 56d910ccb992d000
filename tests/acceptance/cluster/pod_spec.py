"""What of a pod's spec becomes a local process: its environment, its files, its command."""

import base64
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.acceptance.cluster.kube_client import Document, KubeClient

_SCRATCH: Final = "/tmp"
_INHERITED: Final = ("HOME", "LANG", "PYTHONPATH")


class NotThereYet(Exception):
    """A ConfigMap or a Secret that the pod needs does not exist; a kubelet waits for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A container, ready to start."""

    command: list[str]
    environment: dict[str, str]


class PodSpec:
    """One pod on this node. There is no mount namespace here: where a path names a mounted file, it is rewritten to where that lies."""

    def __init__(self, client: KubeClient, pod: Document, *, folder: Path, address: str) -> None:
        """``folder``: of this pod, for its files. ``address``: its IP."""
        self._client = client
        self._pod = pod
        self._folder = folder
        self._address = address

    @property
    def container(self) -> Document:
        """The one container that our pods have."""
        (only,) = self._pod["spec"]["containers"]
        return only  # type: ignore[no-any-return]

    async def prepare(self) -> Prepared:
        """Read what it names, write its files. Raises ``NotThereYet``."""
        places = {}
        volumes = {volume["name"]: volume for volume in self._pod["spec"].get("volumes", [])}
        for mount in self.container.get("volumeMounts", []):
            place = self._folder / "volumes" / mount["name"]
            _write(place, await self._content(volumes[mount["name"]]))
            places[mount["mountPath"]] = place
        own = {name: _moved(value, places) for name, value in (await self._variables()).items()}
        base = {name: os.environ[name] for name in _INHERITED if name in os.environ}
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
        scratch = {"TMPDIR": str(places[_SCRATCH])} if _SCRATCH in places else {}
        words = [*self.container.get("command", []), *self.container.get("args", [])]
        return Prepared(command=[_moved(word, places) for word in words], environment={**base, "PATH": path, **scratch, **own})

    async def _content(self, volume: Document) -> Mapping[str, bytes]:
        if "emptyDir" in volume:
            return {}
        if "secret" in volume:
            source = volume["secret"]
            data = await self._data("secrets", source["secretName"], optional=source.get("optional", False))
            files = {name: base64.b64decode(value) for name, value in data.items()}
        else:
            source = volume["configMap"]
            data = await self._data("configmaps", source["name"], optional=source.get("optional", False))
            files = {name: value.encode() for name, value in data.items()}
        return {item["path"]: files[item["key"]] for item in source["items"]} if "items" in source else files

    async def _data(self, kind: str, name: str, *, optional: bool = False) -> Mapping[str, str]:
        found = await self._client.ask("GET", f"/api/v1/namespaces/{self._pod['metadata']['namespace']}/{kind}/{name}")
        if found is None and not optional:
            raise NotThereYet(f"{kind} {name} is not there")
        return (found or {}).get("data") or {}

    async def _variables(self) -> Mapping[str, str]:
        variables: dict[str, str] = {}
        for source in self.container.get("envFrom", []):
            variables |= await self._data("configmaps", source["configMapRef"]["name"])
        for one in self.container.get("env", []):
            variables[one["name"]] = one["value"] if "value" in one else self._field(one["valueFrom"])
        return variables

    def _field(self, source: Document) -> str:
        path = source["fieldRef"]["fieldPath"]
        known: Mapping[str, Any] = {"status.podIP": self._address, "metadata.name": self._pod["metadata"]["name"]}
        return str(known[path])


def _write(place: Path, files: Mapping[str, bytes]) -> None:
    place.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (place / name).write_bytes(content)


def _moved(text: str, places: Mapping[str, Path]) -> str:
    for path in sorted(places, key=len, reverse=True):
        if path != _SCRATCH:
            text = text.replace(f"{path}/", f"{places[path]}/")
    return text
