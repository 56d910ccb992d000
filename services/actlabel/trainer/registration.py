"""A finished run becomes a version in the registry: files into storage first, then the row that names them."""

import asyncio
import json
from pathlib import Path
from typing import Any, Final

from actlabel.model_registry.files import put_model
from actlabel.model_registry.registry import ModelVersion, NewModel, Registry
from actlabel.runtime.storage import Storage
from actlabel.trainer.job import TrainingResults
from actlabel.trainer.plan import TrainingPlan

_DOCUMENT_VERSION: Final = 1


def chosen(results: TrainingResults) -> dict[str, Any] | None:
    """Return the model of a run that is worth keeping: the best by held-out human labels, else the first that did not diverge."""
    sound = [model for model in results.models if model["bounded"] or not model["persistently_negative"]]
    return next((model for model in sound if model["name"] == results.selected), sound[0] if sound else None)


async def register_run(
    *, registry: Registry, storage: Storage, plan: TrainingPlan, results: TrainingResults, name: str, answers: int
) -> ModelVersion | None:
    """Register the chosen model of a run under ``name``; None when every one of them diverged.

    ``answers``: of reviewers, published before the snapshot was frozen. Raises ``UserError`` (unusable name), ``RetryLater`` (storage or
    database out of reach: registering again changes nothing that was done).
    """
    result = chosen(results)
    if result is None:
        return None
    folder = results.models_folder / str(result["name"])
    files = await asyncio.to_thread(put_model, storage, folder)
    facts = _facts(plan, results, result, folder)
    return await registry.register(
        NewModel(name=name, campaign_uid=results.snapshot["campaign"]["uid"], answers=answers, files=files, facts=facts)
    )


def _facts(plan: TrainingPlan, results: TrainingResults, result: dict[str, Any], folder: Path) -> dict[str, Any]:
    card = json.loads((folder / "model_card.json").read_text(encoding="utf-8"))
    return {
        "document_version": _DOCUMENT_VERSION,
        "campaign": results.snapshot["campaign"],
        "snapshot": results.snapshot,
        "labels": json.loads((folder / "labels.json").read_text(encoding="utf-8")),
        "model": card["model"],
        "training": card["training"],
        "metrics": result,
        "others": [model for model in results.models if model is not result],
        "config_sha256": plan.config_sha256,
        **results.made_with,
    }
