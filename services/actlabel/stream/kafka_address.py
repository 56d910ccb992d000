"""What an address says about a Kafka cluster: where it is, how it is protected, and which files hold the secrets.

``kafka[+ssl|+sasl_ssl|+sasl_plaintext]://[user@]host:port[,host:port][?name=value&…]``; the names are the fields of ``KafkaAddress``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, unquote

from actlabel.core.errors import UserError

_PROTOCOLS: Final = {
    "kafka": "PLAINTEXT",
    "kafka+ssl": "SSL",
    "kafka+sasl_ssl": "SASL_SSL",
    "kafka+sasl_plaintext": "SASL_PLAINTEXT",
}
_MECHANISMS: Final = ("SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN")
_TLS_FILES: Final = ("ca_file", "certificate_file", "key_file", "key_password_file")
_SHAPE: Final = "kafka://host:port[,host:port], or kafka+sasl_ssl://user@host:port?password_file=/path&ca_file=/path"


@dataclass(frozen=True, slots=True, kw_only=True)
class KafkaAddress:
    """One cluster as one user sees it. Holds no secret: the files are read whenever a connection is made."""

    servers: str  # host:port[,host:port]
    protocol: str = "PLAINTEXT"  # as Kafka names it
    user: str | None = None  # of SASL
    mechanism: str = _MECHANISMS[0]  # of SASL
    password_file: Path | None = None  # of that user; white space at its end does not count
    ca_file: Path | None = None  # PEM, whom to trust; None: whom the system trusts
    certificate_file: Path | None = None  # PEM, our own, where the broker asks for one
    key_file: Path | None = None  # PEM, of that certificate; None: in the same file
    key_password_file: Path | None = None  # of that key, where it has one

    @property
    def tls(self) -> bool:
        """Whether connections are encrypted; the broker's certificate and name are then always checked."""
        return self.protocol.endswith("SSL")

    @property
    def sasl(self) -> bool:
        """Whether a user logs in."""
        return self.protocol.startswith("SASL")


def is_kafka(address: str) -> bool:
    """Say whether an address means Kafka."""
    return address.partition("://")[0] in _PROTOCOLS


def parse_kafka_address(address: str, *, where: str) -> KafkaAddress:
    """Read an address; a bare ``host:port`` is plain Kafka. ``where``: the setting or field, for the message of ``UserError``."""
    scheme, separated, rest = address.partition("://")
    if not separated:
        scheme, rest = "kafka", address
    rest, _, query = rest.partition("?")
    user, _, servers = rest.rpartition("@")
    if ":" in user:
        raise UserError(f"{where}: holds a password; write that into a file and name it instead: …?password_file=/path")
    if (protocol := _PROTOCOLS.get(scheme)) is None:
        raise UserError(f"{where}: {scheme}:// is none of {', '.join(name + '://' for name in _PROTOCOLS)}")
    fields = _fields(query, where)
    files = {name: Path(value) for name, value in fields.items() if name.endswith("_file")}
    made = KafkaAddress(
        servers=_servers(servers, where),
        protocol=protocol,
        user=unquote(user) or None,
        mechanism=fields.get("mechanism", _MECHANISMS[0]),
        **files,
    )
    _check(made, fields, where)
    return made


def _servers(servers: str, where: str) -> str:
    for server in servers.split(","):
        host, _, port = server.strip().rpartition(":")
        if not host or not port.isdigit():
            raise UserError(f"{where}: {server!r} is not host:port; write {_SHAPE}")
    return servers


def _fields(query: str, where: str) -> Mapping[str, str]:
    fields = dict(parse_qsl(query, keep_blank_values=True))
    known = {"mechanism", "password_file", *_TLS_FILES}
    if unknown := sorted(set(fields) - known):
        raise UserError(f"{where}: ?{unknown[0]}= is not known; there are {', '.join(sorted(known))}")
    if empty := sorted(name for name, value in fields.items() if not value):
        raise UserError(f"{where}: ?{empty[0]}= is empty")
    return fields


def _check(made: KafkaAddress, fields: Mapping[str, str], where: str) -> None:
    """Refuse what would be ignored or would give a secret away."""
    sasl, tls = {"mechanism", "password_file"} & set(fields), sorted(set(_TLS_FILES) & set(fields))
    if made.sasl and (made.user is None or made.password_file is None):
        raise UserError(f"{where}: a user logs in: write {_SHAPE.partition(', or ')[2]}")
    if not made.sasl and (sasl or made.user is not None):
        raise UserError(f"{where}: names a user, but nobody logs in at {made.protocol}; write kafka+sasl_ssl://")
    if tls and not made.tls:
        raise UserError(f"{where}: ?{tls[0]}= is for TLS; write kafka+ssl:// or kafka+sasl_ssl://")
    if made.mechanism not in _MECHANISMS:
        raise UserError(f"{where}: ?mechanism={made.mechanism} is none of {', '.join(_MECHANISMS)}")
    if made.mechanism == "PLAIN" and not made.tls:
        raise UserError(f"{where}: PLAIN sends the password as it is; write kafka+sasl_ssl://, or use SCRAM-SHA-512")
    if made.certificate_file is None and (made.key_file or made.key_password_file):
        raise UserError(f"{where}: a key is named without its certificate; add certificate_file=/path")
