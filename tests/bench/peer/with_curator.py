"""bespokelabs-curator 0.1: `python with_curator.py WORK.json`. Imports nothing of ours; it runs in an environment of its own.

Structured output by pydantic models, the OpenAI backend (aiohttp), as many requests at once as asked for, no limit by the minute that
could bind, an empty cache folder of its own. The one request that it sends to look for rate limits and the one that tries structured
output are its own.
"""

import importlib.util
import json
import os
import sys
from pathlib import Path
from typing import Literal

# it counts tokens by a table that it would download; litellm, which it needs anyway, brings the same one
os.environ["TIKTOKEN_CACHE_DIR"] = str(Path(importlib.util.find_spec("litellm").origin).parent / "litellm_core_utils" / "tokenizers")

from bespokelabs import curator
from pydantic import BaseModel

work = json.loads(Path(sys.argv[1]).read_text())


class Annotation(BaseModel):
    """What the first step answers."""

    label: Literal["agrees", "disagrees", "neutral"]


class Critique(BaseModel):
    """What the second step answers."""

    error_probability: float
    suggested_label: Literal["agrees", "disagrees", "neutral"]
    reason: str
    evidence: list[str]


class Annotator(curator.LLM):
    """The first step."""

    response_format = Annotation

    def prompt(self, row: dict) -> list:
        """Write the messages."""
        return [{"role": "system", "content": work["steps"][0]["system"]}, {"role": "user", "content": row["user"]}]

    def parse(self, row: dict, answer: Annotation) -> dict:
        """Add the label."""
        return {"id": row["id"], "user": row["user"], "label": answer.label}


class Critic(curator.LLM):
    """The second step."""

    response_format = Critique

    def prompt(self, row: dict) -> list:
        """Write the messages."""
        user = f"{row['user']}\nLabel under review: {row['label']}"
        return [{"role": "system", "content": work["steps"][1]["system"]}, {"role": "user", "content": user}]

    def parse(self, row: dict, answer: Critique) -> dict:
        """Add the probability."""
        return {**row, "error_probability": answer.error_probability}


def main() -> None:
    """One step after the other, as curator does it."""
    how = {
        "model_name": "m",
        "backend": "openai",
        "generation_params": {"temperature": 0.0, "max_tokens": 1024},
        "backend_params": {
            "base_url": work["url"],
            "api_key": "none",
            "max_concurrent_requests": work["in_flight"],
            "max_requests_per_minute": 10_000_000,
            "max_tokens_per_minute": 10_000_000_000,
        },
    }
    with Path(work["rows"]).open() as lines:
        rows = [json.loads(line) for line in lines]
    made = Annotator(**how)(rows).dataset
    if len(work["steps"]) > 1:
        made = Critic(**how)(made).dataset
    made.to_parquet(work["out"])
    print(len(made), "rows")


if __name__ == "__main__":
    main()
