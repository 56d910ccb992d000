"""Every metric, declared once with its help. Labels never carry an item id, a user or a text; ``campaign`` is always the uid.

Counters are of the process that counts. Gauges that begin with ``actlabel_campaign_`` or say so are the whole campaign's, as the
review gateway reads it from database and stream every few seconds (``host/campaign_gauges.py``): of several replicas take the maximum.
"""

from collections.abc import Collection, Mapping
from typing import Final

from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.metrics import MetricWrapperBase

from actlabel.runtime import tallies  # noqa: F401 - registers itself before every metric

BUILD = Gauge("actlabel_build_info", "1; the labels say what runs.", ["version", "python"])
READY = Gauge(
    "actlabel_ready",
    "1 where this part of a process is ready for work; /readyz says why where it is not. A process without parts has the part 'process'.",
    ["role", "part"],
)

RECORDS = Counter(
    "actlabel_records_total",
    "Records that left a stage, by outcome (done, dead, retried; at source and mirror also known, skipped). Of deleted campaigns, which "
    "have an empty label: dropped.",
    ["stage", "campaign", "outcome"],
)
STAGE_SECONDS = Histogram(
    "actlabel_stage_duration_seconds",
    "Time from dispatch to acknowledged produce of one record.",
    ["stage"],
    buckets=(0.001, 0.005, 0.02, 0.1, 0.5, 1, 2, 5, 10, 30, 60, 300, 900),
)
IN_FLIGHT = Gauge("actlabel_in_flight_records", "Records being handled now.", ["stage"])
WINDOW = Gauge("actlabel_window_records", "Records dispatched and not yet committed.", ["stage"])
OLDEST_SECONDS = Gauge(
    "actlabel_oldest_unfinished_seconds",
    "Age of the oldest record not finished, read or not, since the log took it; what is paused before it was read: since that was seen.",
    ["stage"],
)
LAG = Gauge("actlabel_lag_records", "Records on the partitions of this process that are not finished.", ["stage", "campaign"])
COMMITS = Counter("actlabel_commits_total", "Offset commits, by outcome (ok, failed, lost: no member any more).", ["stage", "outcome"])
REBALANCES = Counter("actlabel_rebalances_total", "Times that partitions were given or taken.", ["stage"])
DEAD_LETTERS = Counter("actlabel_dead_letters_total", "Records put aside, by reason.", ["stage", "campaign", "reason"])
FOLLOWED = Gauge("actlabel_followed_campaigns", "Campaigns with a source or mirror, by state (working, waiting).", ["role", "state"])
PAUSES = Counter("actlabel_campaign_pauses_total", "Times that a campaign was paused at a stage.", ["stage", "campaign"])

CHAT_REQUESTS = Counter(
    "actlabel_chat_requests_total",
    "Requests to model endpoints, by status (ok, 429, timeout, …).",
    ["stage", "model", "status"],
)
CHAT_SECONDS = Histogram(
    "actlabel_chat_duration_seconds",
    "Duration of one request to a model endpoint.",
    ["stage", "model"],
    buckets=(0.01, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60, 120),
)
CHAT_TOKENS = Counter("actlabel_chat_tokens_total", "Tokens, by type (input, output).", ["stage", "model", "type"])
CHAT_COST = Counter("actlabel_chat_cost_usd_total", "Money spent on model endpoints.", ["stage", "model"])
CHAT_REPAIRS = Counter("actlabel_chat_repairs_total", "Answers that did not fit the schema and were asked for again.", ["stage", "model"])
CHAT_BOUND = Gauge("actlabel_chat_bound_requests", "Requests that an endpoint is found to bear at once.", ["stage", "model", "endpoint"])
CHAT_BREAKER = Gauge(
    "actlabel_chat_breaker_state",
    "0: requests pass, 1: one asks whether the endpoint is back, 2: none pass.",
    ["stage", "model", "endpoint"],
)
CHAT_THROTTLED = Counter(
    "actlabel_chat_throttled_seconds_total",
    "Seconds that requests waited, by cause (quota, bound, pause: the endpoint asked for it).",
    ["stage", "model", "cause"],
)
RESULT_LOOKUPS = Counter(
    "actlabel_result_lookups_total",
    "Look-ups in the result store, by outcome (hit, miss, claimed by another process).",
    ["stage", "outcome"],
)

CHAT_LIMIT = Gauge(
    "actlabel_chat_limit_per_minute",
    "What the campaign file allows per minute, by unit (requests, tokens), for all processes together.",
    ["model", "endpoint", "unit"],
)

