"""A campaign's data set on disk: the table, a card, and a manifest that names every byte of it."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Literal, Protocol

from actlabel.core.errors import UserError
from actlabel.dataset.card import Tally, card
from actlabel.dataset.folder import whole_folder
from actlabel.dataset.layout import SCHEMA_VERSION
from actlabel.dataset.merged import Merged
from actlabel.dataset.plain import CsvSink, JsonLinesSink
from actlabel.dataset.rows import Row, RowMaker
from actlabel.runtime.arrow import arrow_at_hand
from actlabel.runtime.campaigns import Campaign
from actlabel.runtime.media import MediaStore

Format = Literal["parquet", "jsonl", "csv"]
Progress = Callable[[int, int], None]
"""Called with the items done and the items in all."""

MANIFEST: Final = "manifest.json"
_FILES: Final = {"parquet": "*.parquet", "jsonl": "*.jsonl", "csv": "*.csv"}
_BATCH_ITEMS: Final = 256


class Sink(Protocol):
    """Where rows go. Every method may raise ``OSError``."""

    def write(self, rows: Sequence[Row], /) -> None:
        """Take rows, in the order of the data set."""

    def close(self) -> None:
        """Complete the files."""

    def abandon(self) -> None:
        """Release the files; the folder is about to be removed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """What was written."""

    path: Path
    items: int
    human: int
    sha256: str  # of the whole data set: of the names and hashes of its data files
    unreadable: int  # records on the merged topic that are no items; they are not in the data set


@dataclass(frozen=True, slots=True, kw_only=True)
class _Subject:
    merged: Merged
    campaign: Campaign
    labels: tuple[str, ...]
    file_format: Format


async def export(
    merged: Merged,
    campaign: Campaign,
    media: MediaStore,
    out: Path,
    *,
    file_format: Format = "parquet",
    on_progress: Progress = lambda _done, _total: None,
) -> Exported:
    """Write the data set to the folder ``out``, which is there whole or not at all.

    Raises ``UserError``: nothing merged yet, ``out`` is there already, media is missing, the disk refuses.
    """
    if not len(merged):
        raise UserError(f"campaign {campaign.name!r} has no merged items yet; `actlabel watch {campaign.name}` shows where they are")
    subject = _Subject(merged=merged, campaign=campaign, labels=label_set(campaign, merged), file_format=file_format)
    with whole_folder(out) as draft:
        tally = await _write(subject, media, _sink(draft, subject), on_progress)
        digest = _describe(draft, subject, tally)
    return Exported(path=out, items=tally.items, human=tally.human, sha256=digest, unreadable=merged.unreadable)


def label_set(campaign: Campaign, merged: Merged) -> tuple[str, ...]:
    """Return the campaign's labels in the order of its file, then labels of earlier versions that items still carry."""
    names = campaign.file.task.label_names
    return (*names, *sorted(merged.labels - set(names)))


def _sink(draft: Path, subject: _Subject) -> Sink:
    with arrow_at_hand("a data set"):
        from actlabel.dataset.parquet import ParquetSink  # noqa: PLC0415 - see runtime/arrow.py
        from actlabel.dataset.table import schema  # noqa: PLC0415
    campaign, merged = subject.campaign, subject.merged
    facts = {"campaign": campaign.name, "campaign_uid": campaign.uid, "manifest_sha256": merged.manifest.sha256}
    form = schema(merged.layout, subject.labels, facts)
    if subject.file_format == "parquet":
        return ParquetSink(draft, form)
    return JsonLinesSink(draft, form.names) if subject.file_format == "jsonl" else CsvSink(draft, form.names)


async def _write(subject: _Subject, media: MediaStore, sink: Sink, on_progress: Progress) -> Tally:
    merged = subject.merged
    maker = RowMaker(merged=merged, label_ids={name: number for number, name in enumerate(subject.labels)}, media=media)
    tally, batch = Tally(), list[Row]()
    try:
        async for row in maker.rows():
            tally.add(row)
            batch.append(row)
            if len(batch) == _BATCH_ITEMS:
                sink.write(batch)
                batch = []
                on_progress(tally.items, len(merged))
        if batch:
            sink.write(batch)
        sink.close()
    except BaseException:
        sink.abandon()
        raise
    on_progress(tally.items, len(merged))
    return tally


def _describe(draft: Path, subject: _Subject, tally: Tally) -> str:
    merged, campaign = subject.merged, subject.campaign
    files = [_fingerprint(draft, path) for path in sorted(draft.rglob("*")) if path.is_file()]
    digest = dataset_sha256(files)
    (draft / "README.md").write_text(card(campaign, tally, digest, files=_FILES[subject.file_format]), encoding="utf-8")
    document = {
        "schema_version": SCHEMA_VERSION,
        "format": subject.file_format,
        "sha256": digest,
        "files": files,
        "campaign": {"uid": campaign.uid, "name": campaign.name, "version": campaign.version},
        "labels": list(subject.labels),
        "columns": [{"name": name, "kind": key.kind} for key, name in merged.layout.columns.items()],
        "tally": asdict(tally),
        "unreadable_records": merged.unreadable,
        "offsets": json.loads(merged.manifest.to_json()),
        "offsets_sha256": merged.manifest.sha256,
    }
    (draft / MANIFEST).write_text(json.dumps(document, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return digest


def _fingerprint(folder: Path, path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"name": path.relative_to(folder).as_posix(), "bytes": path.stat().st_size, "sha256": digest}


def dataset_sha256(files: Sequence[dict[str, Any]]) -> str:
    """Hash the data files of a data set together: the SHA-256 of their lines ``<sha256>  <name>``, in the order of their names.

    ``sha256sum part-*.parquet | sha256sum`` in the folder gives the same.
    """
    lines = sorted((str(file["name"]), f"{file['sha256']}  {file['name']}\n") for file in files)
    return hashlib.sha256("".join(line for _, line in lines).encode()).hexdigest()


def verify(folder: Path) -> dict[str, Any]:
    """Return the manifest of an exported data set after checking every byte of its files against it. Raises ``UserError``."""
    document = read_manifest(folder)
    try:
        found = [_fingerprint(folder, folder / str(file["name"])) for file in document["files"]]
    except OSError as error:
        raise UserError(f"{folder}: a file that its {MANIFEST} names cannot be read ({error}); export the campaign again") from error
    if dataset_sha256(found) != document["sha256"]:
        raise UserError(f"{folder}: its files are not those that its {MANIFEST} names; export the campaign again")
    return document


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return the manifest of an exported data set, unchecked. Raises ``UserError`` when there is none of this version."""
    try:
        document = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{folder}: is no exported data set ({error}); export the campaign again") from error
    if not isinstance(document, dict) or document.get("schema_version") != SCHEMA_VERSION:
        raise UserError(f"{folder}: was exported by another version of actlabel; export the campaign again")
    return document
