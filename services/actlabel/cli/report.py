"""``actlabel report``: what the labels of a campaign are worth, as a page and as JSON."""

import json
from pathlib import Path
from typing import Annotated

import typer

from actlabel.cli.running import run_with_host
from actlabel.host.host import Host
from actlabel.report.collect import collect
from actlabel.report.evidence import Evidence
from actlabel.report.findings import find
from actlabel.report.models_file import read_models
from actlabel.report.page import render_page
from actlabel.report.summary import summary
from actlabel.report.whole_file import write_whole


def add_to(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command()(report)


def report(
    campaign: Annotated[str, typer.Argument(help="the campaign's name")],
    out: Annotated[Path, typer.Option(help="the page: one HTML file without anything beside it")] = Path("report.html"),
    models: Annotated[Path | None, typer.Option(help="results.json of `actlabel train`, to show the trained models too")] = None,
    json_out: Annotated[Path | None, typer.Option("--json", help="write the numbers for machines to this file")] = None,
) -> None:
    """Estimate label accuracy with its interval, judge the critic, and draw it all on one page."""
    trained = read_models(models) if models is not None else []

    async def work(host: Host) -> Evidence:
        return await collect(host, await host.campaigns.newest(campaign))

    findings = find(run_with_host(work), trained)
    write_whole(out, render_page(findings))
    typer.echo(f"{campaign}: {out}")
    if json_out is not None:
        write_whole(json_out, json.dumps(summary(findings), indent=1) + "\n")
        typer.echo(f"{campaign}: {json_out}")
