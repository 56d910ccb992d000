"""API keys: read where the campaign file says, kept for a minute, never logged."""

import os
from pathlib import Path

from actlabel.core.errors import UserError
from actlabel.runtime.campaign_file import Endpoint
from actlabel.runtime.clock import Clock

_KEPT_S = 60.0


class Keys:
    """Reads keys again after a minute, so that a rotated secret is taken up without a restart."""

    def __init__(self, clock: Clock) -> None:
        """Begin with no key read."""
        self._clock = clock
        self._kept: dict[tuple[Path | None, str | None], tuple[float, str]] = {}

    def key(self, endpoint: Endpoint) -> str | None:
        """Return the key of an endpoint, None where it needs none. Raises ``UserError`` that names the field."""
        if endpoint.api_key_file is None and endpoint.api_key_env is None:
            return None
        place = (endpoint.api_key_file, endpoint.api_key_env)
        kept = self._kept.get(place)
        if kept is None or self._clock.monotonic() - kept[0] > _KEPT_S:
            kept = self._kept[place] = (self._clock.monotonic(), _read(endpoint))
        return kept[1]

    def forget(self, endpoint: Endpoint) -> None:
        """Read the key of this endpoint anew next time: the endpoint did not take it."""
        self._kept.pop((endpoint.api_key_file, endpoint.api_key_env), None)


def _read(endpoint: Endpoint) -> str:
    if endpoint.api_key_file is not None:
        return _checked(_from_file(endpoint.api_key_file), f"api_key_file: {endpoint.api_key_file}")
    assert endpoint.api_key_env is not None, "one of the two is given"
    return _checked(os.environ.get(endpoint.api_key_env, ""), f"api_key_env: the environment variable {endpoint.api_key_env}")


def _from_file(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"api_key_file: {path} cannot be read ({type(error).__name__}); put the key of the endpoint there") from error


def _checked(text: str, field: str) -> str:
    key = text.strip()
    if not key:
        raise UserError(f"{field} is empty or missing; put the key of the endpoint there")
    if not key.isascii() or not key.isprintable():
        raise UserError(f"{field} holds characters that no key has; is it one line of text?")
    return key
