"""What a Kafka address may say, and what is refused before anybody connects."""

from pathlib import Path

import pytest

from actlabel.core.errors import UserError
from actlabel.host.host import open_host
from actlabel.runtime.settings import Settings
from actlabel.stream.kafka_address import KafkaAddress, is_kafka, parse_kafka_address

_LOGIN = "kafka+sasl_ssl://me@a:1?password_file=/p"


@pytest.mark.parametrize(
    ("address", "wanted"),
    [
        ("kafka://a:1,b:2", KafkaAddress(servers="a:1,b:2")),
        ("a:1,[::1]:2", KafkaAddress(servers="a:1,[::1]:2")),  # as Kafka's own clients take it
        ("kafka+ssl://a:1", KafkaAddress(servers="a:1", protocol="SSL")),
        (
            "kafka+ssl://a:1?ca_file=/c&certificate_file=/u&key_file=/k&key_password_file=/q",
            KafkaAddress(
                servers="a:1",
                protocol="SSL",
                ca_file=Path("/c"),
                certificate_file=Path("/u"),
                key_file=Path("/k"),
                key_password_file=Path("/q"),
            ),
        ),
        (_LOGIN, KafkaAddress(servers="a:1", protocol="SASL_SSL", user="me", password_file=Path("/p"))),
        (
            "kafka+sasl_ssl://me%40home@a:1?mechanism=PLAIN&password_file=/with%20space",
            KafkaAddress(servers="a:1", protocol="SASL_SSL", user="me@home", mechanism="PLAIN", password_file=Path("/with space")),
        ),
        (
            "kafka+sasl_plaintext://me@a:1?mechanism=SCRAM-SHA-256&password_file=p",
            KafkaAddress(servers="a:1", protocol="SASL_PLAINTEXT", user="me", mechanism="SCRAM-SHA-256", password_file=Path("p")),
        ),
    ],
)
def test_an_address_says_where_how_and_which_files(address: str, wanted: KafkaAddress):
    assert parse_kafka_address(address, where="x") == wanted


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("kafka+sasl_ssl://me:hunter2@a:1?password_file=/p", "holds a password; write that into a file"),
        ("kafka+sasl_ssl://me:hunter2@a:1", "holds a password; write that into a file"),
        ("kafka+sasl_ssl://a:1?password_file=/p", "a user logs in: write kafka.sasl_ssl://user@host:port"),
        ("kafka+sasl_ssl://me@a:1", "a user logs in: write"),
        ("kafka://me@a:1", "names a user, but nobody logs in at PLAINTEXT"),
        ("kafka+ssl://a:1?password_file=/p", "names a user, but nobody logs in at SSL"),
        ("kafka://a:1?ca_file=/c", r"\?ca_file= is for TLS"),
        ("kafka+sasl_plaintext://me@a:1?password_file=/p&ca_file=/c", r"\?ca_file= is for TLS"),
        ("kafka+sasl_plaintext://me@a:1?password_file=/p&mechanism=PLAIN", "PLAIN sends the password as it is"),
        (f"{_LOGIN}&mechanism=MD5", r"\?mechanism=MD5 is none of SCRAM-SHA-512, SCRAM-SHA-256, PLAIN"),
        (f"{_LOGIN}&password=hunter2", r"\?password= is not known; there are ca_file"),
        (f"{_LOGIN}&ca_file=", r"\?ca_file= is empty"),
        ("kafka+ssl://a:1?key_file=/k", "a key is named without its certificate"),
        ("kafka+tls://a:1", r"kafka\+tls:// is none of kafka://, kafka\+ssl://"),
        ("kafka://a", "'a' is not host:port; write kafka://host:port"),
        ("kafka://a:1,b", "'b' is not host:port"),
    ],
)
def test_what_would_be_ignored_or_give_a_secret_away_is_one_clear_line(address: str, message: str):
    with pytest.raises(UserError, match=f"^source.address: .*{message}") as said:
        parse_kafka_address(address, where="source.address")
    assert "hunter2" not in str(said.value)
    assert "\n" not in str(said.value)


@pytest.mark.parametrize("scheme", ["kafka", "kafka+ssl", "kafka+sasl_ssl", "kafka+sasl_plaintext"])
async def test_every_kafka_wants_a_database_for_several_processes(scheme: str):
    address = f"{scheme}://a:1"
    assert is_kafka(address)
    with pytest.raises(UserError, match="ACTLABEL_DATABASE must be postgresql://"):
        async with open_host(Settings(stream=address, database="sqlite:///x.db"), runs_stages=True):
            pass
