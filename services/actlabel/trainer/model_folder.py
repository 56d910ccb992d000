"""What a trained model leaves behind: weights, configuration, labels, where its data came from, and a card."""

import json
import shutil
from pathlib import Path
from typing import Any

from torch import nn

from actlabel.dataset.folder import whole_folder
from actlabel.trainer.prepare import Prepared
from actlabel.trainer.staging import Staging


def write_model(prepared: Prepared, model: nn.Module, result: dict[str, Any], metrics_file: Path) -> None:
    """Write ``models/<loss>/``, whole or not at all; one that an interrupted run left is replaced. With staging it is copied there."""
    folder = prepared.plan.out / "models" / str(result["name"])
    if folder.exists():
        shutil.rmtree(folder)
    with whole_folder(folder) as draft:
        prepared.kind.save(model, draft)
        shutil.copyfile(metrics_file, draft / "metrics.jsonl")
        _write(draft / "labels.json", list(prepared.snapshot.labels))
        _write(draft / "manifest.json", prepared.snapshot.manifest)
        _write(draft / "model_card.json", _card(prepared, result))
    if prepared.plan.staging is not None:
        Staging(prepared.plan.staging).put_model(folder)


def _card(prepared: Prepared, result: dict[str, Any]) -> dict[str, Any]:
    plan, training = prepared.plan, prepared.training
    return {
        "campaign": prepared.snapshot.campaign,
        "snapshot_sha256": prepared.snapshot.sha256,
        "config_sha256": plan.config_sha256,
        "model": prepared.kind.describe(),
        "training": {
            "epochs": training.epochs,
            "batch_items": training.batch_items,
            "learning_rate": training.learning_rate,
            "seed": plan.seed,
            "lambda": plan.power,
        },
        "undecidable_items_left_out": int((~prepared.records.usable).sum()),
        **result,
    }


def _write(path: Path, document: Any) -> None:
    path.write_text(json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")
