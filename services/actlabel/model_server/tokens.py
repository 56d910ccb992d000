"""Who may ask: bearer tokens from a file, one a line, so that a new one can be added before the old one goes."""

import hmac
import ipaddress
from pathlib import Path
from typing import Final

from actlabel.core.errors import NotUsableYet, UserError
from actlabel.runtime.clock import Clock
from actlabel.runtime.log import get_log

_SHORTEST_TOKEN: Final = 24
_KEPT_S: Final = 10.0
_log = get_log(__name__)


class Tokens:
    """Reads the file again after some seconds, so that a rotated secret is taken up without a restart."""

    def __init__(self, path: Path | None, *, host: str, clock: Clock) -> None:
        """``path``: None lets everybody in, which only this machine may be. Raises ``UserError``, of a file ``NotUsableYet``."""
        if path is None and not _is_loopback(host):
            raise UserError(
                f"ACTLABEL_MODEL_TOKEN_FILE: is needed where others than this machine may ask (ACTLABEL_HOST is {host}); "
                "put a random token of 24 characters or more into a file and name it"
            )
        self._path = path
        self._clock = clock
        self._read_s = clock.monotonic()
        self._tokens = _read(path) if path is not None else ()

    def allow(self, header: str) -> bool:
        """Say whether an ``Authorization`` header holds one of the tokens."""
        if self._path is None:
            return True
        self._refresh(self._path)
        given = header.encode("utf-8", "surrogatepass")
        matches = [hmac.compare_digest(given, f"Bearer {token}".encode()) for token in self._tokens]
        return any(matches)

    def _refresh(self, path: Path) -> None:
        if self._clock.monotonic() - self._read_s < _KEPT_S:
            return
        self._read_s = self._clock.monotonic()
        try:
            self._tokens = _read(path)
        except UserError as error:
            _log.error("The token file became unusable; the tokens that were read before still count", error=str(error))


def _read(path: Path) -> tuple[str, ...]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise NotUsableYet(f"ACTLABEL_MODEL_TOKEN_FILE: {path} cannot be read ({error})") from error
    tokens = tuple(line.strip() for line in lines if line.strip())
    if not tokens or any(len(token) < _SHORTEST_TOKEN for token in tokens):
        raise NotUsableYet(f"ACTLABEL_MODEL_TOKEN_FILE: {path} must hold tokens of {_SHORTEST_TOKEN} characters or more, one a line")
    return tokens


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
