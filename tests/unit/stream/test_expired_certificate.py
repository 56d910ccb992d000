"""A certificate that has run out is told as that, and not as one of a stranger."""

import asyncio
import datetime
import ssl
from pathlib import Path

import pytest
import trustme

from actlabel.stream.kafka_address import KafkaAddress
from actlabel.stream.kafka_knock import why_no_connection

_NOW = datetime.datetime.now(datetime.UTC)
_DAY = datetime.timedelta(days=1)


@pytest.mark.parametrize(
    ("begins", "ends", "words"),
    [(_NOW - 9 * _DAY, _NOW - _DAY, "has expired"), (_NOW + _DAY, _NOW + 9 * _DAY, "not yet valid")],
    ids=["expired", "of the future"],
)
async def test_the_broker_shows_a_certificate_that_is_not_valid_now(
    tmp_path: Path, begins: datetime.datetime, ends: datetime.datetime, words: str
) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.crt")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1", not_before=begins, not_after=ends).configure_cert(context)
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0, ssl=context)
    async with server:
        port = server.sockets[0].getsockname()[1]
        address = KafkaAddress(servers=f"127.0.0.1:{port}", protocol="SSL", ca_file=tmp_path / "ca.crt")
        said = await why_no_connection(address, timeout_s=5.0)
    assert said is not None
    assert said.startswith(f"the certificate of Kafka at 127.0.0.1:{port} is not valid now")
    assert words in said
    assert said.endswith("renew it, and check the clocks")
