"""The page: findings and plots in one self-contained HTML file without scripts."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Final

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from actlabel.core.intervals import Interval, NoInterval
from actlabel.report.evidence import Ledger
from actlabel.report.figures import Plots, draw
from actlabel.report.findings import Findings


def render_page(findings: Findings) -> str:
    """Return the page. Raises ``UserError`` when matplotlib is not installed."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(_FILTERS)
    environment.tests["interval"] = lambda value: isinstance(value, Interval)
    template = environment.from_string(files(__package__).joinpath("page.html.j2").read_text(encoding="utf-8"))
    return template.render(
        f=findings,
        e=findings.evidence,
        plots=_markup(draw(findings)),
        verdict=verdict(findings),
        places=places(findings.evidence.ledger),
        critic_reason=findings.critic.reason if isinstance(findings.critic, NoInterval) else None,
    )


def _markup(plots: Plots) -> Mapping[str, Markup | None]:
    """Mark the plots as HTML; they are the only part of the page that is, and matplotlib escaped the text in them."""
    named = {"accuracy": plots.accuracy, "quality": plots.quality, "reliability": plots.reliability, "models": plots.models}
    return {name: Markup(svg) if svg is not None else None for name, svg in named.items()}  # noqa: S704 - see above


def verdict(findings: Findings) -> str:
    """Say in one sentence what review did."""
    review, items = findings.review, len(findings.evidence.items)
    done = f"People reviewed {_count(review.answered)} of {_count(items)} items and corrected {_count(review.corrected)} labels."
    before, after = findings.machine.value, findings.merged.value
    if before is None or after is None:
        return done
    estimated = "" if findings.machine.by_gold is not None else "an estimated "
    return f"{done} That took the labels from {estimated}{_percent(before)} right to {_percent(after)}."


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """One part of the ledger."""

    name: str
    items: int
    share: float  # of the registered items
    colour: str  # a name of the page's colours


def places(ledger: Ledger) -> list[Place]:
    """Say where the registered items are."""
    counts = [
        ("merged", ledger.merged, "human"),
        ("in review", ledger.in_review, "critic"),
        ("dead", ledger.dead, "oracle"),
        ("in flight", ledger.in_flight, "machine"),
    ]
    total = max(ledger.registered, 1)
    return [Place(name=name, items=items, share=items / total, colour=colour) for name, items, colour in counts]


def _percent(value: float | None, digits: int = 1) -> str:
    return "–" if value is None else f"{100 * value:.{digits}f}\u00a0%"


def _limits(interval: Interval) -> str:
    return f"{100 * interval.low:.1f} to {100 * interval.high:.1f}\u00a0%"


def _count(value: float) -> str:
    """Group digits with a thin space that does not break."""
    return f"{value:,.0f}".replace(",", "\u202f")


def _money(value: float) -> str:
    if value == 0:
        return "$0"
    digits = 2 if value >= 1 else min(8, 2 - math.floor(math.log10(value)))
    return f"${value:,.{digits}f}"


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    if seconds < 3600:
        return f"{seconds / 60:.1f} min"
    return f"{seconds / 3600:.1f} h"


def _number(value: float | None, digits: int = 3) -> str:
    if value is None:
        return "–"
    if not math.isfinite(value):
        return "diverged"
    text = f"{value:.{digits}f}" if abs(value) < 100 else _count(value)
    return text.replace("-", "−")


_FILTERS: Final[Mapping[str, Callable[..., Any]]] = {
    "percent": _percent,
    "limits": _limits,
    "count": _count,
    "money": _money,
    "duration": _duration,
    "number": _number,
}