DRAWS = Counter("actlabel_draws_total", "Draws completed.", ["campaign"])
DECISIONS = Counter(
    "actlabel_decisions_total",
    "Items decided upon by draws and blocks, by inclusion probability (the bound that it does not exceed) and whether they were selected. "
    "An item that a later draw decides again counts again.",
    ["campaign", "probability", "selected"],
)
REVIEW_ANSWERS = Counter(
    "actlabel_review_answers_total", "What reviewers did, by kind (submit, undecidable, skip, undo, flag).", ["campaign", "kind"]
)
REVIEW_SECONDS = Histogram(
    "actlabel_review_duration_seconds",
    "From the lease of an item to its answer.",
    ["campaign"],
    buckets=(1, 2, 5, 10, 20, 60, 300),
)
REVIEW_VERDICTS = Counter(
    "actlabel_review_verdicts_total",
    "Submitted labels, by what they say of the model's (confirmed, corrected) and the critic's doubt (the tenth that it does not exceed). "
    "An answer that is taken back has counted.",
    ["campaign", "doubt", "verdict"],
)
REVIEW_EXPECTED = Counter(
    "actlabel_review_expected_corrections_total",
    "Sum of the critic's error probabilities over submitted labels: how many corrections a calibrated critic expects.",
    ["campaign"],
)
OUTBOX = Gauge("actlabel_review_outbox_items", "Answers of all campaigns that are not yet on the merged topic.", [])
OUTBOX_SECONDS = Gauge("actlabel_review_outbox_late_seconds", "How long the oldest of them has been due.", [])

CAMPAIGN = Gauge("actlabel_campaign_info", "1; names the campaign of a uid.", ["campaign", "name"])
CAMPAIGN_RECORDS = Gauge(
    "actlabel_campaign_records",
    "Records on a topic of the campaign (items, annotated, critiqued, review, merged); redelivered ones count again.",
    ["campaign", "topic"],
)
CAMPAIGN_LAG = Gauge(
    "actlabel_campaign_lag_records",
    "Records that a stage has not committed, whether or not it runs; 'emission': decided and not yet sent on.",
    ["campaign", "stage"],
)
CAMPAIGN_PAUSE = Gauge(
    "actlabel_campaign_pause_seconds",
    "How long the campaign has been paused at a stage ('*': at all); the log says why.",
    ["campaign", "stage"],
)
CAMPAIGN_DEAD = Gauge("actlabel_campaign_dead_items", "Items put aside and neither replayed nor given up.", ["campaign", "stage", "reason"])
SPEND = Gauge(
    "actlabel_campaign_spend_usd",
    "Money of the campaign, by state (spent, held for calls in flight, lost: reserved by processes that ended without settling).",
    ["campaign", "state"],
)
SPEND_CAP = Gauge("actlabel_campaign_spend_cap_usd", "What the campaign may spend on models.", ["campaign"])
BUDGET = Gauge("actlabel_campaign_review_budget_items", "Reviews of the campaign, by state (allowed, taken).", ["campaign", "state"])
REVIEWS = Gauge("actlabel_review_queue_items", "Items in the review queue of the whole campaign, by state.", ["campaign", "state"])
REVIEW_OLDEST = Gauge(
    "actlabel_review_oldest_open_seconds", "Time since the draw or block that chose the oldest item without an answer.", ["campaign"]
)
REVIEWERS = Gauge("actlabel_reviewers_at_work", "Reviewers who hold an item of the campaign.", ["campaign"])

TRAIN_STEPS = Gauge("actlabel_train_steps", "Steps of a training run over all its losses, by state (done, total).", ["campaign", "state"])
TRAIN_RISK = Gauge(
    "actlabel_train_batch_risk", "Mean batch risk of the last steps; below zero for long: see the runbook.", ["campaign", "loss"]
)
TRAIN_WEIGHT = Gauge("actlabel_train_weight_max", "The largest weight of an item so far.", ["campaign", "loss"])
TRAIN_ESS = Gauge("actlabel_train_ess_ratio", "Effective sample size of a batch, as a share of its items.", ["campaign", "loss"])
TRAIN_ACCURACY = Gauge(
    "actlabel_train_accuracy_ratio",
    "Accuracy on the test set or the held-out human labels, with its 95 % interval.",
    ["campaign", "loss", "bound"],
)

MODEL_REQUESTS = Counter(
    "actlabel_model_requests_total",
    "Requests to the model server, by model (empty: refused before it was known) and HTTP status.",
    ["model", "status"],
)
MODEL_SECONDS = Histogram(
    "actlabel_model_duration_seconds",
    "From the head of a request to the model server to its answer.",
    ["model"],
    buckets=(0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
MODEL_BATCH = Histogram(
    "actlabel_model_batch_items",
    "Items that one forward pass of a served model answered together.",
    ["model"],
    buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256),
)
MODEL_VERSION = Gauge("actlabel_model_version", "The registered version that a model's bare name is answered by now.", ["model"])

_OF_CAMPAIGNS: Final[tuple[MetricWrapperBase, ...]] = (
    *(RECORDS, LAG, DEAD_LETTERS, PAUSES, DRAWS, DECISIONS),
    *(REVIEW_ANSWERS, REVIEW_SECONDS, REVIEW_VERDICTS, REVIEW_EXPECTED),
)


def replace(gauge: Gauge, values: Mapping[tuple[str, ...], float]) -> None:
    """Set a gauge's series, label values → value; others that it had are gone. For gauges with a single writer."""
    gauge.clear()
    for labels, value in values.items():
        gauge.labels(*labels).set(value)


def forget(campaigns: Collection[str]) -> None:
    """Remove what this process has counted of campaigns that are deleted: their uids never come back."""
    for uid in campaigns:
        for metric in _OF_CAMPAIGNS:
            metric.remove_by_labels({"campaign": uid})
