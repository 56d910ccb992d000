"""Apache Kafka with locks: SCRAM and PLAIN over TLS, SCRAM without TLS, client certificates, and access rules. Its own port stays open."""

import asyncio
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import trustme
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import Array, Int8, Int16, Int32, Schema, String
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from tests.services.kafka_broker import KafkaBroker
from tests.services.processes import free_port, listens

PASSWORD = "öpen=sesame"
CLUSTER_USERS = tuple(
    f"{who}-kafka" for who in ("annotator", "criticizer", "sampler", "review-gateway", "source", "mirror", "operator", "trainer", "keda")
)
"""The users of k8s/components/kafka."""
_USERS = ("operator", "stage", "nobody", *CLUSTER_USERS)
_TOPIC, _GROUP, _CLUSTER = 2, 3, 4
_LITERAL, _PREFIXED = 3, 4
OPERATIONS = {"Read": 3, "Write": 4, "Create": 5, "Delete": 6, "Describe": 8, "DescribeConfigs": 10, "IdempotentWrite": 12}
_ALLOW = 3

_PROPERTIES = """
listeners={own},SCRAM://127.0.0.1:{scram},CERT://127.0.0.1:{cert},CLEAR://127.0.0.1:{clear}
advertised.listeners={advertised},SCRAM://127.0.0.1:{scram},CERT://127.0.0.1:{cert},CLEAR://127.0.0.1:{clear}
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SCRAM:SASL_SSL,CERT:SSL,CLEAR:SASL_PLAINTEXT
inter.broker.listener.name=PLAINTEXT
sasl.enabled.mechanisms=SCRAM-SHA-512,SCRAM-SHA-256,PLAIN
listener.name.scram.sasl.enabled.mechanisms=SCRAM-SHA-512,SCRAM-SHA-256,PLAIN
listener.name.scram.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.scram.scram-sha-256.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.scram.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required user_operator="{password}";
listener.name.clear.sasl.enabled.mechanisms=SCRAM-SHA-512
listener.name.clear.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.cert.ssl.client.auth=required
ssl.keystore.type=PEM
ssl.keystore.location={folder}/broker.pem
ssl.truststore.type=PEM
ssl.truststore.location={folder}/ca.crt
ssl.principal.mapping.rules=RULE:^.*CN=([^,]+).*$/$1/
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS;User:operator
"""


class SecuredKafka(KafkaBroker):
    """One broker. ``operator`` may do all, ``stage`` and ``nobody`` what ``allow`` gives them; all have the same password."""

    def __init__(self, folder: Path) -> None:
        """``folder``: empty; certificates and passwords lie there beside the data."""
        super().__init__(folder)
        self._folder = folder
        self._ports = {"scram": free_port(), "cert": free_port(), "clear": free_port()}
        self.ca, self.other_ca = trustme.CA(), trustme.CA()
        self._write_files()

    def _write_files(self) -> None:
        self.ca.cert_pem.write_to_path(self.file("ca.crt"))
        self.other_ca.cert_pem.write_to_path(self.file("other-ca.crt"))
        for name, ca in (("user", self.ca), ("stranger", self.other_ca)):
            made = ca.issue_cert("operator.test", common_name="operator")
            made.cert_chain_pems[0].write_to_path(self.file(f"{name}.crt"))
            made.private_key_pem.write_to_path(self.file(f"{name}.key"))
        broker = self.ca.issue_cert("127.0.0.1")
        key = load_pem_private_key(broker.private_key_pem.bytes(), None)
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())  # the only one that Java reads
        self.file("broker.pem").write_bytes(pem + broker.cert_chain_pems[0].bytes())
        self.file("password").write_text(PASSWORD + "\n")
        self.file("wrong-password").write_text("wrong\n")

    def file(self, name: str) -> Path:
        """``ca.crt``, ``user.crt``, ``user.key``, ``password``, as in Strimzi's secrets, and wrong ones."""
        return self._folder / name

    def scram(self, user: str = "operator", *, password: str = "password", ca: str = "ca.crt", host: str = "127.0.0.1") -> str:
        """An address with login over TLS."""
        files = f"password_file={self.file(password)}&ca_file={self.file(ca)}"
        return f"kafka+sasl_ssl://{user}@{host}:{self._ports['scram']}?{files}"

    def clear(self, user: str = "operator") -> str:
        """An address with login without TLS."""
        return f"kafka+sasl_plaintext://{user}@127.0.0.1:{self._ports['clear']}?password_file={self.file('password')}"

    def cert(self, who: str | None = "user") -> str:
        """An address with a client certificate; it names the user ``operator``."""
        own = f"&certificate_file={self.file(f'{who}.crt')}&key_file={self.file(f'{who}.key')}" if who else ""
        return f"kafka+ssl://127.0.0.1:{self._ports['cert']}?ca_file={self.file('ca.crt')}{own}"

    def port(self, listener: str) -> int:
        """Of ``scram``, ``cert`` or ``clear``."""
        return self._ports[listener]

    def start(self) -> None:
        """Start and wait until every listener answers."""
        super().start()
        while not all(listens(port) for port in self._ports.values()):
            time.sleep(0.05)

    def _more_properties(self) -> str:
        lines = dict(line.split("=", 1) for line in (self._folder / "server.properties").read_text().splitlines())
        return _PROPERTIES.format(
            own=lines["listeners"],
            advertised=lines["advertised.listeners"],
            folder=self._folder,
            password=PASSWORD.encode("ascii", "backslashreplace").decode().replace("\\x", "\\u00"),  # as Java's properties want it
            **self._ports,
        )

    def _more_format(self) -> tuple[str, ...]:
        users = [f"{mechanism}=[name={user},password={PASSWORD}]" for mechanism in ("SCRAM-SHA-512", "SCRAM-SHA-256") for user in _USERS]
        return tuple(word for user in users for word in ("--add-scram", user))

    async def allow(self, user: str, **rules: Sequence[str]) -> None:
        """Give rights, by name of operation: ``topics`` and ``groups`` on everything that begins with ``actlabel.``, and ``cluster``."""
        await self._change(_CreateAcls([entry for kind, names in rules.items() for entry in _entries(user, kind, names)]))

    async def allow_exactly(self, user: str, rights: Iterable[tuple[str, str, str, str]]) -> None:
        """Give rights as a KafkaUser of Strimzi has them: (type, name, literal or prefix, operation)."""
        kinds, patterns = {"topic": _TOPIC, "group": _GROUP, "cluster": _CLUSTER}, {"literal": _LITERAL, "prefix": _PREFIXED}
        entries = [
            (kinds[kind], name or "kafka-cluster", patterns[pattern], f"User:{user}", "*", OPERATIONS[operation], _ALLOW)
            for kind, name, pattern, operation in rights
        ]
        await self._change(_CreateAcls(entries))

    async def forbid(self, user: str, **rules: Sequence[str]) -> None:
        """Take such rights away."""
        await self._change(_DeleteAcls([entry for kind, names in rules.items() for entry in _entries(user, kind, names)]))

    async def _change(self, request: "_CreateAcls | _DeleteAcls") -> None:
        admin: Any = AIOKafkaAdminClient(bootstrap_servers=self.address)
        await admin.start()
        try:
            response = await admin._send_request(request)
        finally:
            await admin.close()
        assert all(result[0] == 0 for result in response.results), response.results
        await asyncio.sleep(0)


