"""Why Kafka cannot be reached, found by connecting once: aiokafka's own clients keep it to themselves."""

import asyncio
import ssl
from typing import Any, Final

from aiokafka.conn import create_conn
from aiokafka.errors import (
    IllegalSaslStateError,
    KafkaConnectionError,
    KafkaError,
    SaslAuthenticationFailed,
    UnsupportedSaslMechanismError,
)
from aiokafka.protocol.metadata import MetadataRequest

from actlabel.stream.kafka_address import KafkaAddress
from actlabel.stream.kafka_secrets import read_password, tls_context

_NO_LOGIN: Final = (SaslAuthenticationFailed, UnsupportedSaslMechanismError, IllegalSaslStateError)
_HOST_MISMATCH: Final = (62, 64)  # X509_V_ERR_HOSTNAME_MISMATCH, X509_V_ERR_IP_ADDRESS_MISMATCH
_NOT_IN_TIME: Final = (9, 10)  # X509_V_ERR_CERT_NOT_YET_VALID, X509_V_ERR_CERT_HAS_EXPIRED


async def why_no_connection(address: KafkaAddress, *, timeout_s: float) -> str | None:
    """Log in at one server after the other; return None at the first that lets us, else one line about the last."""
    servers = [server.strip() for server in address.servers.split(",")]
    why: str | None = "no address"
    for server in servers:
        if (why := await _knock(address, server, timeout_s / len(servers))) is None:
            return None
    return why


async def _knock(address: KafkaAddress, server: str, timeout_s: float) -> str | None:
    try:
        options = _secrets(address)
    except OSError as error:
        return f"a file of the Kafka address cannot be used: {error}"
    host, _, port = server.rpartition(":")
    try:
        async with asyncio.timeout(timeout_s):
            connection = await create_conn(host.strip("[]"), int(port), client_id="actlabel", request_timeout_ms=60_000, **options)
            try:
                await connection.send(MetadataRequest([]))
            finally:
                connection.close()
    except (KafkaError, OSError, TimeoutError, ValueError) as error:
        return _why(address, server, error)
    return None


def _secrets(address: KafkaAddress) -> dict[str, Any]:
    return {
        "security_protocol": address.protocol,
        "ssl_context": tls_context(address),
        "sasl_mechanism": address.mechanism if address.sasl else None,
        "sasl_plain_username": address.user,
        "sasl_plain_password": read_password(address),
    }


def _why(address: KafkaAddress, server: str, error: Exception) -> str:
    tls_error = next((one for one in (error, error.__cause__) if isinstance(one, ssl.SSLError)), None)
    if tls_error is not None:
        return _why_no_tls(address, server, tls_error)
    if isinstance(error, _NO_LOGIN):
        return _why_no_login(address, server, error)
    if isinstance(error, (KafkaConnectionError, ConnectionResetError, EOFError)):
        return f"what listens at {server} closes the connection: {_why_closed(address)}"
    if isinstance(error, TimeoutError) or (isinstance(error, KafkaError) and error.retriable):
        return f"what listens at {server} does not answer as Kafka does ({address.protocol}); see its log, and check the port"
    if isinstance(error, OSError):
        return f"no Kafka broker at {server} ({error}); start it, or correct the address"
    return f"Kafka at {server} cannot be used ({_plain(error)})"


def _why_no_login(address: KafkaAddress, server: str, error: Exception) -> str:
    who = f"Kafka at {server} does not let {address.user} in with {address.mechanism}"
    if isinstance(error, SaslAuthenticationFailed):
        return f"{who} ({_plain(error)}); check the user, what {address.password_file} holds, and for which mechanism the user was made"
    return f"{who} ({type(error).__name__}); check ?mechanism= and the port"


def _why_no_tls(address: KafkaAddress, server: str, error: ssl.SSLError) -> str:
    trusted = address.ca_file or "the system's list"
    if isinstance(error, ssl.SSLCertVerificationError):
        if error.verify_code in _HOST_MISMATCH:
            return f"the certificate of Kafka at {server} is for another host ({error.verify_message}); use a name that it has"
        if error.verify_code in _NOT_IN_TIME:
            return f"the certificate of Kafka at {server} is not valid now ({error.verify_message}); renew it, and check the clocks"
        return (
            f"the certificate of Kafka at {server} is not to be trusted ({error.verify_message}); ?ca_file= must hold its CA, now {trusted}"
        )
    return f"no TLS with Kafka at {server} ({error.reason or _plain(error)}): {_why_closed(address)}"


def _why_closed(address: KafkaAddress) -> str:
    """Guess the usual cause; Kafka says nothing before it closes."""
    if not address.tls:
        return f"it may speak TLS, or want a login; now {address.protocol}, there are kafka+ssl:// and kafka+sasl_ssl://"
    if address.certificate_file is None:
        login = "" if address.sasl else "want a login (kafka+sasl_ssl://), or "
        return f"it may not speak TLS at this port, or {login}ask for a client's certificate: ?certificate_file= and ?key_file="
    return f"it may not accept {address.certificate_file}, or not speak TLS at this port"


def _plain(error: Exception) -> str:
    text = str(error) if isinstance(error, KafkaError) else f"{type(error).__name__}: {error}"
    return " ".join(text.split())
