"""The short form: two replicas of every role, one of every fault, on a broker and a database of its own."""

import os
from pathlib import Path

from tests.acceptance.chaos.plan import Plan
from tests.acceptance.chaos.run import run
from tests.services.kafka_broker import KafkaBroker
from tests.services.postgres_server import PostgresServer


async def test_nothing_is_lost_doubled_or_paid_twice_whatever_breaks(
    tmp_path: Path, killable_kafka: KafkaBroker, killable_postgres: PostgresServer
) -> None:
    """``ACTLABEL_CHAOS_SEED`` names another schedule."""
    plan = Plan(seed=int(os.environ.get("ACTLABEL_CHAOS_SEED", "1")), items=1500, faults=20, strays=5)
    ledger = await run(plan, tmp_path, broker=killable_kafka, postgres=killable_postgres)
    print("\n".join(ledger.lines()))
    assert not ledger.violations, f"seed {plan.seed}: {ledger.violations[0]}"
