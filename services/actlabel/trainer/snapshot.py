"""The frozen data of a run: a Parquet snapshot with its hash. A run and its resume read the snapshot, never offsets.

Compaction removes what an old manifest of offsets points to; the bytes of a snapshot stay what their hash says.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from actlabel.core.errors import UserError
from actlabel.dataset.export import Exported, Progress, export, read_manifest, verify
from actlabel.dataset.merged import read_merged
from actlabel.host.host import Host
from actlabel.runtime.campaigns import Campaign
from actlabel.runtime.media import MediaStore


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A verified snapshot."""

    path: Path
    sha256: str
    items: int
    labels: tuple[str, ...]
    columns: tuple[tuple[str, str], ...]  # the content: (name, "text" or "image")
    campaign: str
    manifest: dict[str, Any]  # all of manifest.json, with the frozen offsets

    @property
    def files(self) -> list[Path]:
        """The Parquet files, in order."""
        return sorted(self.path.glob("part-*.parquet"))


async def make_snapshot(host: Host, campaign: Campaign, path: Path, on_progress: Progress) -> Exported:
    """Freeze the merged topic of a campaign now and write it. Raises ``UserError``: nothing merged yet, ``path`` taken, disk full."""
    merged = await read_merged(host.stream, campaign.uid)
    return await export(merged, campaign, MediaStore(host.settings.storage), path, on_progress=on_progress)


def open_snapshot(path: Path, *, check_bytes: bool = True) -> Snapshot:
    """Check every byte of a snapshot against its hash. Raises ``UserError`` when it is no Parquet export, or was changed.

    ``check_bytes=False`` reads the manifest alone: the driver of a run has checked already, its workers need not read everything again.
    """
    manifest = verify(path) if check_bytes else read_manifest(path)
    if manifest["format"] != "parquet":
        raise UserError(f"{path}: is an export as {manifest['format']}; training reads Parquet: export with --format parquet")
    return Snapshot(
        path=path,
        sha256=manifest["sha256"],
        items=manifest["tally"]["items"],
        labels=tuple(manifest["labels"]),
        columns=tuple((column["name"], column["kind"]) for column in manifest["columns"]),
        campaign=manifest["campaign"]["name"],
        manifest=manifest,
    )
