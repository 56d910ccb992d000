"""How a paused campaign is shown: why, and what to do."""

from collections.abc import Mapping, Sequence

from actlabel.cli.printable import printable
from actlabel.runtime.campaigns import EVERY_STAGE


def described(name: str, pauses: Mapping[str, str]) -> Sequence[str]:
    """Return a line per paused stage, and one that says how to go on; nothing where nothing is paused."""
    if not pauses:
        return ()
    lines = [
        f"PAUSED at {'every stage' if stage == EVERY_STAGE else stage}: {printable(reason)}" for stage, reason in sorted(pauses.items())
    ]
    return (*lines, f"remove the cause, then `actlabel campaign resume {name}`; applying a changed campaign file lifts it too")
