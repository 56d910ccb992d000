-- Requests and tokens per minute, shared by all processes that ask a model at an endpoint (chat/quota.py).
CREATE TABLE IF NOT EXISTS quota (
    endpoint TEXT NOT NULL,
    model TEXT NOT NULL,
    unit TEXT NOT NULL,                       -- requests or tokens
    taken_until DOUBLE PRECISION NOT NULL,    -- everything that accrues before this moment is given out
    PRIMARY KEY (endpoint, model, unit)
);
