"""distilabel 1.5: `python with_distilabel.py WORK.json`. Imports nothing of ours; it runs in an environment of its own.

One ChatGeneration-like task per step, each in its own process as distilabel does it; a batch is asked at once, so the batch size is the
number of calls in flight. The cache is off, raw inputs and outputs are not kept.
"""

import json
import sys
from pathlib import Path
from typing import Any

from distilabel.models import OpenAILLM
from distilabel.pipeline import Pipeline
from distilabel.steps import LoadDataFromDicts
from distilabel.steps.tasks import TextGeneration

work = json.loads(Path(sys.argv[1]).read_text())


class Annotate(TextGeneration):
    """Reads the label out of the answer."""

    @property
    def outputs(self) -> list[str]:
        """What is added to a row."""
        return ["label", "model_name"]

    def format_output(self, output: str | None, input: dict[str, Any] | None = None) -> dict[str, Any]:  # noqa: A002 - its name there
        """Parse."""
        return {"label": json.loads(output or "{}")["label"]}


class Criticize(TextGeneration):
    """Reads the probability out of the answer."""

    @property
    def outputs(self) -> list[str]:
        """What is added to a row."""
        return ["error_probability", "model_name"]

    def format_output(self, output: str | None, input: dict[str, Any] | None = None) -> dict[str, Any]:  # noqa: A002 - its name there
        """Parse."""
        return {"error_probability": json.loads(output or "{}")["error_probability"]}


def task(kind: type[TextGeneration], number: int, **how: Any) -> TextGeneration:
    """One step with its model."""
    step = work["steps"][number]
    kwargs = {"temperature": 0.0, "max_new_tokens": 1024, "extra_body": {"response_format": step["response_format"]}}
    return kind(
        llm=OpenAILLM(model="m", base_url=work["url"], api_key="none", generation_kwargs=kwargs),
        system_prompt=step["system"],
        input_batch_size=work["in_flight"],
        add_raw_output=False,
        add_raw_input=False,
        **how,
    )


def main() -> None:
    """Build the pipeline, run it, keep what it made."""
    with Path(work["rows"]).open() as lines:
        rows = [json.loads(line) for line in lines]
    with Pipeline(name="bench") as pipeline:
        last = LoadDataFromDicts(data=rows, batch_size=work["in_flight"])
        annotate = task(Annotate, 0, template="{{ user }}", columns="user")
        last >> annotate
        if len(work["steps"]) > 1:
            criticize = task(Criticize, 1, template="{{ user }}\nLabel under review: {{ label }}", columns=["user", "label"])
            annotate >> criticize
    made = pipeline.run(use_cache=False)
    made["default"]["train"].to_parquet(work["out"])
    print(len(made["default"]["train"]), "rows")


if __name__ == "__main__":
    main()
