"""Variables and expressions that several pages share."""

from typing import Final

from deploy.grafana.panels import ORANGE, RED, Panel, Query, Variable, named, number

CAMPAIGNS: Final = Variable(
    name="campaign",
    label="Campaign",
    query="query_result(max by (campaign, name) (actlabel_campaign_info))",
    regex='/campaign="(?<value>[^"]+)".*name="(?<text>[^"]+)"/',
)
STAGES: Final = Variable(name="stage", label="Stage", query="label_values(actlabel_records_total, stage)")
RATE: Final = "[$__rate_interval]"
OURS: Final = 'campaign=~"$campaign"'


def whole(metric: str, by: str, where: str = OURS) -> str:
    """A gauge of whole campaigns, which every replica of the review gateway exports."""
    return f"max by (campaign{', ' + by if by else ''}) ({metric}{{{where}}})"


def records(topic: str) -> str:
    """How many records a topic of each campaign has."""
    return f'max by (campaign) (actlabel_campaign_records{{{OURS}, topic="{topic}"}})'


OPEN: Final = f'sum by (campaign) (max by (campaign, state) (actlabel_review_queue_items{{{OURS}, state=~"waiting|leased"}}))'
DEAD: Final = f"sum by (campaign) ({whole('actlabel_campaign_dead_items', 'stage, reason')})"
UNJUDGED: Final = f"clamp_min({records('items')} - {records('critiqued')} - ({DEAD} or 0 * {records('items')}), 0)"
JUDGED_PER_S: Final = f'max by (campaign) (deriv(actlabel_campaign_records{{{OURS}, topic="critiqued"}}[10m]))'
ANSWERED_PER_S: Final = f'sum by (campaign) (rate(actlabel_review_answers_total{{{OURS}, kind=~"submit|undecidable"}}[30m]))'
SPENT: Final = f"sum by (campaign) ({whole('actlabel_campaign_spend_usd', 'state')})"
CAP: Final = whole("actlabel_campaign_spend_cap_usd", "")

MODELS_DONE_IN: Final = number(
    "Models done in",
    f"max({UNJUDGED} / ({JUDGED_PER_S} > 0))",
    "Items without a critique, at the speed of the last ten minutes; of several campaigns the slowest. Empty: nothing moves.",
    unit="s",
    width=4,
)
REVIEWS_DONE_IN: Final = number(
    "Reviews done in",
    f"max({OPEN} / ({ANSWERED_PER_S} > 0))",
    "Open reviews at the speed of the last half hour. Empty: nobody answers.",
    unit="s",
    thresholds=((86400, ORANGE), (604800, RED)),
    width=4,
)


def paused(width: int = 12) -> Panel:
    """Which campaigns stand still on purpose."""
    return Panel(
        title="Paused campaigns",
        about="Where and since when (seconds). `actlabel campaign show` says why; `apply` or `resume` lets them go on.",
        queries=(Query(expr=named(whole("actlabel_campaign_pause_seconds", "stage")), legend="{{name}} at {{stage}}"),),
        unit="s",
        kind="table",
        width=width,
    )


def dead(width: int = 12) -> Panel:
    """What was put aside."""
    return Panel(
        title="Dead letters by stage and reason",
        about="Items that could not be processed; `actlabel dead list` shows them, `dead replay` sends them round again.",
        queries=(Query(expr=named(whole("actlabel_campaign_dead_items", "stage, reason")), legend="{{name}} {{stage}} {{reason}}"),),
        kind="table",
        width=width,
    )


QUOTA: Final = Panel(
    title="Use of the providers' limits",
    about="Requests and tokens per minute against the campaign files' limits. At 100 % they are the bottleneck: replicas add nothing.",
    queries=(Query(expr="actlabel:chat_quota_used:ratio", legend="{{model}} {{unit}}"),),
    unit="percentunit",
    thresholds=((0.9, ORANGE), (1.05, RED)),
)
STATUSES: Final = Panel(
    title="Model requests by status",
    about="429 means too fast, timeouts too slow, 5xx a provider in trouble; 4xx otherwise a mistake in the campaign file.",
    queries=(Query(expr=f"sum by (model, status) (rate(actlabel_chat_requests_total{RATE}))", legend="{{model}} {{status}}"),),
    unit="reqps",
)
