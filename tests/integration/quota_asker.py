"""A process that asks as fast as its quota lets it, for test_shared_quota.py.

python -m tests.integration.quota_asker DATABASE ENDPOINT CALLS LIMITS(JSON)
"""

import asyncio
import json
import sys
from typing import Any

from actlabel.chat.openai_compatible import OpenAiCompatibleClient
from actlabel.chat.port import AnswerSchema, ChatRequest, Message, TextPart
from actlabel.chat.quota import DatabaseLedger
from actlabel.runtime.campaign_file import Model
from actlabel.runtime.clock import SystemClock
from actlabel.runtime.database.open import open_database

_SCHEMA = AnswerSchema(name="annotation", properties={"label": {"type": "string"}})


async def ask(address: str, endpoint: str, calls: int, limits: dict[str, Any]) -> None:
    """Make so many calls, 32 at once, of different lengths."""
    clock, database = SystemClock(), await open_database(address, connections=2)
    model = Model.model_validate({"endpoint": endpoint, "model": "m", "strategy": "naive", "max_output_tokens": 64, **limits})
    numbers = iter(range(calls))
    async with OpenAiCompatibleClient(clock=clock, calls_in_flight=64, ledger=DatabaseLedger(database, clock)) as client:

        async def work() -> None:
            for number in numbers:
                text = f"Text {number}. " + "word " * (number % 40)
                message = Message(role="user", parts=(TextPart(text=text),))
                await client.complete(ChatRequest(uid="u", stage="annotator", model=model, messages=(message,), schema=_SCHEMA))

        await asyncio.gather(*(work() for _ in range(32)))
    await database.close()


if __name__ == "__main__":
    asyncio.run(ask(sys.argv[1], sys.argv[2], int(sys.argv[3]), json.loads(sys.argv[4])))
