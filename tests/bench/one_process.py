"""The stages in one process, as `actlabel up` runs them: ``python one_process.py WORK.json``. Writes what it took beside the work.

On the SQLite log and database unless the work names others. It is measured from outside, by the CPU of the whole process, and by its own
clock from the moment when every stage has joined to the moment when every row has come out.
"""

import asyncio
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import yaml

from actlabel.annotator.main import run as run_annotator
from actlabel.cli.running import run_with_host
from actlabel.cli.serve import run_stages
from actlabel.core import topics
from actlabel.criticizer.main import run as run_criticizer
from actlabel.host.campaign_life import apply_campaign
from actlabel.host.host import Host
from actlabel.intake.fields import Fields
from actlabel.intake.ingest import ingest
from actlabel.intake.register import Register
from actlabel.runtime.campaign_file import parse_campaign
from actlabel.runtime.campaigns import Campaign
from actlabel.runtime.lifecycle import run_together
from actlabel.runtime.media import MediaStore
from actlabel.runtime.settings import Settings, load_settings


@dataclass(frozen=True, kw_only=True)
class Work:
    """What to do."""

    rows: Path  # JSONL with id and text
    folder: Path  # for everything that is kept
    count: int  # of rows
    campaign: dict[str, Any]
    stages: str  # annotate, criticize (both), or all
    in_flight: int
    stream: str = ""
    database: str = ""

    @classmethod
    def read(cls, path: Path) -> "Work":
        """Read the file."""
        document = orjson.loads(path.read_bytes())
        return cls(**{**document, "rows": Path(document["rows"]), "folder": Path(document["folder"])})

    def settings(self) -> Settings:
        """What the environment would say."""
        return load_settings(
            stream=self.stream or f"sqlite:///{self.folder}/stream.db",
            database=self.database or f"sqlite:///{self.folder}/actlabel.db",
            storage=str(self.folder / "storage"),
            calls_in_flight=2 * self.in_flight,
            review_port=0,
            log_level="warning",
        )


_LAST = {"annotate": (topics.ANNOTATED,), "criticize": (topics.CRITIQUED,), "all": (topics.MERGED, topics.REVIEW)}


async def through(host: Host, work: Work) -> None:
    """Take the rows in, run the stages until all are through."""
    async with asyncio.TaskGroup() as group:
        campaign = await apply_campaign(host, parse_campaign(yaml.safe_dump(work.campaign), where="bench"))
        group.create_task(_stages(host, work.stages))
        await _until_joined(host)
        started, cpu = time.monotonic(), time.process_time()
        await _take_in(host, campaign, work.rows)
        taken = time.monotonic()
        while await _records(host, campaign, _LAST[work.stages]) < work.count:  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.1)
        done = {"ingest_s": taken - started, "seconds": time.monotonic() - started, "cpu_s": time.process_time() - cpu}
        work.folder.with_suffix(".json").write_bytes(orjson.dumps(done))
        host.stop.set()


async def _stages(host: Host, which: str) -> None:
    if which == "all":
        await run_stages(host)
        return
    runs = [run_annotator, *([run_criticizer] if which == "criticize" else [])]
    await run_together(*(run(host, serve_grpc=False) for run in runs))


async def _until_joined(host: Host) -> None:
    """Wait for everything but reviewers, of whom there are none."""
    await asyncio.sleep(0.1)
    while [why for why in host.health.ready() if not why.startswith("review people")]:  # noqa: ASYNC110 - no event says so
        await asyncio.sleep(0.05)


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


async def _records(host: Host, campaign: Campaign, kinds: tuple[str, ...]) -> int:
    return sum([sum((await host.stream.end_offsets(topics.topic(kind, campaign.uid))).values()) for kind in kinds])


if __name__ == "__main__":
    chosen = Work.read(Path(sys.argv[1]))
    run_with_host(lambda host: through(host, chosen), runs_stages=True, settings=chosen.settings())
