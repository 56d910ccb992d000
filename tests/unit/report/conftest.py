"""Campaigns at rest, as the stages leave them: real database, real stream, real draws; only the model and the reviewer are scripted."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from actlabel.contracts.v1.item_pb2 import Item, Review
from actlabel.core import topics
from actlabel.core.designs import block_quota, design_block, design_exact, quantise, select
from actlabel.core.random_numbers import random_numbers
from actlabel.core.rules import Rule
from actlabel.host.campaign_life import apply_campaign
from actlabel.host.host import Host, open_host
from actlabel.runtime.campaign_file import parse_campaign
from actlabel.runtime.campaigns import Campaign
from actlabel.runtime.settings import Settings

CAMPAIGN = """
name: {name}
task: {{question: "Right <b>or</b> left?", labels: [right, left]}}
annotator: {{endpoint: "http://127.0.0.1:9/v1", model: "small <script>alert(1)</script>"}}
criticizer: {{endpoint: "http://127.0.0.1:9/v1", model: other}}
sampler: {{budget: {budget}, audit_share: {audit_share}, rule: {rule}, mode: {mode}, expected_items: 1000}}
spend_cap_usd: 5
partitions: 3
"""
KEY = b"a key of the tests, 32 bytes long"


@dataclass(kw_only=True)
class Scenario:
    """What a campaign is like. ``seed`` makes model, critic and draw."""

    name: str = "sides"
    items: int = 600
    error_rate: float = 0.25
    budget: int = 200
    audit_share: float = 0.2
    rule: str = "threshold"
    mode: str = "exact"
    gold: bool = True
    unanswered: int = 0  # chosen items that still wait for a reviewer
    undecidable: int = 0  # chosen items that reviewers gave up on
    dead: int = 0  # items put aside before any draw
    in_flight: int = 0  # unchosen items whose decision is not out yet
    seed: int = 1
    truth: dict[str, str] = field(default_factory=dict)
    wrong: set[str] = field(default_factory=set)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Embedded files in a folder of the test."""
    return Settings(
        stream=f"sqlite:///{tmp_path}/stream.db", database=f"sqlite:///{tmp_path}/actlabel.db", storage=str(tmp_path / "storage")
    )


@pytest.fixture
def stage_all(settings: Settings) -> Callable:
    """Return a function that leaves a campaign as the stages would."""

    async def staged(scenario: Scenario) -> Campaign:
        async with open_host(settings, runs_stages=False) as host:
            fields = {name: getattr(scenario, name) for name in ("name", "budget", "audit_share", "rule", "mode")}
            campaign = await apply_campaign(host, parse_campaign(CAMPAIGN.format(**fields), where="test"))
            await _stage(host, campaign, scenario)
            return campaign

    return staged


async def _stage(host: Host, campaign: Campaign, scenario: Scenario) -> None:
    rng = np.random.default_rng(scenario.seed)
    ids = [f"item-{number}" for number in range(scenario.items)]
    wrong = rng.random(scenario.items) < scenario.error_rate
    epsilon = quantise(np.round(np.where(wrong, rng.beta(3, 2, scenario.items), rng.beta(1, 5, scenario.items)), 2))
    scenario.truth.update(zip(ids, rng.choice(["right", "left"], scenario.items).tolist(), strict=True))
    scenario.wrong.update(item for item, is_wrong in zip(ids, wrong, strict=True) if is_wrong)
    await _register(host, campaign, scenario, ids)
    dead, alive = ids[: scenario.dead], ids[scenario.dead :]
    await _put_aside(host, campaign, dead)
    decided = dict(zip(alive, _decide(scenario, alive, epsilon[scenario.dead :]), strict=True))
    await _store(host, campaign, scenario, decided)
    await _answer(host, campaign, scenario, decided)


def _decide(scenario: Scenario, ids: list[str], epsilon: np.ndarray) -> list[tuple[int, int, int, int, int, bool]]:
    """Return (block, cell, selected of it, size of it, ε, selected) of every item."""
    rule, numbers, rows, taken = Rule(name=scenario.rule), random_numbers(KEY, ids), [], 0
    step = len(ids) if scenario.mode == "exact" else 128
    for block, start in enumerate(range(0, len(ids), step), start=1):
        here = slice(start, start + step)
        if scenario.mode == "exact":
            block, design = 0, design_exact(epsilon, budget=scenario.budget, audit_share=scenario.audit_share, rule=rule)  # noqa: PLW2901
        else:
            seen = min(start + step, len(ids))
            quota = block_quota(budget=scenario.budget, seen=seen, expected=len(ids), taken=taken)
            taken += quota
            design = design_block(epsilon[here], quota=quota, audit_share=scenario.audit_share, rule=rule)
        chosen = select(design, numbers[here], ids[here])
        counts = (design.selected[design.cell].tolist(), design.size[design.cell].tolist())
        rows += zip([block] * len(chosen), design.cell.tolist(), *counts, epsilon[here].tolist(), chosen.tolist(), strict=True)
    return rows


