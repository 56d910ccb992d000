"""The request log: the witness of what was asked and paid."""

import asyncio
import json

import aiohttp
import pytest

from actlabel.completions.protocol import item_digest
from actlabel.core.errors import UserError
from actlabel.standin.faults import Faults
from actlabel.standin.request_log import RequestLog
from actlabel.standin.server import Standin


async def ask(http, server, request):
    async with http.post(f"{server.endpoint}/chat/completions", json=request) as response:
        return response.status


async def test_counts_arrivals_and_what_was_paid(http, answers, make_request):
    async with Standin(answers) as server:
        for _ in range(2):
            await ask(http, server, make_request())
        await ask(http, server, make_request("It is cold."))
        server.faults = Faults(error=1)
        await ask(http, server, make_request("It is cold."))
        async with http.get(f"{server.address}/control/log") as response:
            log = await response.json()
        assert sorted(log["arrived"].values()) == [2, 2]
        assert sorted(log["paid"].values()) == [1, 2]
        assert log["outcomes"] == {"200": 3, "500": 1}
        assert (log["requests"], log["in_flight"]) == (4, 0)
        async with http.delete(f"{server.address}/control/log") as response:
            assert (await response.json())["arrived"] == {}


async def test_the_file_has_a_line_at_arrival_and_one_at_the_end(http, answers, make_request, tmp_path):
    file = tmp_path / "requests.jsonl"
    async with Standin(answers, log=RequestLog(file)) as server:
        await ask(http, server, make_request())
        first = [json.loads(line) for line in file.read_text().splitlines()]  # on disk while the server runs
        await ask(http, server, make_request("Unknown."))
    assert [line["event"] for line in first] == ["arrived", "200"]
    assert first[0]["request"] == first[1]["request"]
    assert first[0]["item"] == item_digest(["Ice melts."])
    assert [json.loads(line)["event"] for line in file.read_text().splitlines()[2:]] == ["arrived", "422"]


async def test_a_restarted_stand_in_appends(http, answers, make_request, tmp_path):
    file = tmp_path / "requests.jsonl"
    for _ in range(2):
        async with Standin(answers, log=RequestLog(file)) as server:
            await ask(http, server, make_request())
    assert len(file.read_text().splitlines()) == 4


def test_a_log_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(UserError, match="no-such-folder"):
        RequestLog(tmp_path / "no-such-folder" / "log.jsonl")


async def test_the_file_tells_callers_and_injected_faults_apart(http, answers, make_request, tmp_path):
    file = tmp_path / "requests.jsonl"
    async with Standin(answers, Faults(nonsense=1), log=RequestLog(file)) as server:
        for key in ("key-of-anna", "key-of-bert"):
            headers = {"Authorization": f"Bearer {key}"}
            await (await http.post(f"{server.endpoint}/chat/completions", json=make_request(), headers=headers)).read()
        server.faults = Faults(latency_ms=60_000)
        asking = asyncio.create_task(ask(http, server, make_request()))
        await server.log.until(lambda log: log.in_flight == 1)
        await server.refuse()
        with pytest.raises(aiohttp.ClientError):
            await asking
        await server.log.until(lambda log: log.in_flight == 0)
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    callers = [line["caller"] for line in lines if line["event"] == "arrived"]
    assert len(set(callers)) == 3
    assert callers[2] == ""
    assert "anna" not in file.read_text()
    assert [line["fault"] for line in lines if line["event"] != "arrived"] == ["nonsense", "nonsense", "cut"]
