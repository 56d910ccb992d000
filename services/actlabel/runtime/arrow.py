"""Apache Arrow is imported where a table is read or written and nowhere else.

It is the largest of our packages (165 MB) and no stage needs it: the image of the services leaves it out (deploy/Dockerfile), and a stage
that does not import it is smaller by its memory.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from actlabel.core.errors import UserError


@contextmanager
def arrow_at_hand(what: str) -> Iterator[None]:
    """Import, in the block, a module that needs it. Raises ``UserError`` where it is not installed."""
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "pyarrow":
            raise
        raise UserError(f"{what} needs pyarrow, which is not here: use the training image, or pip install pyarrow") from error
