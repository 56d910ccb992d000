"""Which stream an address means."""

from actlabel.core.errors import UserError
from actlabel.runtime.settings import Settings
from actlabel.stream.kafka_stream import open_kafka_stream
from actlabel.stream.port import Stream
from actlabel.stream.sqlite_stream import open_sqlite_stream


async def open_stream(settings: Settings, *, runs_stages: bool) -> Stream:
    """Open ``sqlite:///path`` or ``kafka://host:port``. Raises ``UserError``: unusable address, broker not there, role taken."""
    address = settings.stream
    if (path := address.removeprefix("sqlite:///")) not in (address, ""):
        return await open_sqlite_stream(path, runs_stages=runs_stages)
    if (servers := address.removeprefix("kafka://")) not in (address, ""):
        return await open_kafka_stream(servers, session_timeout_s=settings.session_timeout_s)
    raise UserError(f"ACTLABEL_STREAM: {address!r} is neither sqlite:///path nor kafka://host:port[,host:port]")
