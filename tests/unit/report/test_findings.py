"""From what the stages left in database and stream to every number of the report."""

import numpy as np
import pytest

from actlabel.core.errors import UserError
from actlabel.core.intervals import Interval, NoInterval
from actlabel.host.campaign_life import apply_campaign
from actlabel.host.host import open_host
from actlabel.report.collect import collect
from actlabel.report.critic import Critic
from actlabel.report.findings import find
from actlabel.report.summary import summary
from actlabel.runtime.campaign_file import parse_campaign

from .conftest import CAMPAIGN, Scenario


async def findings_of(settings, stage_all, scenario):
    campaign = await stage_all(scenario)
    async with open_host(settings, runs_stages=False) as host:
        return find(await collect(host, campaign))


async def test_numbers_of_a_reviewed_campaign_with_known_truth(settings, stage_all):
    scenario = Scenario()
    findings = await findings_of(settings, stage_all, scenario)
    share_wrong = len(scenario.wrong) / scenario.items
    assert findings.machine.by_gold == pytest.approx(1 - share_wrong)
    assert findings.review.answered == findings.review.selected == findings.review.budget == 200
    assert findings.merged.by_gold == pytest.approx(1 - share_wrong + findings.review.corrected / scenario.items)
    recall = findings.review.recall
    assert recall.low == recall.high == recall.estimate == pytest.approx(findings.review.corrected / len(scenario.wrong))
    assert findings.review.random_recall == pytest.approx(200 / 600)
    assert findings.review.difference.low > 0  # the critic of the scenario is good
    machine = findings.machine.from_reviews
    assert machine.low < 1 - share_wrong < machine.high
    assert findings.merged.from_reviews.low == pytest.approx(machine.low + findings.review.corrected / scenario.items)
    assert sum(cell.size for cell in findings.cells) == 600
    assert sum(cell.selected for cell in findings.cells) == 200
    assert findings.audit_reviews == pytest.approx(40)
    assert findings.cost_usd == pytest.approx(600 * 7e-5)
    assert findings.evidence.seconds == pytest.approx(200)
    assert findings.evidence.review_seconds == pytest.approx(500)


async def test_truth_is_estimated_where_it_is_not_known(settings, stage_all):
    known = await findings_of(settings, stage_all, Scenario())
    unknown = await findings_of(settings, stage_all, Scenario(name="blind", gold=False))
    assert unknown.machine.by_gold is None
    assert unknown.machine.from_reviews == known.machine.from_reviews
    assert unknown.machine.value == known.machine.from_reviews.estimate
    assert unknown.review.recall.low < known.review.recall.estimate < unknown.review.recall.high
    assert isinstance(unknown.review.difference, NoInterval)
    assert isinstance(unknown.critic, Critic)
    assert "weighted by 1/π" in unknown.critic.basis
    for name, interval in unknown.critic.measures.items():
        assert interval.estimate == pytest.approx(known.critic.measures[name].estimate, abs=0.1)
    assert unknown.critic.curve.area == pytest.approx(known.critic.curve.area, abs=0.08)


async def test_intervals_cover_the_truth_over_seeds(settings, stage_all):
    """Through database and stream; the 2,000-campaign proof is in the tests of the mathematics."""
    covered = 0
    for seed in range(12):
        scenario = Scenario(name=f"seed-{seed}", seed=seed, items=300, budget=120, audit_share=0.3)
        findings = await findings_of(settings, stage_all, scenario)
        machine = findings.machine.from_reviews
        covered += machine.low <= findings.machine.by_gold <= machine.high
    assert covered >= 10


async def test_pure_threshold_has_no_interval_and_says_so(settings, stage_all):
    findings = await findings_of(settings, stage_all, Scenario(audit_share=0.0, gold=False))
    assert "could never be chosen" in findings.machine.from_reviews.reason
    assert findings.machine.value is None
    document = summary(findings)
    assert document["accuracy_interval"] is None
    assert "could never be chosen" in document["accuracy_interval_reason"]
    assert document["machine_accuracy"] is document["error_recall"] is document["accuracy_known_from"] is None
    assert "says nothing about" in findings.critic.basis


async def test_few_audits_have_no_interval(settings, stage_all):
    findings = await findings_of(settings, stage_all, Scenario(audit_share=0.1))
    assert "about 20 reviews; an interval needs 30" in findings.machine.from_reviews.reason
    assert findings.machine.value is not None  # by gold


async def test_uniform_review_is_all_audit(settings, stage_all):
    findings = await findings_of(settings, stage_all, Scenario(rule="uniform", audit_share=0.0))
    assert findings.audit_reviews == 200
    assert isinstance(findings.machine.from_reviews, Interval)


