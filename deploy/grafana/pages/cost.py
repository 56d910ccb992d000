"""What it costs, what it will have cost, and what is paid in vain."""

from typing import Final

from deploy.grafana.pages.parts import CAMPAIGNS, CAP, OURS, QUOTA, RATE, SPENT, STATUSES, records
from deploy.grafana.panels import ORANGE, RED, Page, Panel, Query, Row, named, number, one

_PER_S: Final = (
    f'sum by (campaign) (clamp_min(max by (campaign, state) (deriv(actlabel_campaign_spend_usd{{{OURS}, state="spent"}}[30m])), 0))'
)

_GLANCE: Final = Row(
    title="At a glance",
    panels=(
        number("Spent", f"sum({SPENT})", "Of the chosen campaigns, with what is held and lost.", unit="currencyUSD", width=4),
        number("Per hour", f"sum(rate(actlabel_chat_cost_usd_total{RATE})) * 3600", "Of all campaigns, now.", unit="currencyUSD", width=4),
        number(
            "Per 1,000 judged items",
            f"1000 * sum({SPENT}) / (sum({records('critiqued')}) > 0)",
            "What a thousand items cost at both models.",
            unit="currencyUSD",
            width=4,
        ),
        number(
            "When all items are judged",
            f"sum({SPENT} / ({records('critiqued')} > 0) * {records('items')})",
            "What the items that are there will have cost, at the price so far.",
            unit="currencyUSD",
            width=4,
        ),
        number(
            "Cap reached in",
            f"min(({CAP} - {SPENT}) / ({_PER_S} > 0))",
            "At the speed of the last half hour; of several campaigns the first. Then it is paused. Empty: nothing is spent.",
            unit="s",
            width=4,
        ),
        number(
            "Lost reservations",
            f'sum(max by (campaign, state) (actlabel_campaign_spend_usd{{{OURS}, state="lost"}}))',
            "Reserved by processes that were killed; counted as spent until `actlabel campaign settle` says what was.",
            unit="currencyUSD",
            thresholds=((0.01, ORANGE),),
            width=4,
        ),
    ),
)

_CAMPAIGNS: Final = Row(
    title="Campaigns",
    panels=(
        Panel(
            title="Share of the cap",
            about="Spent, held and lost, against spend_cap_usd. At the cap a campaign is paused: raise it and apply.",
            queries=(Query(expr=named(f"{SPENT} / ({CAP} > 0)"), legend="{{name}}"),),
            unit="percentunit",
            kind="bargauge",
            most=1,
            thresholds=((0.8, ORANGE), (0.95, RED)),
        ),
        Panel(
            title="Money over time",
            about="By state. Held is reserved for calls in flight and comes back.",
            queries=(
                Query(expr=f"sum by (state) (max by (campaign, state) (actlabel_campaign_spend_usd{{{OURS}}}))", legend="{{state}}"),
                Query(expr=f"sum({CAP})", legend="caps"),
            ),
            unit="currencyUSD",
        ),
        Panel(
            title="Per hour, by stage and model",
            about="What the models charge now.",
            queries=one(f"sum by (stage, model) (rate(actlabel_chat_cost_usd_total{RATE})) * 3600", "{{stage}} {{model}}"),
            unit="currencyUSD",
            stacked=True,
        ),
    ),
)

_TOKENS: Final = Row(
    title="Tokens, and what is paid in vain",
    panels=(
        Panel(
            title="Tokens per second",
            about="Sent and written.",
            queries=one(f"sum by (model, type) (rate(actlabel_chat_tokens_total{RATE}))", "{{model}} {{type}}"),
        ),
        Panel(
            title="Tokens per request",
            about="Growing: prompts or answers get longer; look at max_output_tokens.",
            queries=one(
                f"sum by (model, type) (rate(actlabel_chat_tokens_total{RATE})) / ignoring (type) group_left "
                f'sum by (model) (rate(actlabel_chat_requests_total{{status="ok"}}{RATE}) > 0)',
                "{{model}} {{type}}",
            ),
        ),
        Panel(
            title="Answers asked for twice",
            about="Share of the answers that did not fit the schema: paid in vain. Above a few percent look at the model.",
            queries=one(
                f"(sum by (model) (rate(actlabel_chat_repairs_total{RATE})) "
                f"or 0 * sum by (model) (rate(actlabel_chat_requests_total{RATE}))) "
                f'/ sum by (model) (rate(actlabel_chat_requests_total{{status="ok"}}{RATE}) > 0)',
                "{{model}}",
            ),
            unit="percentunit",
            thresholds=((0.05, ORANGE),),
        ),
        Panel(
            title="Look-ups in the result store",
            about="Hits were paid before and cost nothing: redeliveries, replays, equal items.",
            queries=one(f"sum by (stage, outcome) (rate(actlabel_result_lookups_total{RATE}))", "{{stage}} {{outcome}}"),
            unit="cps",
        ),
        STATUSES,
        QUOTA,
    ),
)

PAGE: Final = Page(
    uid="actlabel-cost",
    title="actlabel: cost",
    about="What models cost, now and in the end, per campaign and model; caps, limits, and what is paid in vain.",
    rows=(_GLANCE, _CAMPAIGNS, _TOKENS),
    variables=(CAMPAIGNS,),
    since="now-6h",
)
