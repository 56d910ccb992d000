"""Certificates of one cluster, made for one run: a CA, servers, and users whose name and groups Kubernetes reads from the subject."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import trustme
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

ADMIN: Final = "admin"
_SERVER_NAMES: Final = ("127.0.0.1", "localhost", "kubernetes", "kubernetes.default.svc", "keda-operator.keda.svc")
_GROUPS: Final = {ADMIN: "system:masters", "system:node:laptop": "system:nodes"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A certificate and its key."""

    certificate: Path
    key: Path


class Certificates:
    """Files in a folder; each is made when it is asked for first."""

    def __init__(self, folder: Path) -> None:
        """``folder``: made where it is not there."""
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._ca, self._front_ca = trustme.CA(), trustme.CA()
        self.ca, self.front_ca = folder / "ca.crt", folder / "front-ca.crt"
        self._ca.cert_pem.write_to_path(self.ca)
        self._front_ca.cert_pem.write_to_path(self.front_ca)

    def server(self, name: str) -> Pair:
        """A server on this machine."""
        return self._issue(name, self._ca, *_SERVER_NAMES, organization="servers")

    def user(self, name: str) -> Pair:
        """A user of the API server, with the groups that the name implies."""
        return self._issue(name, self._ca, "user.test", organization=_GROUPS.get(name, "users"))

    def front_proxy(self) -> Pair:
        """The API server itself, as it comes to an aggregated API."""
        return self._issue("front-proxy", self._front_ca, "user.test", organization="users")

    def _issue(self, name: str, ca: trustme.CA, *identities: str, organization: str) -> Pair:
        stem = name.replace(":", "-")
        pair = Pair(certificate=self._folder / f"{stem}.crt", key=self._folder / f"{stem}.key")
        if not pair.key.exists():
            made = ca.issue_cert(*identities, common_name=name, organization_name=organization)
            made.cert_chain_pems[0].write_to_path(pair.certificate)
            made.private_key_pem.write_to_path(pair.key)
        return pair

    def service_account_keys(self) -> Pair:
        """The key that signs tokens of service accounts, and its public half."""
        pair = Pair(certificate=self._folder / "sa.pub", key=self._folder / "sa.key")
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        pair.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        pair.certificate.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
        return pair

    def kubeconfig(self, user: str, server: str) -> Path:
        """Write how ``user`` reaches the API server."""
        pair = self.user(user)
        path = self._folder / f"{user.replace(':', '-')}.kubeconfig"
        cluster = {"server": server, "certificate-authority": str(self.ca)}
        credentials = {"client-certificate": str(pair.certificate), "client-key": str(pair.key)}
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "local", "cluster": cluster}],
            "users": [{"name": user, "user": credentials}],
            "contexts": [{"name": "local", "context": {"cluster": "local", "user": user}}],
            "current-context": "local",
        }
        path.write_text(json.dumps(document))
        return path
