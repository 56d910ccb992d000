"""The long form, by hand: ``python -m tests.acceptance.chaos --items 100000 --faults 200 --seed 1``."""

import argparse
import asyncio
import logging
import sys
import tempfile
from pathlib import Path

from tests.acceptance.chaos.plan import Plan
from tests.acceptance.chaos.run import run
from tests.services.kafka_broker import KafkaBroker
from tests.services.postgres_server import PostgresServer


def main() -> int:
    """Run once; the exit code says whether everything is accounted for."""
    arguments = _arguments()
    chosen = vars(arguments.parse_args())
    folder = Path(chosen.pop("folder") or tempfile.mkdtemp(prefix="actlabel-chaos-"))
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        arguments.error(f"--folder {folder} is not empty: the logs of another run would be counted with this one's")
    plan = Plan(**chosen)
    for client in ("aiokafka", "asyncpg"):
        logging.getLogger(client).setLevel(logging.CRITICAL)  # the outages are scripted
    with tempfile.TemporaryDirectory(prefix="actlabel-") as kafka, tempfile.TemporaryDirectory(prefix="actlabel-") as postgres:
        broker, database = KafkaBroker(Path(kafka)), PostgresServer(Path(postgres))
        broker.start()
        database.start()
        try:
            ledger = asyncio.run(run(plan, folder, broker=broker, postgres=database))
        finally:
            broker.kill()
            database.stop()
    print("\n".join(ledger.lines()), f"logs of every process, and of the endpoint: {folder}", sep="\n")
    return 1 if ledger.violations else 0


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--faults", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--replicas", type=int, default=2)
    parser.add_argument("--batches", type=int, default=10)
    parser.add_argument("--latency-ms", type=float, default=400.0)
    parser.add_argument("--calls-in-flight", type=int, default=100)
    parser.add_argument("--window", type=int, default=1000)
    parser.add_argument("--review-s", type=float, default=120.0)
    parser.add_argument("--folder", help="for the logs, empty; kept")
    return parser


if __name__ == "__main__":
    sys.exit(main())
