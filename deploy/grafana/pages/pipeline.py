"""Is everything flowing, and if not, what is stuck and why."""

from typing import Final

from deploy.grafana.pages.parts import (
    CAMPAIGNS,
    MODELS_DONE_IN,
    OURS,
    QUOTA,
    RATE,
    REVIEWS_DONE_IN,
    STAGES,
    STATUSES,
    dead,
    paused,
    whole,
)  # fmt: skip
from deploy.grafana.panels import ORANGE, RED, Page, Panel, Query, Row, number, one

_STAGE: Final = 'stage=~"$stage"'

_GLANCE: Final = Row(
    title="At a glance",
    panels=(
        number(
            "Merged per minute",
            f'sum(max by (campaign) (deriv(actlabel_campaign_records{{{OURS}, topic="merged"}}[5m]))) * 60',
            "Records that reach the end. Zero while something waits: look at what is stuck, below.",
            width=4,
        ),
        MODELS_DONE_IN,
        REVIEWS_DONE_IN,
        number("Processes down", 'count(up{job=~".*actlabel.*"} == 0) or vector(0)', "Targets that do not answer.", thresholds=((1, RED),)),
        number(
            "Not ready",
            "count(min by (role, instance) (actlabel_ready) == 0) or vector(0)",
            "Processes that wait for something; the table below says which part, /readyz says why.",
            thresholds=((1, RED),),
        ),
        number(
            "Pauses",
            f"count({whole('actlabel_campaign_pause_seconds', 'stage')}) or vector(0)",
            "Campaigns that stand still at a stage.",
            thresholds=((1, ORANGE),),
        ),
        number(
            "Dead letters",
            f"sum({whole('actlabel_campaign_dead_items', 'stage, reason')}) or vector(0)",
            "Items put aside.",
            thresholds=((1, ORANGE),),
        ),
    ),
)

_FLOW: Final = Row(
    title="Flow",
    panels=(
        Panel(
            title="Records done",
            about="Per second and stage. Stages that follow each other should agree over minutes.",
            queries=one(f'sum by (stage) (rate(actlabel_records_total{{{_STAGE}, {OURS}, outcome="done"}}{RATE}))', "{{stage}}"),
            unit="cps",
        ),
        Panel(
            title="Lag",
            about="Records that a stage has not committed, whether or not it runs; and what of them running processes have to do.",
            queries=(
                Query(expr=f"sum by (stage) ({whole('actlabel_campaign_lag_records', 'stage', f'{OURS}, {_STAGE}')})", legend="{{stage}}"),
                Query(expr=f"sum by (stage) (actlabel_lag_records{{{OURS}, {_STAGE}}})", legend="{{stage}}, of running processes"),
            ),
        ),
        Panel(
            title="Oldest unfinished record",
            about="The truest alarm: how long the slowest record has waited at a stage.",
            queries=one(f"max by (stage) (actlabel_oldest_unfinished_seconds{{{_STAGE}}})", "{{stage}}"),
            unit="s",
            thresholds=((900, ORANGE), (3600, RED)),
        ),
        Panel(
            title="Time of one record at a stage",
            about="From dispatch to acknowledged produce. At annotator and criticizer it is the model.",
            queries=tuple(
                Query(
                    expr=f"histogram_quantile({q}, sum by (stage, le) (rate(actlabel_stage_duration_seconds_bucket{{{_STAGE}}}{RATE})))",
                    legend=f"{{{{stage}}}} p{round(q * 100)}",
                )
                for q in (0.5, 0.95)
            ),
            unit="s",
        ),
        Panel(
            title="In work and not committed",
            about="Handlers at work, and the window of records read and not committed. A full window stops reading.",
            queries=(
                Query(expr=f"sum by (stage) (actlabel_in_flight_records{{{_STAGE}}})", legend="{{stage}} in work"),
                Query(expr=f"sum by (stage) (actlabel_window_records{{{_STAGE}}})", legend="{{stage}} window"),
            ),
        ),
        Panel(
            title="Records that were not done at once",
            about="Retried, dead, dropped (of deleted campaigns), known and skipped (source and mirror).",
            queries=one(
                f'sum by (stage, outcome) (rate(actlabel_records_total{{{_STAGE}, outcome!="done"}}{RATE}))', "{{stage}} {{outcome}}"
            ),
            unit="cps",
        ),
    ),
)

