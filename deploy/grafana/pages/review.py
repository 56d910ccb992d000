"""Do the reviewers keep up, and does the critic deserve their trust."""

from typing import Final

from deploy.grafana.pages.parts import CAMPAIGNS, OPEN, OURS, RATE, REVIEWS_DONE_IN, whole
from deploy.grafana.panels import ORANGE, RED, Page, Panel, Query, Row, number, one

_VERDICTS: Final = f"sum(actlabel_review_verdicts_total{{{OURS}}})"
_CORRECTED: Final = f'sum(actlabel_review_verdicts_total{{{OURS}, verdict="corrected"}})'

_GLANCE: Final = Row(
    title="Do the reviewers keep up?",
    panels=(
        number("Open reviews", f"sum({OPEN})", "Items that wait for an answer, those that somebody holds included.", width=4),
        number(
            "Oldest open review",
            f"max({whole('actlabel_review_oldest_open_seconds', '')})",
            "Since the draw or block that chose it.",
            unit="s",
            thresholds=((86400, ORANGE), (604800, RED)),
            width=4,
        ),
        REVIEWS_DONE_IN,
        number("Reviewers at work", f"sum({whole('actlabel_reviewers_at_work', '')})", "Who hold an item now.", width=4),
        number(
            "Answers per hour",
            f'sum(rate(actlabel_review_answers_total{{{OURS}, kind=~"submit|undecidable"}}[30m])) * 3600',
            "Over the last half hour.",
            width=4,
        ),
        number(
            "Answers not yet merged",
            "max(actlabel_review_outbox_items)",
            "In their grace period, or on their way.",
            width=2,
        ),
        number(
            "Late by",
            "max(actlabel_review_outbox_late_seconds)",
            "Of those, how late the oldest is.",
            unit="s",
            thresholds=((30, ORANGE), (120, RED)),
            width=2,
        ),
    ),
)

_QUEUE: Final = Row(
    title="Queue and answers",
    panels=(
        Panel(
            title="Queue by state",
            about="Withdrawn: a later draw chose other items before anybody answered.",
            queries=one(f"sum by (state) ({whole('actlabel_review_queue_items', 'state')})", "{{state}}"),
            stacked=True,
        ),
        Panel(
            title="Coming in and going out",
            about="Items for review and answers, per hour. Where the first line is above the second for long, the queue grows.",
            queries=(
                Query(
                    expr=f'sum(rate(actlabel_records_total{{{OURS}, stage="review-gateway", outcome="done"}}{RATE})) * 3600',
                    legend="coming in",
                ),
                Query(
                    expr=f'sum(rate(actlabel_review_answers_total{{{OURS}, kind=~"submit|undecidable"}}{RATE})) * 3600', legend="answers"
                ),
            ),
        ),
        Panel(
            title="What reviewers do",
            about="Per hour. Many skips or undecidables: the guidelines leave something open. Flags want to be talked about.",
            queries=one(f"sum by (kind) (rate(actlabel_review_answers_total{{{OURS}}}{RATE})) * 3600", "{{kind}}"),
        ),
        Panel(
            title="Time for an answer",
            about="From the lease to the answer.",
            queries=tuple(
                Query(
                    expr=f"histogram_quantile({q}, sum by (le) (rate(actlabel_review_duration_seconds_bucket{{{OURS}}}{RATE})))",
                    legend=f"p{round(q * 100)}",
                )
                for q in (0.5, 0.9)
            ),
            unit="s",
        ),
        Panel(
            title="Budget",
            about="Reviews allowed and taken.",
            queries=one(f"sum by (state) ({whole('actlabel_campaign_review_budget_items', 'state')})", "{{state}}"),
        ),
        Panel(
            title="Oldest open review",
            about="Growing by an hour an hour: nobody gets to it.",
            queries=one(f"max({whole('actlabel_review_oldest_open_seconds', '')})", "oldest"),
            unit="s",
        ),
    ),
)

_CRITIC: Final = Row(
    title="Is the critic calibrated?",
    panels=(
        number(
            "Corrections against expectation",
            f"({_CORRECTED} or 0 * {_VERDICTS}) / (sum(actlabel_review_expected_corrections_total{{{OURS}}}) > 0)",
            "Corrected labels for each that the critic's probabilities expect: 1 is calibrated, 2 means that it doubts half as "
            "much as it should, 0.5 twice as much. Since the gateways started; wait for some hundred answers.",
            thresholds=((2, RED),),
            width=4,
        ),
        number(
            "Corrected",
            f"({_CORRECTED} or 0 * {_VERDICTS}) / ({_VERDICTS} > 0)",
            "Share of the reviewed labels that were wrong. Reviews go where doubt is, so it says nothing of all labels: "
            "`actlabel report` has that, with its interval.",
            unit="percentunit",
            width=4,
        ),
        Panel(
            title="Corrected share by the critic's doubt",
            about="A bar per tenth of error probability: calibrated where that of 0.3 is at about 25 %, of 1.0 at 95 %. Items of equal "
            "doubt are chosen by chance, so this needs no weights.",
            queries=one(
                f'(sum by (doubt) (actlabel_review_verdicts_total{{{OURS}, verdict="corrected"}}) or '
                f"0 * sum by (doubt) (actlabel_review_verdicts_total{{{OURS}}})) "
                f"/ sum by (doubt) (actlabel_review_verdicts_total{{{OURS}}})",
                "doubt up to {{doubt}}",
            ),
            unit="percentunit",
            kind="bargauge",
            most=1,
            width=8,
        ),
        Panel(
            title="Answers by the critic's doubt",
            about="How many answers each bar rests on.",
            queries=one(f"sum by (doubt) (actlabel_review_verdicts_total{{{OURS}}})", "doubt up to {{doubt}}"),
            kind="bargauge",
        ),
    ),
)

PAGE: Final = Page(
    uid="actlabel-review",
    title="actlabel: review",
    about="Queue, speed and age of the human reviews, and what they say of the critic.",
    rows=(_GLANCE, _QUEUE, _CRITIC),
    variables=(CAMPAIGNS,),
    since="now-24h",
)
