"""A plain script on the `openai` SDK: `python plain_openai.py WORK.json`. Imports nothing of ours; it runs in an environment of its own."""

import asyncio
import json
import sys
from collections.abc import Iterator
from pathlib import Path

from openai import AsyncOpenAI

work = json.loads(Path(sys.argv[1]).read_text())


async def ask(client: AsyncOpenAI, step: dict, user: str) -> dict:
    """One call."""
    answer = await client.chat.completions.create(
        model="m",
        messages=[{"role": "system", "content": step["system"]}, {"role": "user", "content": user}],
        response_format=step["response_format"],
        temperature=0,
        max_tokens=1024,
    )
    return json.loads(answer.choices[0].message.content)


async def label(client: AsyncOpenAI, row: dict) -> dict:
    """Annotate, then criticize where that is asked for."""
    done = {"id": row["id"], "label": (await ask(client, work["steps"][0], row["user"]))["label"]}
    if len(work["steps"]) > 1:
        critique = await ask(client, work["steps"][1], f"{row['user']}\nLabel under review: {done['label']}")
        done["error_probability"] = critique["error_probability"]
    return done


async def label_all(rows: Iterator[dict]) -> list[dict]:
    """As many workers as calls may be in flight."""
    async with AsyncOpenAI(base_url=work["url"], api_key="none") as client:

        async def worker() -> list[dict]:
            return [await label(client, row) for row in rows]

        parts = await asyncio.gather(*(worker() for _ in range(work["in_flight"] * len(work["steps"]))))
    return [row for part in parts for row in part]


with Path(work["rows"]).open() as lines:
    made = asyncio.run(label_all(map(json.loads, lines)))
Path(work["out"]).write_text("".join(json.dumps(row) + "\n" for row in made))
