"""Processes of actlabel that start in milliseconds: forked from one that has imported everything and done nothing else.

What runs in them is the command line itself, with its arguments and its environment; only the second of imports is saved.
"""

import json
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.services.processes import die_with_parent, start

_POLL_S = 0.02


class Nursery:
    """The process that the others are forked from; they die with it, and it dies with the tests."""

    def __init__(self, folder: Path) -> None:
        """``folder``: for its log."""
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        command = [sys.executable, "-m", "tests.services.nursery"]
        self._process = start(command, log=folder / "nursery.log", environment=environment, talks=True)
        self._turn = threading.Lock()

    def start(self, command: Sequence[str], *, log: Path, environment: Mapping[str, str]) -> "Child":
        """Start ``actlabel`` with the arguments that follow it in ``command``, as ``processes.start`` would."""
        arguments = list(command[command.index("actlabel") :])
        return Child(self, int(self.ask(do="start", arguments=arguments, log=str(log), environment=dict(environment))))

    def ask(self, **order: object) -> object:
        """Give an order and wait for the answer, which comes at once."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with self._turn:
            self._process.stdin.write(json.dumps(order).encode() + b"\n")
            self._process.stdin.flush()
            return json.loads(self._process.stdout.readline())

    def close(self) -> None:
        """End it and all that it started."""
        self._process.kill()
        self._process.communicate()


class Child:
    """What a test needs of a ``subprocess.Popen``."""

    def __init__(self, nursery: Nursery, pid: int) -> None:
        """``pid``: a child of the nursery."""
        self._nursery = nursery
        self.pid = pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Say how it ended; None while it runs."""
        if self.returncode is None:
            self.returncode = self._nursery.ask(do="poll", pid=self.pid)  # type: ignore[assignment]
        return self.returncode

    def wait(self, timeout: float = 60.0) -> int:
        """Wait for its end. Raises ``subprocess.TimeoutExpired``."""
        deadline = time.monotonic() + timeout
        while (code := self.poll()) is None:
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired("actlabel", timeout)
            time.sleep(_POLL_S)
        return code

    def send_signal(self, number: int) -> None:
        """Send a signal, if it still runs."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(9)


def _serve() -> None:
    import actlabel.cli.app  # noqa: F401, PLC0415 - what everything here is for

    for line in sys.stdin.buffer:
        order = json.loads(line)
        answer = _fork(**order) if order.pop("do") == "start" else _poll(**order)
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


def _fork(arguments: list[str], log: str, environment: dict[str, str]) -> int:
    if pid := os.fork():
        return pid
    code = 1
    try:
        die_with_parent()
        _become(arguments, log, environment)
        code = _run()
    finally:
        os._exit(code)


def _become(arguments: list[str], log: str, environment: dict[str, str]) -> None:
    nothing, output = os.open(os.devnull, os.O_RDONLY), os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    for target, source in ((0, nothing), (1, output), (2, output)):
        os.dup2(source, target)
    os.environ.clear()
    os.environ.update(environment)
    random.seed()  # the nursery's would be the same in all
    sys.argv = arguments


def _run() -> int:
    from actlabel.__main__ import main  # noqa: PLC0415 - after the environment is this process's own

    try:
        main()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # noqa: BLE001 - as the interpreter would
        import traceback  # noqa: PLC0415 - only then

        traceback.print_exc()
        return 1
    return 0


def _poll(pid: int) -> int | None:
    done, status = os.waitpid(pid, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if done else None


if __name__ == "__main__":
    _serve()
