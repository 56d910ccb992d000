"""Which stream an address means."""

from actlabel.core.errors import UserError
from actlabel.runtime.settings import Settings
from actlabel.stream.kafka_address import is_kafka
from actlabel.stream.kafka_stream import open_kafka_stream
from actlabel.stream.port import Stream
from actlabel.stream.sqlite_stream import open_sqlite_stream


async def open_stream(settings: Settings, *, runs_stages: bool) -> Stream:
    """Open ``sqlite:///path`` or ``kafka://host:port`` (see ``kafka_address``).

    Raises ``UserError``: unusable address, role taken; of them ``NotUsableYet``: broker not there or not to be entered.
    """
    address = settings.stream
    if (path := address.removeprefix("sqlite:///")) not in (address, ""):
        return await open_sqlite_stream(path, runs_stages=runs_stages)
    if is_kafka(address):
        return await open_kafka_stream(address, session_timeout_s=settings.session_timeout_s)
    raise UserError(f"ACTLABEL_STREAM: {address!r} is neither sqlite:///path nor kafka://host:port[,host:port]")
