"""Asking about an item: render, look up, pay, read, repair once, store; and who is told when it cannot be done."""

import asyncio
import hashlib
import io
import struct
import zlib
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from actlabel.annotator.handle import AnnotateItem
from actlabel.chat.asker import Asker
from actlabel.chat.fake import FakeChat
from actlabel.chat.images import check_image
from actlabel.chat.port import EndpointRefused
from actlabel.chat.results import Results
from actlabel.chat.spend import Purse
from actlabel.chat.trial import trial
from actlabel.contracts.v1.item_pb2 import Item, Media
from actlabel.core.errors import CampaignPaused, DeadLetter, EndpointUnavailable, UserError
from actlabel.runtime.campaign_file import CampaignFile
from actlabel.runtime.campaigns import Campaign, Campaigns
from actlabel.runtime.clock import FakeClock
from actlabel.runtime.database.port import Database
from actlabel.runtime.media import INLINE_LIMIT_BYTES, MediaStore

GOOD, BAD, UNKNOWN = '{"label": "cat"}', "a cat, I think", '{"label": "cow"}'
PRICE = {"input_usd_per_million_tokens": 1000.0, "output_usd_per_million_tokens": 10_000.0}  # an answer of the fake: 0.2 dollars


def file(**fields: Any) -> CampaignFile:
    return CampaignFile.model_validate(
        {
            "name": "animals",
            "task": {"question": "Which animal?", "labels": ["cat", "dog"]},
            "annotator": {"endpoint": "http://here/v1", "model": "m", "price": PRICE, **fields.pop("annotator", {})},
            "criticizer": {"endpoint": "http://here/v1", "model": "n"},
            "sampler": {"budget": "10%"},
            "spend_cap_usd": 1000.0,
            **fields,
        }
    )


class Bench:
    """An annotator on a scripted model and a real database."""

    def __init__(self, database: Database, storage: Path) -> None:
        self.database, self.clock = database, FakeClock()
        self.campaigns = Campaigns(database, self.clock)
        self.media = MediaStore(str(storage))

    def annotator(self, script: Any) -> tuple[AnnotateItem, FakeChat]:
        chat = FakeChat(script)
        asker = Asker(
            stage="annotator",
            client=chat,
            results=Results(self.database, self.clock),
            purse=Purse(database=self.database, clock=self.clock, stage="annotator"),
            media=self.media,
            campaigns=self.campaigns,
            clock=self.clock,
        )
        return AnnotateItem(asker), chat


@pytest.fixture
def bench(database: Database, tmp_path: Path) -> Bench:
    return Bench(database, tmp_path / "storage")


def item(text: str = "miaow") -> Item:
    made = Item(id="i1", batch=1, revision=1)
    made.campaign.uid, made.campaign.version = "c", 1
    made.content.parts.add(name="text", text=text)
    made.content.metadata["source"] = "web"
    return made


def png(width: int = 4, height: int = 4, *, noisy: bool = False) -> bytes:
    buffer = io.BytesIO()
    pixels = hashlib.shake_256(b"x").digest(width * height) if noisy else bytes(width * height)
    Image.frombytes("L", (width, height), pixels).save(buffer, "PNG")
    return buffer.getvalue()


async def test_annotation_is_filled_and_nothing_else_is_touched(bench: Bench) -> None:
    annotate, chat = bench.annotator([GOOD])
    campaign = await bench.campaigns.apply(file())
    after = await annotate(item(), campaign)
    said = after.annotation
    assert (said.label, said.rationale, said.model, said.strategy, len(said.result_id)) == ("cat", "", "m", "naive", 64)
    assert (said.usage.calls, said.usage.input_tokens, said.usage.output_tokens) == (1, 100, 10)
    assert said.usage.cost_usd == pytest.approx(0.2)
    assert said.created_at.seconds == 1_000_000
    after.ClearField("annotation")
    assert after == item()
    assert len(chat.requests) == 1


async def test_redelivery_emits_the_same_bytes_and_pays_nothing(bench: Bench) -> None:
    annotate, _ = bench.annotator([GOOD])
    campaign = await bench.campaigns.apply(file())
    first = await annotate(item(), campaign)
    bench.clock.advance(1000)
    elsewhere, chat = bench.annotator([])
    again = await elsewhere(item(), campaign)
    assert again.SerializeToString(deterministic=True) == first.SerializeToString(deterministic=True)
    assert not chat.requests