def _entries(user: str, kind: str, operations: Sequence[str]) -> list[tuple[int, str, int, str, str, int, int]]:
    place = {
        "topics": (_TOPIC, "actlabel.", _PREFIXED),
        "groups": (_GROUP, "actlabel.", _PREFIXED),
        "cluster": (_CLUSTER, "kafka-cluster", _LITERAL),
    }[kind]
    return [(*place, f"User:{user}", "*", OPERATIONS[name], _ALLOW) for name in operations]


_ENTRY = (
    ("resource_type", Int8),
    ("resource_name", String("utf-8")),
    ("pattern_type", Int8),
    ("principal", String("utf-8")),
    ("host", String("utf-8")),
    ("operation", Int8),
    ("permission", Int8),
)


class _CreateAclsResponse(Response):
    API_KEY, API_VERSION = 30, 1
    SCHEMA = Schema(("throttle_time_ms", Int32), ("results", Array(("error_code", Int16), ("message", String("utf-8")))))


class _CreateAclsRequest(RequestStruct):
    API_KEY, API_VERSION = 30, 1
    RESPONSE_TYPE = _CreateAclsResponse
    SCHEMA = Schema(("creations", Array(*_ENTRY)))


class _CreateAcls(Request[_CreateAclsRequest]):
    """aiokafka's admin client knows no access rules."""

    API_KEY = 30

    def __init__(self, entries: Sequence[Any]) -> None:
        self._entries = list(entries)

    def build(self, request_struct_class: type[_CreateAclsRequest]) -> _CreateAclsRequest:
        return request_struct_class(self._entries)


class _DeleteAclsResponse(Response):
    API_KEY, API_VERSION = 31, 1
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "results",
            Array(
                ("error_code", Int16),
                ("message", String("utf-8")),
                ("matching", Array(("error_code", Int16), ("message", String("utf-8")), *_ENTRY)),
            ),
        ),
    )


class _DeleteAclsRequest(RequestStruct):
    API_KEY, API_VERSION = 31, 1
    RESPONSE_TYPE = _DeleteAclsResponse
    SCHEMA = Schema(("filters", Array(*_ENTRY)))


class _DeleteAcls(Request[_DeleteAclsRequest]):
    API_KEY = 31

    def __init__(self, entries: Sequence[Any]) -> None:
        self._entries = list(entries)

    def build(self, request_struct_class: type[_DeleteAclsRequest]) -> _DeleteAclsRequest:
        return request_struct_class(self._entries)
