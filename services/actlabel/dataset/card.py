"""The data set card: what a stranger must know before training on it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from actlabel.runtime.campaigns import Campaign


@dataclass(slots=True, kw_only=True)
class Tally:
    """What was written so far."""

    items: int = 0
    human: int = 0  # with a reviewer's label
    undecidable: int = 0
    without_pi: int = 0  # items whose record names no inclusion probability
    labels: dict[str, int] = field(default_factory=dict)
    draws: dict[int, int] = field(default_factory=dict)
    cost_usd: float = 0.0

    def add(self, row: Mapping[str, object]) -> None:
        """Count one row."""
        self.items += 1
        self.human += row["label_source"] == "human"
        self.undecidable += row["outcome"] == "undecidable"
        self.without_pi += row["pi"] is None
        label, draw = str(row["label"]), int(str(row["draw"]))
        self.labels[label] = self.labels.get(label, 0) + 1
        self.draws[draw] = self.draws.get(draw, 0) + 1
        self.cost_usd += float(str(row["cost_usd"]))


def card(campaign: Campaign, tally: Tally, sha256: str, *, files: str) -> str:
    """Write the README of a data set: front matter for Hugging Face, then the facts. ``files``: pattern of the data files."""
    front = {"configs": [{"config_name": "default", "data_files": files}], "tags": ["actlabel"]}
    return "\n".join(
        [
            "---",
            json.dumps(front),
            "---",
            f"# {campaign.name}",
            "",
            f"Labels made with actlabel: {tally.items} items, {tally.human} of them labelled by people.",
            "",
            *_facts(campaign, tally, sha256),
            "",
            *_READING,
            "",
        ]
    )


def _facts(campaign: Campaign, tally: Tally, sha256: str) -> list[str]:
    labels = ", ".join(f"{_cell(name)} {count}" for name, count in sorted(tally.labels.items()))
    return [
        "| | |",
        "|---|---|",
        f"| question | {_cell(campaign.file.task.question)} |",
        f"| labels | {labels} |",
        f"| annotator, criticizer | {_cell(campaign.file.annotator.model)}, {_cell(campaign.file.criticizer.model)} |",
        f"| rule, budget | {campaign.file.sampler.rule}, {campaign.file.sampler.budget} |",
        f"| undecidable items | {tally.undecidable} |",
        f"| draws (items) | {', '.join(f'{draw} ({count})' for draw, count in sorted(tally.draws.items()))} |",
        f"| cost of the models | {tally.cost_usd:.2f} USD |",
        f"| campaign | {campaign.uid}, version {campaign.version} |",
        f"| sha256 | `{sha256}` |",
    ]


def _cell(text: str) -> str:
    """Keep what people wrote inside its cell, and plain."""
    return " ".join(text.split()).replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("`", "'")


_READING = [
    "`label` is the reviewer's answer where there is one (`label_source` is human), else the model's. `pi` is the probability with",
    "which the item was chosen for review, exactly `cell_selected / cell_size`, and `sampled` says whether it was. Weight reviewed",
    "items by `1 / pi` to speak about all items: they are not a random sample, and a share computed on them without weights is biased.",
]
