"""The demo as a client of stages that run already: it applies, ingests, reviews and serves its models, and runs no stage itself."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from actlabel.cli.serve import run_stages
from actlabel.core.errors import UserError
from actlabel.demo.campaign import campaign_page, write_campaign
from actlabel.demo.digits import read_digits, split, true_labels, write_images
from actlabel.demo.labelling import free_port, label, running
from actlabel.demo.models import served
from actlabel.demo.system import Elsewhere, running_system
from actlabel.demo.workspace import fresh
from actlabel.host.host import open_host
from actlabel.host.progress import CampaignProgress

ITEMS = 100


class Quiet:
    def say(self, line: str) -> None: ...

    def progress(self, progress: CampaignProgress) -> None: ...

    def settled(self) -> None: ...


@asynccontextmanager
async def _system_elsewhere(folder: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Elsewhere]:
    """Run every stage on files of its own, and put its addresses into the environment, as compose does."""
    theirs = fresh(folder)
    settings = theirs.settings(review_port=free_port())
    for name in ("stream", "database", "storage", "review_token_file"):
        monkeypatch.setenv(f"ACTLABEL_{name.upper()}", str(getattr(settings, name)))
    async with open_host(settings, runs_stages=True) as host, running(host, run_stages):
        yield Elsewhere(review=f"http://127.0.0.1:{settings.review_port}", models_at=f"http://127.0.0.1:{free_port()}")


async def test_a_campaign_goes_through_stages_that_run_elsewhere_and_a_second_run_adds_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    digits = read_digits()
    splits = split(digits.labels, seed=0, items=ITEMS)
    ours, truth = fresh(tmp_path / "ours"), true_labels(digits, splits.campaign)
    write_images(ours.images, digits, splits.campaign)
    async with _system_elsewhere(tmp_path / "theirs", monkeypatch) as place, asyncio.timeout(120):
        system = running_system(place)
        with served(splits, at=system.models_at) as endpoint:
            page = campaign_page(name="digits", endpoint=endpoint, budget="20%", audit_share=0.25, seed=0)
            file = write_campaign(ours.campaign, page)
            first, second = [(await label(system, file, ours.images, truth, screen=Quiet())).progress for _ in range(2)]
    assert endpoint == f"{place.models_at}/v1"
    assert first.registered == second.registered == ITEMS
    assert (first.reviews["answered"], first.dead, first.open_reviews) == (20, 0, 0)
    assert second.reviews == first.reviews
    assert second.money == first.money, "nothing is asked twice"


def test_what_is_missing_is_named_before_anything_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("ACTLABEL_REVIEW_TOKEN_FILE", raising=False)
    with pytest.raises(UserError, match=r"--running gateway:8400: write http://host:port"):
        running_system(Elsewhere(review="gateway:8400", models_at="http://demo:8500"))
    with pytest.raises(UserError, match=r"ACTLABEL_REVIEW_TOKEN_FILE: --running needs"):
        running_system(Elsewhere(review="http://gateway:8400", models_at="http://demo:8500"))
