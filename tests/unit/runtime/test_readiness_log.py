"""The readiness of a process in its log: every change once, and no line per look."""

import pytest

from actlabel.runtime import readiness_log
from actlabel.runtime.health import Health
from actlabel.runtime.readiness_log import ReadinessLog


class Lines(list[str]):
    def warning(self, sentence: str, *, why: str) -> None:
        self.append(why)

    def info(self, sentence: str) -> None:
        self.append(sentence)


def test_it_tells_changes_and_not_running_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    lines, health, why = Lines(), Health(), {"a": None, "b": None}
    monkeypatch.setattr(readiness_log, "_log", lines)
    health.add_readiness("a", lambda: why["a"])
    health.add_readiness("b", lambda: why["b"])
    told = ReadinessLog(health)
    story = [
        # second, what a and b say, lines added
        (0, None, None, []),
        (1, "waits for 1.5 s", None, ["a: waits for 1.5 s"]),
        (2, "waits for 2.5 s", None, []),
        (3, "waits for 3.5 s", "gone", ["a: waits for 3.5 s; b: gone"]),
        (4, "waits for 4.5 s", "elsewhere", ["a: waits for 4.5 s; b: elsewhere"]),
        (65, "waits for 65.5 s", "elsewhere", ["a: waits for 65.5 s; b: elsewhere"]),
        (66, None, None, ["The process is ready."]),
        (99, None, None, []),
    ]
    for second, a, b, added in story:
        before = len(lines)
        why.update(a=a, b=b)
        told.look(float(second))
        assert lines[before:] == added, second
