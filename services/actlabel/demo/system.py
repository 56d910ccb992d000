"""Where the stages of a demo are: in its own process, on the files of its folder, or elsewhere, running already."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from actlabel.core.errors import UserError
from actlabel.demo.workspace import Workspace
from actlabel.host.host import Host
from actlabel.runtime.settings import Settings, load_settings

Stages = Callable[[Host], Awaitable[None]]
"""Runs every stage on a host until its ``stop``; the command line knows them all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Elsewhere:
    """A system that runs already; its stream, database and storage are those of the environment."""

    review: str  # http://host:port of its gateway
    models_at: str  # http://host:port at which its stages reach the models, which this process serves


@dataclass(frozen=True, slots=True, kw_only=True)
class System:
    """What a run stands on."""

    settings: Settings
    stages: Stages
    runs_stages: bool  # in this process
    review: str  # http://host:port of the gateway
    token_file: Path  # the operator's token for it
    models_at: str | None  # None: any free port of this machine

    @property
    def token(self) -> str:
        """The operator's token."""
        return self.token_file.read_text(encoding="utf-8").strip()


def own_system(workspace: Workspace, stages: Stages, *, review_port: int) -> System:
    """Run every stage here, on the files of the workspace."""
    return System(
        settings=workspace.settings(review_port=review_port),
        stages=stages,
        runs_stages=True,
        review=f"http://127.0.0.1:{review_port}",
        token_file=workspace.token_file,
        models_at=None,
    )


def running_system(place: Elsewhere) -> System:
    """Use the stages that run elsewhere. Raises ``UserError`` for an address that is none, and without the operator's token."""
    for option, address in (("--running", place.review), ("--models-at", place.models_at)):
        if urlsplit(address).scheme != "http" or not urlsplit(address).hostname:
            raise UserError(f"{option} {address}: write http://host:port")
    settings = load_settings()
    if settings.review_token_file is None or not settings.review_token_file.is_file():
        raise UserError("ACTLABEL_REVIEW_TOKEN_FILE: --running needs the file of the operator's token, with which the script reviews")
    return System(
        settings=settings,
        stages=_elsewhere,
        runs_stages=False,
        review=place.review.rstrip("/"),
        token_file=settings.review_token_file,
        models_at=place.models_at.rstrip("/"),
    )


async def _elsewhere(host: Host) -> None:
    await host.stop.wait()
