"""What workers on other machines need of a run, through storage: inputs there, checkpoints, progress and models back."""

import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final

from actlabel.core.errors import Fatal, UserError
from actlabel.runtime.storage import Storage, StoredFile, stored_file
from actlabel.trainer.plan import TrainingPlan

_INPUTS: Final = "inputs"
_LISTING: Final = "inputs.json"
_MODELS: Final = "models"
_PROGRESS: Final = "progress.json"
_ANSWERS: Final = "answers.json"


class Staging:
    """One run's folder in storage. Every method blocks and raises ``RetryLater`` when storage is out of reach."""

    def __init__(self, address: str) -> None:
        """``address``: fsspec's, of this run alone. Raises ``UserError`` when it cannot be used."""
        self._storage = Storage(address)
        self._address = address

    @property
    def ray_filesystem(self) -> Any:
        """Storage as Ray takes it for its checkpoints: a ``pyarrow.fs.FileSystem``."""
        from pyarrow.fs import FSSpecHandler, PyFileSystem  # noqa: PLC0415 - see runtime/arrow.py

        return PyFileSystem(FSSpecHandler(self._storage.files))

    @property
    def ray_path(self) -> str:
        """Where Ray's checkpoints lie in ``ray_filesystem``."""
        return self._storage.path("ray")

    def put_inputs(self, plan: TrainingPlan) -> None:
        """Copy the snapshot and what ``prepare`` made; the listing comes last, so that inputs with a listing are whole.

        Those of an interrupted run are kept. Raises ``UserError`` when this run does not go on with it, or has another snapshot.
        """
        if (there := self._listing()) is not None:
            _check_same(there, plan)
            return
        listed = [*_files(plan.snapshot, "snapshot/"), *_files(plan.out / "run", "run/")]
        self._storage.put(plan.snapshot, f"{_INPUTS}/snapshot")
        self._storage.put(plan.out / "run", f"{_INPUTS}/run")
        self._storage.write(_LISTING, json.dumps([asdict(file) for file in listed]).encode())

    def _listing(self) -> list[StoredFile] | None:
        listing = self._storage.read(_LISTING)
        return None if listing is None else [StoredFile(**row) for row in json.loads(listing)]

    def has_inputs(self) -> bool:
        """Say whether an interrupted run left its inputs, whole."""
        return self._storage.read(_LISTING) is not None

    def put_answers(self, answers: int) -> None:
        """Keep how many answers of reviewers were published before the snapshot was frozen."""
        self._storage.write(_ANSWERS, json.dumps(answers).encode())

    def answers(self) -> int:
        """Return what ``put_answers`` kept; 0 where it kept nothing."""
        return int(json.loads(self._storage.read(_ANSWERS) or b"0"))

    def fetch_snapshot(self, plan: TrainingPlan) -> None:
        """Copy the snapshot of an interrupted run to where the plan has it, whole or not at all."""
        with tempfile.TemporaryDirectory(prefix=".snapshot-", dir=plan.out) as draft:
            self._fetch(Path(draft), only="snapshot/")
            (Path(draft) / "snapshot").rename(plan.snapshot)

    def _fetch(self, folder: Path, *, only: str = "") -> None:
        files = self._listing()
        if files is None:
            raise Fatal(f"{self._address}: holds no inputs of a run; was it removed while the run went on?")
        self._storage.fetch(_INPUTS, folder, [file for file in files if file.name.startswith(only)])

    @contextmanager
    def on_this_machine(self, plan: TrainingPlan) -> Iterator[TrainingPlan]:
        """Yield the plan with local places of its inputs, which the workers of one machine share; removed when the block ends well."""
        folder = own_folder(self._address)
        with _locked(folder):
            if not (folder / "out").exists():
                draft = folder / ".draft"
                shutil.rmtree(draft, ignore_errors=True)
                draft.mkdir()
                self._fetch(draft)
                draft.rename(folder / "out")
        out = folder / "out"
        yield replace(plan, out=out, snapshot=out / "snapshot")
        shutil.rmtree(folder, ignore_errors=True)

    def put_model(self, folder: Path) -> None:
        """Copy the folder of a trained model."""
        self._storage.put(folder, f"{_MODELS}/{folder.name}")

    def fetch_models(self, out: Path) -> None:
        """Copy every trained model to ``out/models``."""
        self._storage.copy(_MODELS, out / "models")

    def put_progress(self, document: dict[str, Any]) -> None:
        """Tell the driver how far the run is."""
        self._storage.write(_PROGRESS, json.dumps(document).encode())

    def read_progress(self) -> str:
        """Return what was told last; nothing at first."""
        return (self._storage.read(_PROGRESS) or b"").decode()

    def remove(self) -> None:
        """Forget the run: its models are registered, or nobody will go on with it."""
        self._storage.remove("")


def _files(root: Path, prefix: str) -> list[StoredFile]:
    files = (stored_file(root, path) for path in sorted(root.rglob("*")) if path.is_file())
    return [replace(file, name=f"{prefix}{file.name}") for file in files]


def _check_same(there: list[StoredFile], plan: TrainingPlan) -> None:
    if not plan.resume:
        raise UserError(f"{plan.staging}: holds an interrupted run; --resume it, or train into another --out")
    if [file for file in there if file.name.startswith("snapshot/")] != _files(plan.snapshot, "snapshot/"):
        raise UserError(f"{plan.staging}: the interrupted run there had another snapshot than {plan.snapshot}; train into another --out")


def own_folder(address: str, *, made: bool = True) -> Path:
    """Return the folder of a run on this machine, ``made`` when missing. It is of this user and nobody else: its name can be guessed."""
    folder = Path(tempfile.gettempdir()) / f"actlabel-{os.getuid()}-{hashlib.sha256(address.encode()).hexdigest()[:16]}"
    if made:
        folder.mkdir(mode=0o700, exist_ok=True)
        if folder.is_symlink() or folder.stat().st_uid != os.getuid():
            raise Fatal(f"{folder}: belongs to somebody else; remove it, or set TMPDIR to a folder of your own")
    return folder


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Let one worker of this machine in at a time."""
    with (folder / "lock").open("w", encoding="ascii") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
