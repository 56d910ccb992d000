"""Build and start an image's files without Docker: ``python deploy/try_image.py service /var/tmp/try`` (by hand; Linux, as root).

Carries out what the Dockerfile says for one target, word for word and at the same paths, in an empty folder: its COPY, ENV and RUN lines in
a mount namespace of its own where /opt is that folder, then its entry point as its user, on a read-only root in an empty environment. What
the base images hold is this machine's: /usr/bin/python3, which must be 3.11 (Debian 12), and a virtual environment of it to build in.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

_ROOT: Final = Path(__file__).resolve().parents[1]
_STEP: Final = re.compile(r"^(FROM|RUN|COPY|ENV|WORKDIR|USER|ENTRYPOINT|CMD|ARG|HEALTHCHECK)\s+(.*)$", re.DOTALL)
_TARGETS: Final = {"service": ("build", "service-packages", "service"), "training": ("build", "training-packages", "training")}
# The build sees nothing of this machine but what is read-only, and /opt, which is the folder.
_BUILD: Final = 'mount --bind "$FOLDER/opt" /opt && cd "$DIR" && exec bash -euo pipefail -c "$RUN"'
_START: Final = (
    'mount --bind "$FOLDER/opt" /opt && mount --bind -o ro / /mnt && mount --rbind -o ro "$FOLDER/opt" /mnt/opt'
    " && mount -t tmpfs tmpfs /mnt/tmp && mount -t proc proc /mnt/proc && mount --bind /dev /mnt/dev && mount -t tmpfs tmpfs /mnt/dev/shm"
    " && exec chroot --userspec=10001:10001 --groups= /mnt"
)


def instructions() -> Iterator[tuple[str, str, str]]:
    """Read the Dockerfile as (stage, instruction, text); continued lines are joined, comments left out."""
    text = (_ROOT / "deploy/Dockerfile").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    stage = ""
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        if (step := _STEP.match(line.strip())) is None:
            continue
        if step[1] == "FROM":
            stage = step[2].rpartition(" AS ")[2]
        yield stage, step[1], " ".join(step[2].split()) if step[1] != "RUN" else step[2]


class Image:
    """The folder, and what the lines so far have set."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.stages: dict[str, dict[str, str]] = {}
        self.directory = "/"

    def carry_out(self, stage: str, what: str, text: str) -> None:
        """Do one line."""
        environment = self.stages.setdefault(stage, {})
        if what == "WORKDIR":
            self.directory = text
            if text.startswith("/opt"):
                (self.folder / text.lstrip("/")).mkdir(parents=True, exist_ok=True)
        elif what == "ENV":
            environment.update(pair.split("=", 1) for pair in shlex.split(text))
        elif what == "COPY" and not text.startswith("--from"):
            self._copy(text.split())
        elif what == "RUN" and not text.startswith("apt-get"):
            self._run(text)

    def _copy(self, words: list[str]) -> None:
        target = self.folder / self.directory.lstrip("/") / words[-1]
        target.mkdir(parents=True, exist_ok=True)
        for word in words[:-1]:
            source = _ROOT / word
            if source.is_dir():
                shutil.copytree(source, target, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
            else:
                shutil.copy(source, target)

    def _run(self, text: str) -> None:
        print(f"RUN {text}", flush=True)
        path = f"{self.folder}/python/bin:/usr/bin:/bin:/usr/sbin"
        environment = {
            **self.stages["build"],
            "PATH": path,
            "HOME": str(self.folder),
            "FOLDER": str(self.folder),
            "DIR": self.directory,
            "RUN": text,
        }
        passed = {name: value for name, value in os.environ.items() if name.lower().startswith(("pip_", "http", "no_proxy", "ssl_"))}
        subprocess.run(["unshare", "-m", "bash", "-c", _BUILD], env=passed | environment, check=True)

    def start(self, stage: str, arguments: list[str], more: Mapping[str, str]) -> "subprocess.Popen[bytes]":
        """Start the entry point as the image's user, on a read-only root."""
        entry = json.loads(next(text for at, what, text in instructions() if at == stage and what == "ENTRYPOINT"))
        environment = {**self.stages[stage], **more}
        inside = ["env", "-i", "-C", self.directory, *(f"{name}={value}" for name, value in environment.items()), *entry, *arguments]
        command = f"{_START} {shlex.join(inside)}"
        return subprocess.Popen(["unshare", "-m", "bash", "-c", command], env={"FOLDER": str(self.folder), "PATH": os.environ["PATH"]})


def build(target: str, folder: Path) -> Image:
    """Carry out every line of a target and of the stages that it stands on."""
    subprocess.run(["/usr/bin/python3", "-m", "venv", str(folder / "python")], check=True)
    (folder / "opt").mkdir()
    image = Image(folder)
    for stage, what, text in instructions():
        if stage in _TARGETS[target]:
            image.carry_out(stage, what, text)
    shutil.rmtree(folder / "opt/build")
    return image


def try_service(image: Image) -> None:
    """Start a stage on addresses where nobody listens: it must answer for its health and say why it is not ready, and leave on SIGTERM."""
    health = json.loads(
        next(text for stage, what, text in instructions() if (stage, what) == ("service", "HEALTHCHECK")).partition("CMD ")[2]
    )
    more = {"ACTLABEL_STREAM": "sqlite:////tmp/stream.db", "ACTLABEL_DATABASE": "sqlite:////tmp/a.db", "ACTLABEL_STORAGE": "s"}
    process = image.start("service", ["serve", "annotator"], more)
    deadline_s = time.monotonic() + 60
    while subprocess.run(health, check=False, stderr=subprocess.DEVNULL).returncode:
        assert process.poll() is None, "the stage ended"
        assert time.monotonic() < deadline_s, "the health check never passed"
        time.sleep(0.5)
    print("the health check of the image passes", flush=True)
    process.terminate()
    print("after SIGTERM it ends with", process.wait(timeout=60))


def main(target: str, folder: Path) -> None:
    """Build, measure, start."""
    if folder.exists() and any(folder.iterdir()):
        sys.exit(f"{folder} is not empty")
    folder.mkdir(parents=True, exist_ok=True)
    image = build(target, folder)
    size = sum(file.lstat().st_size for file in (folder / "opt").rglob("*") if not file.is_dir())
    print(f"files of target {target}, without its base image: {size / 1e6:.0f} MB")
    if target == "service":
        try_service(image)
    else:
        print("the demo ends with", image.start("training", ["demo", "--items", "300", "--out", "demo"], {}).wait())
    print("--help ends with", image.start(target, ["--help"], {}).wait())


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]).resolve())