async def test_a_stream_is_estimated_over_its_blocks(settings, stage_all):
    scenario = Scenario(mode="streaming")
    findings = await findings_of(settings, stage_all, scenario)
    draw = findings.evidence.draws[0]
    assert draw.blocks == 5
    assert draw.audit_reviews >= 40
    assert len(np.unique(findings.evidence.items.cell)) > 5
    machine = findings.machine.from_reviews
    assert machine.low < 1 - len(scenario.wrong) / 600 < machine.high


async def test_ledger_and_missing_answers(settings, stage_all):
    complete = await findings_of(settings, stage_all, Scenario())
    scenario = Scenario(name="gaps", unanswered=9, undecidable=7, dead=5, in_flight=11)
    findings = await findings_of(settings, stage_all, scenario)
    ledger = findings.evidence.ledger
    assert (ledger.registered, ledger.merged, ledger.in_review, ledger.dead, ledger.in_flight) == (600, 575, 9, 5, 11)
    assert (ledger.twice, ledger.strangers, ledger.at_rest) == (0, 0, False)
    review = findings.review
    assert (review.answered, review.undecidable, review.outstanding) == (184, 7, 9)
    assert findings.machine.by_gold is None  # what is merged so far is no fair part of all
    gap = findings.machine.from_reviews
    whole = complete.machine.from_reviews
    assert gap.high - gap.low > whole.high - whole.low
    document = summary(findings)
    assert (document["reviews"], document["in_review"], document["dead"], document["items"]) == (191, 9, 5, 600)
    assert document["ledger_balanced"] is False


async def test_ledger_names_what_does_not_belong(settings, stage_all):
    campaign = await stage_all(Scenario(items=80, budget=20))
    async with open_host(settings, runs_stages=False) as host:
        await host.database.execute("DELETE FROM item WHERE uid = $1 AND item_id = 'item-3'", campaign.uid)
        await host.database.execute(
            "INSERT INTO dead (uid, item_id, stage, reason, detail, topic, partition, record_offset, created_at) "
            "VALUES ($1, 'item-4', 'sampler', 'defect', '', 't', 0, 0, 1)",
            campaign.uid,
        )
        ledger = (await collect(host, campaign)).ledger
    assert (ledger.twice, ledger.strangers, ledger.at_rest) == (1, 1, False)


async def test_the_latest_draw_of_a_batch_counts(settings, stage_all):
    """A raise decides every item again; items whose first record is still the only one on the stream are read with the new draw."""
    campaign = await stage_all(Scenario(items=200, budget=60, audit_share=0.5))
    async with open_host(settings, runs_stages=False) as host:
        for table, columns in (
            (
                "draw",
                "batch, mode, rule, budget, selected, calibration_version, population, raises, parameters, manifest, complete, created_at",
            ),
            ("decision", "item_id, block, cell, cell_selected, cell_size, epsilon_q16, selected"),
        ):
            await host.database.execute(
                f"INSERT INTO {table} (uid, draw, {columns}) SELECT uid, 2, {columns} FROM {table} WHERE uid = $1", campaign.uid
            )
        await host.database.execute(
            "UPDATE decision SET cell_selected = cell_size, selected = TRUE WHERE uid = $1 AND draw = 2", campaign.uid
        )
        evidence = await collect(host, campaign)
    assert [draw.number for draw in evidence.draws] == [2]
    assert len(evidence.items) == 200
    review = find(evidence).review
    assert (review.selected, review.answered, review.outstanding) == (200, 60, 140)


async def test_nothing_decided_yet_is_one_clear_line(settings):
    text = CAMPAIGN.format(name="empty", budget=5, audit_share=0.1, rule="threshold", mode="exact")
    async with open_host(settings, runs_stages=False) as host:
        campaign = await apply_campaign(host, parse_campaign(text, where="test"))
        with pytest.raises(UserError, match="no complete draw yet"):
            await collect(host, campaign)


async def test_perfect_and_hopeless_models(settings, stage_all):
    perfect = await findings_of(settings, stage_all, Scenario(error_rate=0.0))
    assert perfect.machine.by_gold == 1.0
    assert "no mistake" in perfect.review.recall.reason
    assert isinstance(perfect.critic, NoInterval)
    hopeless = await findings_of(settings, stage_all, Scenario(name="hopeless", error_rate=1.0))
    assert hopeless.machine.by_gold == 0.0
    assert hopeless.review.recall.estimate == pytest.approx(200 / 600)
