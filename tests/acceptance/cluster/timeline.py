"""What happened when: the transcript of a run."""

import time


class Timeline:
    """Prints every line with the seconds since the beginning, and keeps it."""

    def __init__(self) -> None:
        """The clock begins now."""
        self._began_s = time.monotonic()
        self.lines: list[str] = []

    def note(self, sentence: str) -> float:
        """Tell what just happened; returns the seconds since the beginning."""
        now_s = time.monotonic() - self._began_s
        self.lines.append(f"{now_s:7.1f} s  {sentence}")
        print(self.lines[-1], flush=True)
        return now_s