async def test_answer_is_repaired_once_and_both_calls_count(bench: Bench) -> None:
    annotate, chat = bench.annotator([BAD, GOOD])
    campaign = await bench.campaigns.apply(file())
    said = (await annotate(item(), campaign)).annotation
    assert (said.label, said.usage.calls, said.usage.input_tokens) == ("cat", 2, 200)
    assert said.usage.cost_usd == pytest.approx(0.4)
    stored = (await bench.database.fetch("SELECT cost_usd FROM result"))[0]
    assert stored["cost_usd"] == pytest.approx(0.4)
    first, second = chat.requests
    assert second.messages[: len(first.messages)] == first.messages
    assistant, complaint = second.messages[len(first.messages) :]
    assert (assistant.role, complaint.role) == ("assistant", "user")
    assert "no JSON object" in complaint.parts[0].text  # type: ignore[union-attr]


async def test_second_bad_answer_is_a_dead_letter_and_is_paid_for(bench: Bench) -> None:
    annotate, chat = bench.annotator([UNKNOWN, UNKNOWN])
    campaign = await bench.campaigns.apply(file())
    with pytest.raises(DeadLetter, match="not one of the labels") as raised:
        await annotate(item(), campaign)
    assert raised.value.reason == "bad-answer"
    assert len(chat.requests) == 2
    await annotate._asker._purse.settle()
    assert (await bench.database.fetch("SELECT SUM(spent_usd) AS spent FROM spend"))[0]["spent"] == pytest.approx(0.4)
    assert not await bench.database.fetch("SELECT 1 AS one FROM result")


async def test_refusing_endpoint_pauses_the_campaign_at_this_stage(bench: Bench) -> None:
    annotate, _ = bench.annotator([EndpointRefused("http://here/v1: status 401: no such key")])
    campaign = await bench.campaigns.apply(file())
    with pytest.raises(CampaignPaused, match="no such key"):
        await annotate(item(), campaign)
    assert (await bench.campaigns.status(campaign.uid)).pauses == {"annotator": "http://here/v1: status 401: no such key"}


async def test_missing_key_pauses_the_campaign_too(bench: Bench) -> None:
    annotate, _ = bench.annotator([UserError("api_key_env: …")])
    campaign = await bench.campaigns.apply(file())
    with pytest.raises(CampaignPaused):
        await annotate(item(), campaign)


async def test_unavailable_endpoint_is_left_to_the_loop(bench: Bench) -> None:
    annotate, _ = bench.annotator([EndpointUnavailable("down"), GOOD])
    campaign = await bench.campaigns.apply(file())
    with pytest.raises(EndpointUnavailable):
        await annotate(item(), campaign)
    assert not (await bench.campaigns.status(campaign.uid)).pauses
    assert (await annotate(item(), campaign)).annotation.label == "cat"


async def test_spend_cap_pauses_before_it_is_crossed_and_goes_on_when_raised(bench: Bench) -> None:
    annotate, chat = bench.annotator(lambda _: GOOD)
    campaign = await bench.campaigns.apply(file(spend_cap_usd=30.0))  # a call may cost more than ten dollars, and costs 0.2

    async def spend_all() -> None:
        for number in range(1000):
            await annotate(item(f"{number:03}"), campaign)

    with pytest.raises(CampaignPaused, match=r"spend cap of \$30 reached"):
        await spend_all()
    assert len(chat.requests) * 0.2 <= 30.0
    assert len(chat.requests) > 50
    assert "annotator" in (await bench.campaigns.status(campaign.uid)).pauses
    await bench.campaigns.apply(file(spend_cap_usd=60.0))
    assert (await annotate(item("one more"), campaign)).annotation.label == "cat"


