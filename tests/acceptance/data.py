"""Campaigns of recorded answers: distinct texts, a critic that knows something, a truth that nobody else sees."""

import json
import random
from dataclasses import dataclass
from pathlib import Path

LABELS = ("agrees", "disagrees", "neutral")


@dataclass(frozen=True)
class Recording:
    """Items for `ingest`, answers for the stand-in, and the truth for the reviewer and the oracle."""

    items: Path
    answers: Path
    truth: dict[str, str]
    model: dict[str, str]

    @property
    def wrong(self) -> set[str]:
        """Ids that the model labels wrongly."""
        return {item for item, label in self.truth.items() if self.model[item] != label}


def synthetic(folder: Path, count: int, *, seed: int = 1, name: str = "synthetic") -> Recording:
    """Make ``count`` texts of which the model labels about a quarter wrongly; its critic doubts those more, on a grid with many ties."""
    dice = random.Random(seed)
    truth, model, lines, answers = {}, {}, [], []
    for number in range(count):
        item, text = f"{name}-{number}", f"Statement {number} of {name}, seed {seed}."
        truth[item] = dice.choice(LABELS)
        wrong = dice.random() < 0.25
        model[item] = dice.choice([label for label in LABELS if label != truth[item]]) if wrong else truth[item]
        doubt = round(min(max(dice.gauss(0.5 if wrong else 0.2, 0.2), 0.0), 1.0), 2)
        lines.append({"id": item, "text": text})
        answers.append({"text": text, "llm": model[item], "error_prob": doubt})
    return _write(folder, name, lines, answers, truth, model)


def recorded(folder: Path, source: Path) -> Recording:
    """Take the recorded stance answers of ../shared/data; of equal texts the first answer counts, as in the stand-in."""
    rows = [json.loads(line) for line in source.read_text(encoding="utf-8").splitlines()]
    first: dict[str, str] = {}
    for row in rows:
        first.setdefault(row["text"], row["llm"])
    items = folder / "stance-items.jsonl"
    items.write_text("".join(json.dumps({"id": row["id"], "text": row["text"]}) + "\n" for row in rows), encoding="utf-8")
    truth = {row["id"]: row["human"] for row in rows}
    return Recording(items=items, answers=source, truth=truth, model={row["id"]: first[row["text"]] for row in rows})


def _write(folder: Path, name: str, lines: list, answers: list, truth: dict[str, str], model: dict[str, str]) -> Recording:
    items, recording = folder / f"{name}-items.jsonl", folder / f"{name}-answers.jsonl"
    items.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    recording.write_text("".join(json.dumps(line) + "\n" for line in answers), encoding="utf-8")
    return Recording(items=items, answers=recording, truth=truth, model=model)


def campaign_yaml(name: str, endpoint: str, **changes: object) -> dict[str, object]:
    """Write a campaign on the stand-in; ``changes`` replace whole sections or fields of sections (``sampler__budget=10``)."""
    document: dict[str, dict[str, object] | object] = {
        "name": name,
        "task": {"question": "What stance does the statement take?", "labels": list(LABELS)},
        "annotator": {"endpoint": endpoint, "model": "recorded-annotator", "calls_in_flight": 1000},
        "criticizer": {"endpoint": endpoint, "model": "recorded-critic", "calls_in_flight": 1000},
        "sampler": {"rule": "threshold", "budget": "10%", "audit_share": 0.1},
        "review": {"undo_seconds": 0, "lease_seconds": 5},
        "spend_cap_usd": 1,
        "seed": 1,
    }
    for path, value in changes.items():
        section, _, field = path.partition("__")
        if field:
            inner = document[section]
            assert isinstance(inner, dict)
            inner[field] = value
        else:
            document[section] = value
    return document
