"""Three processes share one quota through PostgreSQL; the witness is the request log of the stand-in."""

import asyncio
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest

from actlabel.chat.quota import BURST_S, SLICE_S
from actlabel.completions.opinion import Opinion
from actlabel.completions.protocol import Question
from actlabel.standin.faults import Faults
from actlabel.standin.request_log import RequestLog
from actlabel.standin.server import Standin

_ROOT = Path(__file__).parents[2]
_ON_THE_WAY_S = 1.0
"""A request may be so much longer on its way to a busy stand-in than the one before it."""


class _Always:
    def answer(self, question: Question) -> Opinion:
        return Opinion(label="cat", error_probability=0.0, reason="")


async def run(tmp_path: Path, database: str, limits: dict[str, Any], *, calls: Sequence[int]) -> list[dict[str, Any]]:
    """Let one process for each number of calls ask; returns the lines of the stand-in's log."""
    async with Standin(_Always(), Faults(latency_ms=50), log=RequestLog(tmp_path / "log")) as server:
        arguments = [
            [sys.executable, "-m", "tests.integration.quota_asker", database, server.endpoint, str(n), json.dumps(limits)] for n in calls
        ]
        processes = [await asyncio.create_subprocess_exec(*each, cwd=_ROOT) for each in arguments]
        codes = await asyncio.gather(*(process.wait() for process in processes))
    assert set(codes) == {0}
    return [orjson.loads(line) for line in (tmp_path / "log").read_bytes().splitlines()]


def most_above(moments: Sequence[tuple[float, float]], per_s: float) -> float:
    """Return by how much any window exceeds ``per_s`` times its length: the burst that was seen."""
    worst, lowest, total = 0.0, float("inf"), 0.0
    for at_s, amount in sorted(moments):
        lowest = min(lowest, total - per_s * at_s)
        total += amount
        worst = max(worst, total - per_s * at_s - lowest)
    return worst


def test_burst_is_found() -> None:
    steady = [(float(second), 1.0) for second in range(100)]
    assert most_above(steady, 1.0) == 1.0
    assert most_above([*steady, *[(50.5, 1.0)] * 7], 1.0) == pytest.approx(8.0)


async def test_requests_per_minute_hold_over_three_processes(tmp_path: Path, postgres_address: str) -> None:
    log = await run(tmp_path, postgres_address, {"requests_per_minute": 1800}, calls=(60, 60, 60))
    arrived = [(line["at_s"], 1.0) for line in log if line["event"] == "arrived"]
    assert len(arrived) == 180
    assert most_above(arrived, 30.0) <= 30.0 * (BURST_S + SLICE_S + _ON_THE_WAY_S) + 1


async def test_tokens_per_minute_hold_over_three_processes(tmp_path: Path, postgres_address: str) -> None:
    log = await run(tmp_path, postgres_address, {"tokens_per_minute": 60_000}, calls=(40, 40, 40))
    begun = {line["number"]: line["at_s"] for line in log if line["event"] == "arrived"}
    used = [(begun[line["number"]], float(line["tokens"])) for line in log if line["event"] == "200"]
    assert len(used) == 120
    dearest = max(tokens for _, tokens in used)
    learning = 3 * 32 * dearest  # until the first answers came, each process knew a guess only
    assert most_above(used, 1000.0) <= 1000.0 * (BURST_S + SLICE_S + _ON_THE_WAY_S) + dearest + learning
