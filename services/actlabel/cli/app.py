"""The command line: one file per command, joined here."""

import sys

import typer

from actlabel.cli import audit, campaign, dead, demo, export, ingest, model, report, reviewer, serve, standin, train, watch
from actlabel.core.errors import ActlabelError

COMMANDS = (demo, serve, campaign, ingest, watch, dead, audit, reviewer, export, train, model, report, standin)
"""In the order in which a newcomer meets them."""


def build() -> typer.Typer:
    """Join the commands."""
    app = typer.Typer(
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        help="Turn raw text and images into training data that can be trusted.",
    )
    for command in COMMANDS:
        command.add_to(app)
    return app


def main() -> None:
    """Run the command line; an error of ours ends with one clear line and exit code 2, an interrupt with 130."""
    try:
        build()(standalone_mode=True)
    except ActlabelError as error:
        sys.stderr.write(f"actlabel: {error}\n")
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
