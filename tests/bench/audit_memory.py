"""Peak memory and speed of `actlabel audit` by number of items: ``python tests/bench/audit_memory.py 10000 100000 1000000``.

A finished campaign is written into SQLite files, then audited.
Every item has a record on items, annotated, critiqued and merged, and rows of register, candidate and decision; one in a hundred was
reviewed. The audit runs in a process of its own, whose peak resident memory the kernel counts.
"""

import asyncio
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

sys.path.insert(0, str(Path(__file__).parents[2]))

from actlabel.contracts.v1.item_pb2 import CampaignRef, Item
from actlabel.core import topics
from actlabel.host.campaign_life import apply_campaign
from actlabel.host.host import Host, open_host
from actlabel.runtime.campaign_file import parse_campaign
from actlabel.runtime.campaigns import Campaign
from actlabel.runtime.settings import load_settings
from actlabel.stream.sqlite_log import Commit
from actlabel.stream.sqlite_stream import SqliteStream
from tests.acceptance.data import campaign_yaml

CHUNK = 5_000
TEXT = "A statement of about the length that a short text has, so that records weigh what they weigh in life. " * 3


async def write(host: Host, items: int) -> None:
    """Write the campaign as its stages would have left it."""
    campaign = await apply_campaign(host, parse_campaign(yaml.safe_dump(campaign_yaml("audited", "http://127.0.0.1:9/v1")), where="bench"))
    for start in range(0, items, CHUNK):
        numbers = range(start, min(start + CHUNK, items))
        await _rows(host, campaign, numbers)
        await _records(host, campaign, numbers)
    await _finish(host, campaign)


async def _rows(host: Host, campaign: Campaign, numbers: range) -> None:
    uid, database = campaign.uid, host.database
    put_item = "INSERT INTO item (uid, item_id, content_sha256, revision, batch, produced, created_at) VALUES ($1, $2, $3, 1, 1, TRUE, 0)"
    await database.execute_many(put_item, [(uid, _id(number), bytes(32)) for number in numbers])
    columns = "uid, item_id, batch, draw_batch, revision, epsilon_q16, label, arrived_at, block"
    put_candidate = f"INSERT INTO candidate ({columns}) VALUES ($1, $2, 1, 1, 1, 16384, 'agrees', 0, 0)"
    await database.execute_many(put_candidate, [(uid, _id(number)) for number in numbers])
    columns = "uid, draw, item_id, block, cell, cell_selected, cell_size, epsilon_q16, selected"
    put_decision = f"INSERT INTO decision ({columns}) VALUES ($1, 1, $2, 0, 0, 1, 100, 16384, $3)"
    await database.execute_many(put_decision, [(uid, _id(number), number % 100 == 0) for number in numbers])
    reviewed = [number for number in numbers if number % 100 == 0]
    columns = "uid, item_id, content_revision, draw, item, queue_order, state, revision, floor_revision, started_revision"
    put_review = (
        f"INSERT INTO review ({columns}, published_revision, published_draw) VALUES ($1, $2, 1, 1, $3, 0, 'answered', 1, 0, 1, 1, 1)"
    )
    await database.execute_many(put_review, [(uid, _id(number), b"") for number in reviewed])
    columns = "uid, item_id, revision, label, comment, reviewer, seconds, suggestion_shown, answered_at, lease_token"
    put_answer = f"INSERT INTO review_answer ({columns}) VALUES ($1, $2, 1, 'agrees', '', 'ann', 1, FALSE, 0, '')"
    await database.execute_many(put_answer, [(uid, _id(number)) for number in reviewed])


def _id(number: int) -> str:
    return f"item-{number:09}"


async def _records(host: Host, campaign: Campaign, numbers: range) -> None:
    producer, sends = host.stream.producer(), []
    for number in numbers:
        item = Item(id=_id(number), campaign=CampaignRef(uid=campaign.uid, version=1), batch=1, revision=1)
        item.content.parts.add(name="text", text=TEXT)
        key = item.id.encode()
        sends.append((topics.ITEMS, key, item.SerializeToString()))
        item.annotation.label, item.annotation.result_id = "agrees", f"{number:064}"
        sends.append((topics.ANNOTATED, key, item.SerializeToString()))
        item.critique.error_probability, item.critique.result_id = 0.25, f"{number:064}"
        sends.append((topics.CRITIQUED, key, item.SerializeToString()))
        decision = item.decision
        decision.draw, decision.epsilon_q16, decision.cell_selected, decision.cell_size = 1, 16384, 1, 100
        decision.selected = number % 100 == 0
        if decision.selected:
            sends.append((topics.REVIEW, key, item.SerializeToString()))
            item.review.outcome, item.review.label, item.review.reviewer, item.review.revision = 1, "agrees", "ann", 1
        sends.append((topics.MERGED, key, item.SerializeToString()))
    await asyncio.gather(*(producer.send(topics.topic(kind, campaign.uid), key=key, value=value) for kind, key, value in sends))


async def _finish(host: Host, campaign: Campaign) -> None:
    """Commit every stage to the end, and note the draw."""
    columns = "uid, draw, batch, mode, rule, budget, selected, calibration_version, population, raises, parameters, manifest, complete"
    put = f"INSERT INTO draw ({columns}, created_at) VALUES ($1, 1, 1, 'exact', 'uniform', 1, 1, 0, 1, 0, '{{}}', '', TRUE, 0)"
    await host.database.execute(put, campaign.uid)
    for stage, kind in topics.READS.items():
        await _commit(host, topics.group(stage), topics.topic(kind, campaign.uid))


async def _commit(host: Host, group: str, topic: str) -> None:
    ends = await host.stream.end_offsets(topic)
    assert isinstance(host.stream, SqliteStream)
    await host.stream._store([Commit(group=group, partition=partition, offset=end) for partition, end in ends.items()])


def cpu_s() -> float:
    """Return the CPU seconds of all processes that this one started and that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def measure(items: int) -> None:
    """Print one line."""
    with tempfile.TemporaryDirectory(prefix="actlabel-bench-") as folder:
        files = {"stream": f"sqlite:///{folder}/stream.db", "database": f"sqlite:///{folder}/actlabel.db", "storage": f"{folder}/storage"}
        asyncio.run(_write(files, items))
        environment = {**os.environ, **{f"ACTLABEL_{name.upper()}": value for name, value in files.items()}}
        began, used_s = time.monotonic(), cpu_s()
        command = [sys.executable, "-m", "actlabel", "audit", "audited", "--json"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        seconds, used_s = time.monotonic() - began, cpu_s() - used_s
        said = json.loads(done.stdout) if done.stdout else {"state": done.stderr}
        log_bytes = sum(file.stat().st_size for file in Path(folder).glob("*.db"))
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    bound = said.get("memory_bytes", 0) / 2**20
    facts = said.get("facts", 0)
    print(
        f"{items:>9} items {said['state']} exit {done.returncode}: {facts} facts in {seconds:.1f} s, {used_s:.1f} s CPU, "
        f"peak {peak:.0f} MiB, facts bound {bound:.0f} MiB, files {log_bytes / 2**30:.2f} GiB",
        flush=True,
    )


async def _write(files: dict[str, str], items: int) -> None:
    async with open_host(load_settings(**files), runs_stages=False) as host:
        await write(host, items)


if __name__ == "__main__":
    for number in sys.argv[1:]:
        measure(int(number))
