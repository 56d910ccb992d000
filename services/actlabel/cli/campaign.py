"""``actlabel campaign``: apply, list, show, seal, pause, resume, dedicate, share, settle, delete."""

from pathlib import Path
from typing import Annotated

import typer
import yaml
from rich.console import Console
from rich.table import Table
from rich.text import Text

from actlabel.chat.settlement import cost_of_answers, read_money
from actlabel.chat.settlement import settle as settle_lost
from actlabel.cli.pauses import described
from actlabel.cli.running import run_with_host
from actlabel.core import topics
from actlabel.host.campaign_life import apply_campaign, delete_campaign
from actlabel.host.dedicate import STAGES, dedicate, share
from actlabel.host.host import Host
from actlabel.runtime.campaign_file import read_campaign_file
from actlabel.runtime.campaigns import CampaignStatus

commands = typer.Typer(no_args_is_help=True, help="Labelling projects: a YAML file each.")
Name = Annotated[str, typer.Argument(help="the campaign's name")]


def add_to(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.add_typer(commands, name="campaign")


@commands.command()
def apply(file: Annotated[Path, typer.Argument(help="the campaign file")]) -> None:
    """Store a campaign file as a new version, make its topics, and lift every pause."""
    document = read_campaign_file(file)

    async def work(host: Host) -> None:
        campaign = await apply_campaign(host, document)
        typer.echo(f"{campaign.name}: version {campaign.version} (uid {campaign.uid}, {campaign.partitions} partitions)")

    run_with_host(work)


@commands.command("list")
def list_campaigns() -> None:
    """List every campaign."""

    async def work(host: Host) -> None:
        table = Table("name", "version", "uid", "rule", "budget", "mode", "status")
        for campaign in await host.campaigns.list():
            sampler, status = campaign.file.sampler, await host.campaigns.status(campaign.uid)
            cells = (campaign.name, str(campaign.version), campaign.uid, sampler.rule, str(sampler.budget), sampler.mode)
            table.add_row(*cells, Text("\n".join(described(campaign.name, status.pauses)) or _sealed(status)))
        Console().print(table)

    run_with_host(work)


def _sealed(status: CampaignStatus) -> str:
    return f"{len(status.seals)} batches sealed" if status.seals else "open"


@commands.command()
def show(name: Name) -> None:
    """Show the newest version of a campaign with every default written out, and its status."""

    async def work(host: Host) -> None:
        campaign = await host.campaigns.newest(name)
        status = await host.campaigns.status(campaign.uid)
        typer.echo(yaml.safe_dump(campaign.file.model_dump(mode="json"), sort_keys=False, allow_unicode=True), nl=False)
        typer.echo(f"# version {campaign.version}, uid {campaign.uid}, batch {status.batch}")
        for batch, items in status.seals.items():
            typer.echo(f"# batch {batch} is sealed with {items} items")
        for line in described(name, status.pauses):
            typer.echo(f"# {line}")

    run_with_host(work)


@commands.command()
def seal(name: Name) -> None:
    """Say that no more items come to the present batch: exact sampling waits for this."""

    async def work(host: Host) -> None:
        campaign = await host.campaigns.newest(name)
        items = await host.campaigns.seal(campaign.uid)
        typer.echo(f"{name}: sealed with {items} items")

    run_with_host(work)


@commands.command()
def pause(name: Name, reason: Annotated[str, typer.Option(help="shown wherever the campaign is")] = "paused by hand") -> None:
    """Stop a campaign at every stage; calls in flight are finished."""

    async def work(host: Host) -> None:
        campaign = await host.campaigns.newest(name)
        await host.campaigns.pause(campaign.uid, "*", reason)
        typer.echo(f"{name}: paused at every stage; `actlabel campaign resume {name}` lifts it")

    run_with_host(work)


@commands.command()
def resume(name: Name) -> None:
    """Lift every pause of a campaign: one made by hand, by too many dead letters, or by a stage that could not go on."""

    async def work(host: Host) -> None:
        campaign = await host.campaigns.newest(name)
        pauses = (await host.campaigns.status(campaign.uid)).pauses
        await host.campaigns.resume(campaign.uid)
        typer.echo(f"{name}: " + (f"resumed at {', '.join(sorted(pauses))}" if pauses else "was not paused"))

    run_with_host(work)


Stage = Annotated[str, typer.Argument(help=" or ".join(STAGES))]


@commands.command("dedicate")
def dedicate_stage(name: Name, stage: Stage) -> None:
    """Give a campaign a stage for itself: processes of `actlabel serve STAGE --campaign NAME` take it over where the others stood."""

    async def work(host: Host) -> None:
        campaign = await host.campaigns.newest(name)
        await dedicate(host, campaign, stage)
        group, topic = topics.campaign_group(stage, campaign.uid), topics.topic(topics.READS[stage], campaign.uid)
        typer.echo(f"{name}: has the {stage} for itself (group {group}, topic {topic})")

    run_with_host(work)


@commands.command("share")
def share_stage(name: Name, stage: Stage) -> None:
    """Undo `dedicate`: the campaign shares the stage with all others again, which go on where its own processes stood."""

    async def work(host: Host) -> None:
        await share(host, await host.campaigns.newest(name), stage)
        typer.echo(f"{name}: shares the {stage} with all others")

    run_with_host(work)


@commands.command()
def settle(
    name: Name,
    spent_usd: Annotated[
        float | None, typer.Option("--spent-usd", help="what those processes really spent, as the provider's bill says")
    ] = None,
) -> None:
    """Show the money of a campaign; say what processes that were killed had spent, so that the rest of their reservations is free."""

    async def work(host: Host) -> None:
        uid = (await host.campaigns.newest(name)).uid
        if spent_usd is not None:
            freed = await settle_lost(host.database, host.clock, uid, spent_usd=spent_usd)
            typer.echo(f"{name}: ${freed:.4f} are free again")
        money = await read_money(host.database, host.clock, uid)
        typer.echo(f"{name}: ${money.spent_usd:.4f} are spent, ${money.held_usd:.4f} are held for calls in flight")
        typer.echo(f"{name}: ${money.lost_usd:.4f} are reserved by processes that ended without settling")
        typer.echo(f"{name}: the answers stored cost ${await cost_of_answers(host.database, uid):.4f}")

    run_with_host(work)


@commands.command()
def delete(name: Name, yes: Annotated[bool, typer.Option("--yes", help="do not ask")] = False) -> None:
    """Delete a campaign: its topics, its results and its reviews. Export what you need first."""
    if not yes:
        typer.confirm(f"Delete campaign {name} with its labels and reviews?", abort=True)

    async def work(host: Host) -> None:
        campaign = await delete_campaign(host, name)
        typer.echo(f"{name}: deleted (uid {campaign.uid})")

    run_with_host(work)
