"""One campaign: how far it is, what it waits for, when it will be done."""

from dataclasses import replace
from typing import Final

from deploy.grafana.pages.parts import (
    CAMPAIGNS,
    CAP,
    DEAD,
    MODELS_DONE_IN,
    OPEN,
    OURS,
    RATE,
    REVIEWS_DONE_IN,
    SPENT,
    dead,
    paused,
    records,
    whole,
)  # fmt: skip
from deploy.grafana.panels import ORANGE, RED, Page, Panel, Query, Row, number, one

_GLANCE: Final = Row(
    title="How far",
    panels=(
        number("Items", f"sum({records('items')})", "Records on the items topic."),
        number(
            "Merged",
            f"sum({records('merged')}) / sum({records('items')})",
            "Share of the items that are at the end. What waits for a reviewer is not.",
            unit="percentunit",
        ),
        number(
            "Judged by both models", f"sum({records('critiqued')}) / sum({records('items')})", "Share of the items.", unit="percentunit"
        ),
        MODELS_DONE_IN,
        REVIEWS_DONE_IN,
        number("Open reviews", f"sum({OPEN})", "Items that wait for an answer."),
        number("Dead", f"sum({DEAD}) or vector(0)", "Items put aside.", thresholds=((1, ORANGE),), width=2),
        number(
            "Spent of cap",
            f"max({SPENT} / ({CAP} > 0))",
            "Spent, held and lost.",
            unit="percentunit",
            thresholds=((0.8, ORANGE), (0.95, RED)),
            width=2,
        ),
    ),
)

_FLOW: Final = Row(
    title="Flow",
    panels=(
        Panel(
            title="Records by topic",
            about="The distance between two lines waits at the stage between them.",
            queries=one(whole("actlabel_campaign_records", "topic"), "{{topic}}"),
        ),
        Panel(
            title="Lag by stage",
            about="What a stage has not committed; 'emission' is decided and on its way to review or merged. At the sampler in exact mode "
            "nothing lags while it waits for the seal.",
            queries=one(f"sum by (stage) ({whole('actlabel_campaign_lag_records', 'stage')})", "{{stage}}"),
        ),
        Panel(
            title="Records done per second",
            about="By stage, of this campaign.",
            queries=one(f'sum by (stage) (rate(actlabel_records_total{{{OURS}, outcome="done"}}{RATE}))', "{{stage}}"),
            unit="cps",
        ),
        paused(),
        dead(),
    ),
)

_BUDGET: Final = Row(
    title="The human budget",
    panels=(
        Panel(
            title="Budget",
            about="Reviews allowed and taken. Taken never exceeds allowed; a stream without budget is paused at the sampler.",
            queries=one(f"sum by (state) ({whole('actlabel_campaign_review_budget_items', 'state')})", "{{state}}"),
        ),
        Panel(
            title="Draws",
            about="Completed by each process since it started; in streaming mode there are blocks instead.",
            queries=one(f"sum by (campaign) (actlabel_draws_total{{{OURS}}})", "draws"),
        ),
        Panel(
            title="Inclusion probabilities",
            about="Items decided, by the probability with which they could be chosen, and whether they were. Nothing may be at 0 where the "
            "accuracy of all labels is to be estimated.",
            queries=(
                Query(
                    expr=f"sum by (probability, selected) (actlabel_decisions_total{{{OURS}}})",
                    legend="up to {{probability}}, selected: {{selected}}",
                ),
            ),
            kind="bargauge",
        ),
    ),
)

PAGE: Final = Page(
    uid="actlabel-campaign",
    title="actlabel: one campaign",
    about="How far a campaign is, what it waits for, when it will be done.",
    rows=(_GLANCE, _FLOW, _BUDGET),
    variables=(replace(CAMPAIGNS, many=False),),
    since="now-6h",
)
