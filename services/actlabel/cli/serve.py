"""``actlabel serve`` runs one stage as a process of its own; ``actlabel up`` runs all of them in one."""

from enum import StrEnum
from typing import Annotated

import typer

from actlabel.annotator.main import run as run_annotator
from actlabel.cli.model_process import run_model_process
from actlabel.cli.running import run_process, run_with_host
from actlabel.cli.signs_of_life import signs_of_life
from actlabel.cli.stage_process import Role, run_stage_process
from actlabel.core.errors import UserError
from actlabel.criticizer.main import run as run_criticizer
from actlabel.host.dedicate import STAGES
from actlabel.host.host import Host
from actlabel.mirror.main import run as run_mirror
from actlabel.review_gateway.main import run as run_review_gateway
from actlabel.runtime.lifecycle import run_together
from actlabel.runtime.settings import load_settings
from actlabel.sampler.main import run as run_sampler
from actlabel.source.main import run as run_source
from actlabel.stream.kafka_address import is_kafka


class RoleName(StrEnum):
    """What a process can be."""

    ANNOTATOR = "annotator"
    CRITICIZER = "criticizer"
    SAMPLER = "sampler"
    REVIEW_GATEWAY = "review-gateway"
    SOURCE = "source"
    MIRROR = "mirror"
    MODEL = "model"


ROLES = {
    role.name: role
    for role in (
        Role(name=RoleName.ANNOTATOR, run=run_annotator, offers_rpc=True),
        Role(name=RoleName.CRITICIZER, run=run_criticizer, offers_rpc=True),
        Role(name=RoleName.SAMPLER, run=run_sampler, offers_rpc=True),
        Role(name=RoleName.REVIEW_GATEWAY, run=run_review_gateway),
        Role(name=RoleName.SOURCE, run=run_source),
        Role(name=RoleName.MIRROR, run=run_mirror),
    )
}


def add_to(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command()(serve)
    app.command()(up)


def serve(
    role: Annotated[RoleName, typer.Argument(help="which stage")],
    campaign: Annotated[
        str | None, typer.Option(help="name or uid: work for it alone, see `campaign dedicate`; ACTLABEL_CAMPAIGN means the same")
    ] = None,
) -> None:
    """Run one stage, or the model server. Any number of processes may run the same one; stop with SIGTERM."""
    settings = load_settings(**({} if campaign is None else {"campaign": campaign}))
    if settings.campaign is not None and (role not in STAGES or not is_kafka(settings.stream)):
        raise UserError(f"campaign {settings.campaign}: only {' and '.join(STAGES)} can work for one alone, and only on Kafka")
    if role is RoleName.MODEL:
        run_process(run_model_process, runs_stages=False, settings=settings)
        return
    run_process(lambda chosen: run_stage_process(chosen, ROLES[role]), runs_stages=True, settings=settings)


def up() -> None:
    """Run every stage in one process on the embedded defaults; stop with Ctrl-C."""
    run_with_host(_until_stopped, runs_stages=True)


async def _until_stopped(host: Host) -> None:
    async with signs_of_life(host.settings, host.health, host.stop, role="up"):
        await run_stages(host)


async def run_stages(host: Host) -> None:
    """Run every stage on one host until ``host.stop``; when one fails, the others are abandoned as by a kill and its error is raised."""
    stages = (run(host, serve_grpc=False) for run in (run_annotator, run_criticizer, run_sampler))
    await run_together(*stages, run_review_gateway(host), run_source(host), run_mirror(host))
