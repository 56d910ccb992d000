"""What the helpers that start real services share: one-line failures, free ports, children that never outlive the tests."""

import ctypes
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

_PR_SET_PDEATHSIG = 1


class CannotStartError(Exception):
    """A real service cannot start here; the message is one line that says what to install or where to look."""


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def listens(port: int) -> bool:
    """Say whether somebody accepts connections on a port of 127.0.0.1."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def start(
    command: Sequence[str], *, log: Path, environment: Mapping[str, str] | None = None, user: str | None = None, talks: bool = False
) -> "subprocess.Popen[bytes]":
    """Start a process whose output goes to ``log`` and which the kernel kills when the tests die.

    ``user``: None for our own. ``talks``: standard input and output are pipes to us, the log gets the rest.
    """
    with log.open("ab") as output:
        return subprocess.Popen(
            command,
            stdin=subprocess.PIPE if talks else subprocess.DEVNULL,
            stdout=subprocess.PIPE if talks else output,
            stderr=output,
            env=None if environment is None else dict(environment),
            cwd="/" if user is not None else None,  # ours may be closed to that user
            user=user,
            preexec_fn=die_with_parent,  # noqa: PLW1509 - one prctl call, after the change of user and before exec
        )


def die_with_parent() -> None:
    """Let the kernel kill this process when the one that started it ends."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def wait_until(ready: Callable[[], bool], *, process: "subprocess.Popen[bytes]", timeout_s: float, name: str, log: Path) -> None:
    """Poll until ``ready``; raises ``CannotStartError`` when the process ends first or takes too long."""
    deadline = time.monotonic() + timeout_s
    while not ready():
        if process.poll() is not None:
            raise CannotStartError(f"{name} ended with code {process.returncode} while starting: {_last_line(log)}")
        if time.monotonic() > deadline:
            process.kill()
            raise CannotStartError(f"{name} did not answer within {timeout_s:.0f} s: {_last_line(log)}")
        time.sleep(0.05)


def _last_line(log: Path) -> str:
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1].strip() if lines else f"{log} is empty"