async def _register(host: Host, campaign: Campaign, scenario: Scenario, ids: list[str]) -> None:
    rows = [(campaign.uid, item, b"", scenario.truth[item] if scenario.gold else None) for item in ids]
    await host.database.execute_many(
        "INSERT INTO item (uid, item_id, content_sha256, revision, batch, gold, produced, created_at) "
        "VALUES ($1, $2, $3, 1, 1, $4, TRUE, 1000)",
        rows,
    )
    results = [
        (f"{campaign.uid}-{stage}-{item}", campaign.uid, stage, b"", cost)
        for item in ids
        for stage, cost in (("annotator", 2e-5), ("criticizer", 5e-5))
    ]
    await host.database.execute_many(
        "INSERT INTO result (result_id, uid, stage, payload, cost_usd, created_at) VALUES ($1, $2, $3, $4, $5, 1090)", results
    )


async def _put_aside(host: Host, campaign: Campaign, dead: list[str]) -> None:
    await host.database.execute_many(
        "INSERT INTO dead (uid, item_id, stage, reason, detail, topic, partition, record_offset, created_at) "
        "VALUES ($1, $2, 'annotator', 'refused', 'no', 't', 0, 0, 1010)",
        [(campaign.uid, item) for item in dead],
    )


async def _store(host: Host, campaign: Campaign, scenario: Scenario, decided: dict) -> None:
    parameters = {"rule": scenario.rule, "beta": 15.0, "audit_share": scenario.audit_share, "seed": 0, "key_sha256": "ab" * 32}
    await host.database.execute(
        "INSERT INTO draw (uid, draw, batch, mode, rule, budget, selected, calibration_version, population, raises, parameters, manifest, "
        "complete, created_at) VALUES ($1, 1, 1, $2, $3, $4, $5, 0, $6, 0, $7, '', TRUE, 1100)",
        *(campaign.uid, scenario.mode, scenario.rule, scenario.budget, scenario.budget, len(decided), json.dumps(parameters)),
    )
    await host.database.execute_many(
        "INSERT INTO decision (uid, draw, item_id, block, cell, cell_selected, cell_size, epsilon_q16, selected) "
        "VALUES ($1, 1, $2, $3, $4, $5, $6, $7, $8)",
        [(campaign.uid, item, *row) for item, row in decided.items()],
    )


async def _answer(host: Host, campaign: Campaign, scenario: Scenario, decided: dict) -> None:
    producer, sent, chosen, unchosen = host.stream.producer(), [], 0, 0
    for item_id, (block, cell, selected_of, size, epsilon, selected) in decided.items():
        item = _judged(campaign, scenario, item_id, epsilon)
        decision = item.decision
        decision.draw, decision.block, decision.cell, decision.cell_selected, decision.cell_size = 1, block, cell, selected_of, size
        decision.epsilon_q16, decision.selected, decision.rule = epsilon, selected, scenario.rule
        chosen, unchosen = chosen + selected, unchosen + (not selected)
        if selected and chosen <= scenario.unanswered:
            await _queue(host, campaign, item)
            continue
        if not selected and unchosen <= scenario.in_flight:
            continue
        if selected:
            _review(item, scenario, undecidable=chosen <= scenario.unanswered + scenario.undecidable)
        sent.append(producer.send(topics.topic(topics.MERGED, campaign.uid), key=item_id.encode(), value=item.SerializeToString()))
    await asyncio.gather(*sent)


def _judged(campaign: Campaign, scenario: Scenario, item_id: str, epsilon: int) -> Item:
    truth = scenario.truth[item_id]
    other = "left" if truth == "right" else "right"
    item = Item(id=item_id, batch=1, revision=1)
    item.campaign.uid, item.campaign.version = campaign.uid, 1
    item.annotation.label = other if item_id in scenario.wrong else truth
    item.critique.error_probability = epsilon / 65536
    return item


def _review(item: Item, scenario: Scenario, *, undecidable: bool) -> None:
    item.review.revision, item.review.seconds, item.review.reviewer = 1, 2.5, "ann"
    item.review.reviewed_at.FromSeconds(1200)
    if undecidable:
        item.review.outcome = Review.OUTCOME_UNDECIDABLE
    else:
        item.review.outcome, item.review.label = Review.OUTCOME_LABELLED, scenario.truth[item.id]


async def _queue(host: Host, campaign: Campaign, item: Item) -> None:
    await host.database.execute(
        "INSERT INTO review (uid, item_id, content_revision, draw, item, queue_order, state, revision, floor_revision, started_revision, "
        "published_revision, published_draw) VALUES ($1, $2, 1, 1, $3, 1, 'waiting', 0, 0, 0, 0, 0)",
        *(campaign.uid, item.id, item.SerializeToString()),
    )
