"""The command line: one file per command, joined here."""

import sys

import typer

from actlabel.core.errors import ActlabelError

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)


@app.callback()
def _root() -> None:
    """Turn raw text and images into training data that can be trusted."""


def main() -> None:
    """Run the command line; a user's mistake ends with one clear line and exit code 2."""
    try:
        app()
    except ActlabelError as error:
        sys.stderr.write(f"actlabel: {error}\n")
        sys.exit(2)
