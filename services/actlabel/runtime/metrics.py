"""Every metric, declared once with its help. Labels never carry an item id, a user or a text."""

from prometheus_client import Counter, Gauge, Histogram

RECORDS = Counter(
    "actlabel_records_total",
    "Records that left a stage, by outcome (done, dead, retried; at source and mirror also known, skipped).",
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

BUDGET = Gauge("actlabel_review_budget_items", "Reviews, by state (allowed, taken).", ["campaign", "state"])
DRAWS = Counter("actlabel_draws_total", "Draws completed.", ["campaign"])
REVIEWS = Gauge("actlabel_review_queue_items", "Items in the review queue, by state.", ["campaign", "state"])
REVIEW_ANSWERS = Counter("actlabel_review_answers_total", "Answers of reviewers, by kind (submit, skip, undo).", ["campaign", "kind"])
REVIEW_SECONDS = Histogram(
    "actlabel_review_duration_seconds",
    "From the lease of an item to its answer.",
    ["campaign"],
    buckets=(1, 2, 5, 10, 20, 60, 300),
)
OUTBOX = Gauge("actlabel_review_outbox_items", "Answers that are not yet on the merged topic.", [])
READY = Gauge("actlabel_ready", "1 when this process is ready for work.", ["role"])

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
