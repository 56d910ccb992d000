"""actlabel, as `actlabel up` runs it: ``python ours.py WORK.json``. One process, SQLite log and SQLite database.

What the peers do not do is done all the same: every record and every answer is on disk before the next step, offsets are committed.
"""

import asyncio
import sys
from pathlib import Path

import orjson
import uvloop
import yaml

from actlabel.annotator.main import run as run_annotator
from actlabel.cli.serve import run_stages
from actlabel.core import topics
from actlabel.criticizer.main import run as run_criticizer
from actlabel.host.campaign_life import apply_campaign
from actlabel.host.host import Host, open_host
from actlabel.intake.fields import Fields
from actlabel.intake.ingest import ingest
from actlabel.intake.register import Register
from actlabel.runtime.campaign_file import parse_campaign
from actlabel.runtime.campaigns import Campaign
from actlabel.runtime.lifecycle import run_together
from actlabel.runtime.log import configure_logs
from actlabel.runtime.media import MediaStore
from actlabel.runtime.settings import load_settings


async def main(work: dict) -> None:
    """Take the rows in, run the stages until all are through."""
    folder = Path(work["out"])
    settings = load_settings(
        stream=f"sqlite:///{folder}/stream.db",
        database=f"sqlite:///{folder}/actlabel.db",
        storage=str(folder / "storage"),
        calls_in_flight=2 * work["in_flight"],
        review_port=0,
    )
    async with open_host(settings, runs_stages=True) as host:
        campaign = await apply_campaign(host, parse_campaign(yaml.safe_dump(work["campaign"]), where="bench"))
        last = topics.CRITIQUED if len(work["steps"]) > 1 else topics.ANNOTATED
        async with asyncio.TaskGroup() as group:
            group.create_task(_stages(host, work))
            await _take_in(host, campaign, Path(work["rows"]))
            while await _records(host, campaign, last) < work["count"]:  # noqa: ASYNC110 - what is waited for has no event
                await asyncio.sleep(0.1)
            host.stop.set()


async def _stages(host: Host, work: dict) -> None:
    if work.get("everything"):
        await run_stages(host)
        return
    both = [run_annotator(host, serve_grpc=False), run_criticizer(host, serve_grpc=False)]
    for unused in both[len(work["steps"]) :]:
        unused.close()
    await run_together(*both[: len(work["steps"])])


async def _take_in(host: Host, campaign: Campaign, path: Path) -> None:
    register = Register(
        database=host.database,
        producer=host.stream.producer(),
        media=MediaStore(host.settings.storage),
        clock=host.clock,
        campaign=campaign,
    )
    await ingest(register, path, Fields(), progress=lambda *_: None)
    await host.campaigns.seal(campaign.uid)


async def _records(host: Host, campaign: Campaign, kind: str) -> int:
    return sum((await host.stream.end_offsets(topics.topic(kind, campaign.uid))).values())


if __name__ == "__main__":
    configure_logs(level="warning", json=False)
    uvloop.run(main(orjson.loads(Path(sys.argv[1]).read_bytes())))
