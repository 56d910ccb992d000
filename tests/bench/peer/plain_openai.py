"""A plain script on the `openai` SDK: `python plain_openai.py WORK.json`. Imports nothing of ours; it runs in an environment of its own."""

import asyncio
import json
import sys
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


async def main() -> None:
    """As many workers as calls may be in flight."""
    with Path(work["rows"]).open() as lines:
        rows = iter([json.loads(line) for line in lines])
    done = []

    async with AsyncOpenAI(base_url=work["url"], api_key="none") as client:

        async def worker() -> None:
            for row in rows:
                done.append(await label(client, row))

        await asyncio.gather(*(worker() for _ in range(work["in_flight"] * len(work["steps"]))))
    Path(work["out"]).write_text("".join(json.dumps(row) + "\n" for row in done))


asyncio.run(main())