_STUCK: Final = Row(
    title="What is stuck, and why",
    panels=(
        paused(),
        dead(),
        Panel(
            title="Readiness",
            about="1 ready, 0 waiting, by part of a process; /readyz of the instance says for what.",
            queries=one("min by (role, part, instance) (actlabel_ready)", "{{role}} {{part}}"),
            kind="table",
        ),
        Panel(
            title="New dead letters and pauses",
            about="Per minute, as they happen. Above the limit per minute a campaign is paused at that stage.",
            queries=(
                Query(expr=f"sum by (stage, reason) (rate(actlabel_dead_letters_total{RATE})) * 60", legend="{{stage}} {{reason}}"),
                Query(expr=f"sum by (stage) (rate(actlabel_campaign_pauses_total{RATE})) * 60", legend="{{stage}} paused"),
            ),
            unit="cpm",
        ),
        Panel(
            title="Sources and mirrors",
            about="Campaigns that are followed, and those that wait for something; the log says for what.",
            queries=one("sum by (role, state) (actlabel_followed_campaigns)", "{{role}} {{state}}"),
        ),
    ),
)

_MODELS: Final = Row(
    title="Models",
    panels=(
        STATUSES,
        Panel(
            title="Duration of a request",
            about="By model, 95th percentile and median.",
            queries=tuple(
                Query(
                    expr=f"histogram_quantile({q}, sum by (model, le) (rate(actlabel_chat_duration_seconds_bucket{RATE})))",
                    legend=f"{{{{model}}}} p{round(q * 100)}",
                )
                for q in (0.5, 0.95)
            ),
            unit="s",
        ),
        QUOTA,
        Panel(
            title="Requests that an endpoint bears at once",
            about="Found by trying, per process. Falling: the endpoint is slower than it was.",
            queries=one("sum by (model, endpoint) (actlabel_chat_bound_requests)", "{{model}} {{endpoint}}"),
        ),
        Panel(
            title="Breakers",
            about="0 closed, 1 one request asks, 2 open: the endpoint is out of reach.",
            queries=one("max by (model, endpoint) (actlabel_chat_breaker_state)", "{{model}} {{endpoint}}"),
            thresholds=((2, RED),),
            most=2,
        ),
        Panel(
            title="Requests that wait for their turn",
            about="How many wait on average, by cause: quota (our limit), bound (what the endpoint bears), pause (it asked for one).",
            queries=one(f"sum by (model, cause) (rate(actlabel_chat_throttled_seconds_total{RATE}))", "{{model}} {{cause}}"),
        ),
    ),
)

_SERVED: Final = Row(
    title="Models that we serve",
    panels=(
        Panel(
            title="Requests to the model server",
            about="By model and HTTP status; an empty model was refused before it was known.",
            queries=one(f"sum by (model, status) (rate(actlabel_model_requests_total{RATE}))", "{{model}} {{status}}"),
            unit="reqps",
        ),
        Panel(
            title="Duration of an answer of ours",
            about="95th percentile, and how many items one pass answers together: both large ask for a replica.",
            queries=(
                Query(
                    expr=f"histogram_quantile(0.95, sum by (model, le) (rate(actlabel_model_duration_seconds_bucket{RATE})))",
                    legend="{{model}} p95",
                ),
                Query(
                    expr=f"sum by (model) (rate(actlabel_model_batch_items_sum{RATE})) "
                    f"/ sum by (model) (rate(actlabel_model_batch_items_count{RATE}) > 0)",
                    legend="{{model}} items at once",
                ),
            ),
        ),
        Panel(
            title="Versions that answer",
            about="What a model's bare name means now; two lines of one model during an update.",
            queries=one("max by (model, instance) (actlabel_model_version)", "{{model}}"),
        ),
    ),
)

_GROUPS: Final = Row(
    title="Groups and versions",
    panels=(
        Panel(
            title="Rebalances",
            about="Per minute. Steady: members come and go, or miss their heartbeats.",
            queries=one(f"sum by (stage) (rate(actlabel_rebalances_total{RATE})) * 60", "{{stage}}"),
            unit="cpm",
        ),
        Panel(
            title="Commits",
            about="Per second, by outcome. Failed: Kafka is out of reach. Lost: the process was no member any more.",
            queries=one(f"sum by (stage, outcome) (rate(actlabel_commits_total{RATE}))", "{{stage}} {{outcome}}"),
            unit="cps",
        ),
        Panel(
            title="Versions that run",
            about="Processes by version; two during a rolling update.",
            queries=one("count by (version, python) (actlabel_build_info)", "{{version}} on Python {{python}}"),
            stacked=True,
        ),
    ),
)

PAGE: Final = Page(
    uid="actlabel-pipeline",
    title="actlabel: pipeline",
    about="All stages and campaigns: is it flowing, what is stuck, and why.",
    rows=(_GLANCE, _FLOW, _STUCK, _MODELS, _SERVED, _GROUPS),
    variables=(CAMPAIGNS, STAGES),
)
