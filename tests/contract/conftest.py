"""Every stream, each in turn."""

from collections.abc import AsyncIterator, Callable, Mapping

import pytest

from actlabel.runtime.settings import Settings
from actlabel.stream.memory import MemoryStream
from actlabel.stream.open import open_stream
from actlabel.stream.port import Stream
from tests.contract.stream_bench import Bench

_ADDRESSES: Mapping[str, Callable[[pytest.FixtureRequest], str]] = {
    "sqlite": lambda request: f"sqlite:///{request.getfixturevalue('tmp_path')}/stream.db",
    "kafka": lambda request: f"kafka://{request.getfixturevalue('kafka_address')}",
    "kafka-scram": lambda request: request.getfixturevalue("secured_kafka").scram(),  # login over TLS, as every client must manage
}


@pytest.fixture(params=["memory", *(pytest.param(k, marks=[pytest.mark.kafka] if "kafka" in k else []) for k in _ADDRESSES)])
async def bench(request: pytest.FixtureRequest) -> AsyncIterator[Bench]:
    if request.param == "memory":
        stream: Stream = MemoryStream()
    else:
        address = _ADDRESSES[request.param](request)
        stream = await open_stream(Settings(stream=address, session_timeout_s=6.0), runs_stages=True)
    yield Bench(stream)
    await stream.close()
