"""The secret files of a Kafka address, read anew for every connection, so that a rotated one counts from the next connect on."""

import asyncio
import ssl
from pathlib import Path
from typing import Any, Final

from aiokafka.client import AIOKafkaClient

from actlabel.stream.kafka_address import KafkaAddress
from actlabel.stream.kafka_connection import PlainSpokenConnection, has_lost_connection

_GOODBYE_S: Final = 0.1  # for what is still to be written


def read_password(address: KafkaAddress) -> str | None:
    """Return the password of the address's user, None where nobody logs in. Raises ``OSError`` that names the file."""
    return None if address.password_file is None else _text(address.password_file)


def tls_context(address: KafkaAddress) -> ssl.SSLContext | None:
    """Make the TLS side of one connection; it checks the broker's certificate and name. Raises ``OSError`` that names the file."""
    if not address.tls:
        return None
    try:
        context = ssl.create_default_context(cadata=_text(address.ca_file) if address.ca_file else None)
    except ssl.SSLError as error:
        raise OSError(f"{address.ca_file} holds no certificate in PEM ({error.reason or error})") from error
    if address.certificate_file is not None:
        _load_own(context, address.certificate_file, address.key_file, address.key_password_file)
    return context


def _load_own(context: ssl.SSLContext, certificate: Path, key: Path | None, key_password: Path | None) -> None:
    """Show who we are. A key that is encrypted must not make OpenSSL ask at a terminal."""
    for path in (certificate, key):
        if path is not None:
            path.read_bytes()  # OpenSSL's own error names no file
    password = "" if key_password is None else _text(key_password)
    try:
        context.load_cert_chain(certificate, key, password=lambda: password)
    except ssl.SSLError as error:
        raise OSError(f"{certificate} and its key cannot be used ({error.reason or error})") from error


def _text(path: Path) -> str:
    try:
        text = path.read_text().rstrip()
    except UnicodeDecodeError as error:
        raise OSError(f"{path} is not text") from error
    if not text:
        raise OSError(f"{path} is empty")
    return text


class FreshClient(AIOKafkaClient):  # type: ignore[misc]  # aiokafka has no types
    """aiokafka's connections, which take up the secret files as they are at the moment of each connect.

    An object of aiokafka makes its client itself and for good, with secrets by value; so the class of that client is exchanged.
    """

    _address: KafkaAddress

    @classmethod
    def take_over(cls, client: Any, address: KafkaAddress) -> None:
        """Let a client, not yet started, read the files of ``address``."""
        client.__class__ = cls
        client._address = address  # noqa: SLF001

    @property
    def _ssl_context(self) -> ssl.SSLContext | None:
        return tls_context(self._address)

    @property
    def _sasl_plain_password(self) -> str | None:
        return read_password(self._address)

    async def _get_conn(self, node_id: Any, **options: Any) -> Any:
        """See ``kafka_connection``."""
        try:
            connection = await super()._get_conn(node_id, **options)
        except RuntimeError as error:
            if not has_lost_connection(error):
                raise
            self.force_metadata_update()  # as after every connect that failed
            return None
        return None if connection is None else PlainSpokenConnection.take_over(connection)

    async def close(self) -> None:
        """Close every connection without waiting for a goodbye over TLS: the broker may say none, and uvloop waits half a minute for it.

        Each consumer, producer and admin client has its own connections, so a process that ends waited for several of these one by one,
        and an audit over TLS for one after every partition.
        """
        transports = [connection._writer.transport for connection in self._conns.values() if connection._writer is not None]  # noqa: SLF001
        closing = asyncio.create_task(super().close())
        if not (await asyncio.wait([closing], timeout=_GOODBYE_S))[0]:
            for transport in transports:
                transport.abort()
        await closing
