"""The scripted reviewer works through the real gateway, as a person's browser would."""

import asyncio

import pytest

from actlabel.contracts.v1.item_pb2 import CampaignRef, Item
from actlabel.core import topics
from actlabel.core.errors import Fatal
from actlabel.dataset.merged import read_merged
from actlabel.demo.campaign import campaign_page, write_campaign
from actlabel.demo.labelling import running
from actlabel.demo.reviewer import ScriptedReviewer
from actlabel.demo.workspace import fresh
from actlabel.host.campaign_life import apply_campaign
from actlabel.host.host import open_host
from actlabel.host.progress import read_progress
from actlabel.review_gateway import main as gateway

TRUTH = {f"digit-{number:04d}": str(number % 10) for number in range(30)}


def review_request(uid, item_id):
    item = Item(id=item_id, campaign=CampaignRef(uid=uid, version=1), batch=1, revision=1)
    item.content.parts.add(name="text").text = "an image would be here"
    item.annotation.label = "0"
    item.critique.error_probability = 0.5
    item.decision.draw, item.decision.selected, item.decision.cell_selected, item.decision.cell_size = 1, True, 30, 30
    return item


async def review(tmp_path, *, token=None, truth=TRUTH):
    """Put every item of the truth up for review and let the script work until all answers are on the merged topic."""
    workspace = fresh(tmp_path / "demo")
    page = campaign_page(name="digits", endpoint="http://127.0.0.1:9/v1", budget="100%", audit_share=0.0, seed=0)
    url = asyncio.get_running_loop().create_future()
    async with open_host(workspace.settings(review_port=0), runs_stages=True) as host:
        campaign = await apply_campaign(host, write_campaign(workspace.campaign, page))
        topic = topics.topic(topics.REVIEW, campaign.uid)
        for item_id in truth:
            await host.stream.producer().send(topic, key=item_id.encode(), value=review_request(campaign.uid, item_id).SerializeToString())
        async with running(host, lambda opened: gateway.run(opened, started=url.set_result)) as group:
            own = workspace.token_file.read_text()
            reviewer = ScriptedReviewer(address=await url, token=token or own, campaign="digits", truth=truth)
            group.create_task(reviewer.work(host.stop))
            while (progress := await read_progress(host, campaign.uid)).merged_records < len(truth):
                assert not progress.status.pauses
                await asyncio.sleep(0.05)
        merged = await read_merged(host.stream, campaign.uid)
        return {item.id: item.review async for item in merged.items()}


async def test_every_item_gets_its_true_label(tmp_path):
    reviews = await asyncio.wait_for(review(tmp_path), 30)
    assert {item_id: one.label for item_id, one in reviews.items()} == TRUTH
    assert all(one.seconds >= 0 and one.reviewer for one in reviews.values())


async def test_a_gateway_that_refuses_ends_the_demo_with_its_words(tmp_path):
    with pytest.raises(Fatal, match="401"):
        await asyncio.wait_for(review(tmp_path, token="not the token at all, but long enough"), 30)


async def test_a_label_outside_the_campaign_ends_the_demo(tmp_path):
    with pytest.raises(Fatal, match="400"):
        await asyncio.wait_for(review(tmp_path, truth={"digit-0001": "eleven"}), 30)
