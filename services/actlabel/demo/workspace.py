"""The demo's folder: made fresh, cleaned of an earlier run, never anybody else's."""

import hashlib
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path

from actlabel.core.errors import UserError
from actlabel.runtime.settings import Settings, load_settings

_MARK = ".made-by-actlabel-demo"
_OURS = (
    *("campaign.yaml", "campaign-to-try.yaml", "dataset", "images", "images-to-try", "random-review.parquet"),
    *("report.html", "state", "summary.json", "test-images", "training"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Workspace:
    """Where everything of one run lies."""

    root: Path

    @property
    def state(self) -> Path:
        """Stream, database, storage, token."""
        return self.root / "state"

    @property
    def campaign(self) -> Path:
        """The campaign file."""
        return self.root / "campaign.yaml"

    @property
    def images(self) -> Path:
        """What is labelled, with its metadata."""
        return self.root / "images"

    @property
    def try_images(self) -> Path:
        """What a person may label at the end."""
        return self.root / "images-to-try"

    @property
    def test_images(self) -> Path:
        """Where the trained model is tested, with labels."""
        return self.root / "test-images"

    @property
    def random_review(self) -> Path:
        """The true labels of a uniform random sample as large as the reviews, for the baseline."""
        return self.root / "random-review.parquet"

    @property
    def dataset(self) -> Path:
        """The merged dataset."""
        return self.root / "dataset"

    @property
    def training(self) -> Path:
        """What the training job writes."""
        return self.root / "training"

    @property
    def report(self) -> Path:
        """The page of estimates and plots."""
        return self.root / "report.html"

    @property
    def summary(self) -> Path:
        """The same numbers for machines."""
        return self.root / "summary.json"

    @property
    def token_file(self) -> Path:
        """The operator's token for the review gateway."""
        return self.state / "review-token"

    @property
    def key_file(self) -> Path:
        """What the random numbers of the draw derive from."""
        return self.state / "draw-key"

    def settings(self, *, review_port: int) -> Settings:
        """Put everything on embedded files inside the folder, whatever the environment says."""
        return load_settings(
            stream=f"sqlite:///{self.state / 'stream.db'}",
            database=f"sqlite:///{self.state / 'actlabel.db'}",
            storage=str(self.state / "storage"),
            review_token_file=self.token_file,
            secret_key_file=self.key_file,
            host="127.0.0.1",
            review_port=review_port,
        )


def fresh(root: Path, *, seed: int = 0) -> Workspace:
    """Make the folder, or empty it of an earlier run of the demo. Raises ``UserError`` when it is somebody else's or cannot be written."""
    root = root.absolute()
    try:
        if root.exists():
            _clean(root)
        workspace = Workspace(root=root)
        workspace.state.mkdir(parents=True)
        (root / _MARK).touch()
        _write_secret(workspace.token_file, secrets.token_urlsafe(32))
        # Made from the seed so that a seed repeats its draw: a demo has nobody who would choose item ids to evade review.
        _write_secret(workspace.key_file, hashlib.sha256(f"actlabel demo {seed}".encode()).hexdigest())
    except OSError as error:
        raise UserError(f"{root}: cannot be used for the demo ({error.strerror}); choose another folder with --out") from error
    return workspace


def _write_secret(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.write_text(text, encoding="ascii")


def _clean(root: Path) -> None:
    if not root.is_dir() or (any(root.iterdir()) and not (root / _MARK).is_file()):
        raise UserError(f"{root}: is there and was not made by the demo; choose another folder with --out")
    for name in _OURS:
        path = root / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
