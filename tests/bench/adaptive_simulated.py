"""The adaptive bound against fixed ones at a simulated endpoint: no machine disturbs it, and a change of the rule shows at once.

    .venv/bin/python tests/bench/adaptive_simulated.py

Each row: the answers as a share of those of the best fixed bound, and of the best one of each phase. Latency 0.2 s.
"""

import sys
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from actlabel.chat.adaptive import AdaptiveBound
from tests.unit.chat.simulated_endpoint import Loop, Serve, refusing, slowing

_FIXED = (8, 16, 32, 48, 64, 96, 256)
_SCHEDULES = (((64,), 60.0), ((100,), 60.0), ((8,), 60.0), ((16, 64, 32), 20.0), ((64, 16, 48, 8), 30.0))


def _phases(bound: AdaptiveBound | int, serve: Serve, *, pause_s: float, step_s: float, until_s: float) -> list[int]:
    counts = Counter(int(moment / step_s) for moment in Loop(serve, bound=bound, pause_s=pause_s).run(until_s).answers)
    return [counts[phase] for phase in range(int(until_s / step_s))]


def _row(name: str, serve: Serve, *, pause_s: float, step_s: float, until_s: float) -> None:
    def run(bound: AdaptiveBound | int) -> list[int]:
        return _phases(bound, serve, pause_s=pause_s, step_s=step_s, until_s=until_s)

    fixed = {bound: run(bound) for bound in _FIXED}
    best = max(fixed, key=lambda bound: sum(fixed[bound]))
    oracle = sum(max(phase) for phase in zip(*fixed.values(), strict=True))
    ours = sum(run(AdaptiveBound(ceiling=256, now_s=0.0)))
    print(f"{name:58} {ours / sum(fixed[best]):.2f} of fixed {best:3}, {ours / oracle:.2f} of the best of each phase", flush=True)


def main() -> None:
    """Go through schedules, ways to refuse and spreads of latency."""
    for sigma in (0.0, 0.3, 0.8):
        for limits, step_s in _SCHEDULES:
            name = f"sigma {sigma}, limit {', '.join(map(str, limits))} for {step_s:g} s"
            until_s = step_s * len(limits) * 2
            for pause_s in (0.2, 1.0, 0.0):
                serve = refusing(*limits, step_s=step_s, sigma=sigma)
                _row(f"{name}, Retry-After {pause_s:g}", serve, pause_s=pause_s, step_s=step_s, until_s=until_s)
            _row(f"{name}, slows", slowing(*limits, step_s=step_s, sigma=sigma), pause_s=0.0, step_s=step_s, until_s=until_s)


if __name__ == "__main__":
    main()
