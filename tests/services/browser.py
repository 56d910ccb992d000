"""The Chromium that Playwright drives: the machine's own, since no browser comes with a Python package."""

import shutil

from tests.services.processes import CannotStartError

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def chromium() -> str:
    """Return the path of a Chromium. Raises ``CannotStartError``."""
    for name in _NAMES:
        if (path := shutil.which(name)) is not None:
            return path
    raise CannotStartError("there is no Chromium: install it (Debian: apt-get install chromium), or run tests/run embedded")
