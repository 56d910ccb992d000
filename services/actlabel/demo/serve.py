"""``actlabel demo --serve``: the review page, open for a person, with a few items of a campaign of its own."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import uvloop

from actlabel.demo.campaign import campaign_page, write_campaign
from actlabel.demo.digits import read_digits, split, write_images
from actlabel.demo.labelling import free_port, running, take
from actlabel.demo.models import served
from actlabel.demo.system import Stages
from actlabel.demo.workspace import Workspace
from actlabel.host.campaign_life import apply_campaign
from actlabel.host.host import open_host
from actlabel.host.progress import read_progress
from actlabel.runtime.campaign_file import CampaignFile
from actlabel.runtime.lifecycle import stop_signals, until

NAME = "digits-to-try"
_ITEMS = 12
_USUAL_PORT = 8400
_LOOK_S = 0.2


def serve_reviews(workspace: Workspace, *, seed: int, stages: Stages, say: Callable[[str], None]) -> None:
    """Label a few images with the models, put all of them up for review, and keep the page open until SIGINT or SIGTERM."""
    digits = read_digits()
    splits = split(digits.labels, seed=seed)
    write_images(workspace.try_images, digits, splits.campaign[:: len(splits.campaign) // _ITEMS][:_ITEMS])
    with served(splits) as endpoint, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        page = campaign_page(name=NAME, endpoint=endpoint, budget="100%", audit_share=0.0, seed=seed)
        file = write_campaign(workspace.root / "campaign-to-try.yaml", page)
        runner.run(_serve(workspace, file, workspace.try_images, stages=stages, say=say))


async def _serve(workspace: Workspace, file: CampaignFile, images: Path, *, stages: Stages, say: Callable[[str], None]) -> None:
    port = free_port(_USUAL_PORT)
    async with open_host(workspace.settings(review_port=port), runs_stages=True) as host:
        campaign = await apply_campaign(host, file)
        with stop_signals(host.stop):
            async with running(host, stages):
                await take(host, campaign, images)
                while not host.stop.is_set() and (await read_progress(host, campaign.uid)).open_reviews < _ITEMS:
                    await until(host.stop, _LOOK_S)
                say(f"\nThe review page: http://127.0.0.1:{port}  ({_ITEMS} items wait in campaign {NAME})")
                say(f"Its token: {workspace.token_file}  (one line; paste it into the page)")
                say("Ctrl-C ends it.")
                await host.stop.wait()