async def test_cap_raised_while_a_call_is_refused_leaves_no_pause(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The raised version is applied, and pauses lifted, between the refusal and the pause that follows from it."""
    annotate, _ = bench.annotator(lambda _: GOOD)
    campaign = await bench.campaigns.apply(file(spend_cap_usd=1.0))
    pause = bench.campaigns.pause

    async def late(uid: str, stage: str, reason: str) -> None:
        await bench.campaigns.apply(file(spend_cap_usd=60.0))
        await pause(uid, stage, reason)

    monkeypatch.setattr(bench.campaigns, "pause", late)
    with pytest.raises(CampaignPaused):
        await annotate(item(), campaign)
    assert not await bench.campaigns.pauses()
    assert (await annotate(item(), campaign)).annotation.label == "cat"


async def test_pause_that_comes_while_a_higher_cap_is_applied_is_lifted(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that still saw the old cap pauses before the new version is there; the apply lifts what it finds after that."""
    await bench.campaigns.apply(file(spend_cap_usd=1.0))
    insert = bench.campaigns._insert_version

    async def raced(*version: Any) -> Campaign:
        await bench.campaigns.pause(version[0]["uid"], "annotator", "spend cap of $1 reached")
        return await insert(*version)

    monkeypatch.setattr(bench.campaigns, "_insert_version", raced)
    await bench.campaigns.apply(file(spend_cap_usd=60.0))
    assert not await bench.campaigns.pauses()


async def test_trial_pauses_nothing_and_stores_under_its_own_uid(bench: Bench) -> None:
    annotate, _ = bench.annotator([GOOD, EndpointRefused("no such model")])
    await annotate(item(), trial(file()))
    with pytest.raises(UserError, match="no such model"):
        await annotate(item("other"), trial(file()))
    assert not await bench.campaigns.pauses()
    assert [row["uid"][:6] for row in await bench.database.fetch("SELECT uid FROM result")] == ["trial-"]


async def test_edited_draft_pays_only_for_other_words(bench: Bench) -> None:
    annotate, chat = bench.annotator(lambda _: GOOD)
    await annotate(item(), trial(file()))
    await annotate(item(), trial(file(seed=7)))
    assert len(chat.requests) == 1
    await annotate(item(), trial(file(task={"question": "Which one?", "labels": ["cat", "dog"]})))
    assert len(chat.requests) == 2


async def test_images_inline_and_by_reference_reach_the_model(bench: Bench) -> None:
    small, large = png(), png(300, 300, noisy=True)
    assert len(large) > INLINE_LIMIT_BYTES
    annotate, chat = bench.annotator(lambda _: GOOD)
    campaign = await bench.campaigns.apply(file())
    pictures = Item(id="i")
    for data in (small, large):
        pictures.content.parts.add(name="image", media=await bench.media.put(data, "image/png"))
    await annotate(pictures, campaign)
    assert {hashlib.sha256(data).hexdigest(): data for data in (small, large)} == chat.requests[0].media


async def test_media_is_not_read_again_for_a_stored_result(bench: Bench, tmp_path: Path) -> None:
    annotate, _ = bench.annotator([GOOD])
    campaign = await bench.campaigns.apply(file())
    picture = Item(id="i")
    picture.content.parts.add(media=await bench.media.put(png(300, 300, noisy=True), "image/png"))
    first = await annotate(picture, campaign)
    for stored in (tmp_path / "storage").rglob("*"):
        if stored.is_file():
            stored.unlink()
    assert await annotate(picture, campaign) == first


def bomb(side: int) -> bytes:
    """An intact black-and-white PNG of a few kilobytes whose pixels would fill the memory."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = zlib.compress(bytes((1 + side // 8) * side), 9)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0))
        + chunk(b"IDAT", rows)
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    ("data", "mime_type"),
    [
        (b"no image", "image/png"),
        (png()[:-20], "image/png"),  # torn
        (png(), "image/jpeg"),  # claims another type
        (bomb(9_600), "image/png"),  # below Pillow's own limit
        (bomb(16_000), "image/png"),  # above it
        (b"%PDF-1.7", "application/pdf"),
        (b"", "image/png"),
    ],
)
async def test_what_is_no_sane_image_is_a_dead_letter_and_costs_nothing(bench: Bench, data: bytes, mime_type: str) -> None:
    annotate, chat = bench.annotator([])
    campaign = await bench.campaigns.apply(file())
    picture = Item(id="i")
    media = Media(mime_type=mime_type, sha256=hashlib.sha256(data).digest(), size_bytes=len(data), inline=data)
    picture.content.parts.add(media=media)
    with pytest.raises(DeadLetter) as raised:
        await annotate(picture, campaign)
    assert raised.value.reason == "bad-media"
    assert not chat.requests


def test_image_below_the_limit_of_pixels_is_taken() -> None:
    check_image(bomb(7_992), "image/png")


@pytest.mark.parametrize("made", [Item(id="i"), item(""), item(" \n\t")])
async def test_item_without_content_is_a_dead_letter(bench: Bench, made: Item) -> None:
    annotate, _ = bench.annotator([])
    campaign = await bench.campaigns.apply(file())
    with pytest.raises(DeadLetter) as raised:
        await annotate(made, campaign)
    assert raised.value.reason == "empty-item"


async def test_same_content_under_two_ids_is_paid_once(bench: Bench) -> None:
    annotate, chat = bench.annotator(lambda _: GOOD)
    campaign = await bench.campaigns.apply(file())
    twin = item()
    twin.id = "i2"
    first, second = await asyncio.gather(annotate(item(), campaign), annotate(twin, campaign))
    assert (first.id, second.id, len(chat.requests)) == ("i1", "i2", 1)
    assert first.annotation == second.annotation
