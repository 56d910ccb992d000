"""The plots of the report, drawn small enough to be read on a phone."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from actlabel.core.intervals import Interval
from actlabel.report.critic import Critic
from actlabel.report.findings import Findings, LabelAccuracy
from actlabel.report.inline_svg import COLOURS, inline_svg, plot_style
from actlabel.report.models_file import TrainedModel

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_WIDTH_IN = 4.4


@dataclass(frozen=True, slots=True, kw_only=True)
class Plots:
    """SVG elements; None where there is nothing to draw."""

    accuracy: str | None
    quality: str | None
    reliability: str | None
    models: str | None


def draw(findings: Findings) -> Plots:
    """Draw all plots. Raises ``UserError`` when matplotlib is not installed."""
    with plot_style():
        critic = findings.critic if isinstance(findings.critic, Critic) else None
        tested = [model for model in findings.models if model.test_accuracy is not None]
        return Plots(
            accuracy=_accuracy(findings) if findings.machine.value is not None else None,
            quality=_quality(critic, findings) if critic and critic.whole else None,
            reliability=_reliability(critic) if critic else None,
            models=_models(tested) if tested else None,
        )


def _plot(name: str, title: str, height_in: float, paint: Callable[["Axes"], None]) -> str:
    from matplotlib.figure import Figure  # noqa: PLC0415 - an extra

    figure = Figure(figsize=(_WIDTH_IN, height_in), layout="constrained")
    axes = figure.add_subplot()
    paint(axes)
    return inline_svg(figure, name=name, title=title)


def _percent(axes: "Axes", *which: str) -> None:
    from matplotlib.ticker import MaxNLocator, PercentFormatter  # noqa: PLC0415 - an extra

    for axis in which:
        ticks = getattr(axes, f"{axis}axis")
        ticks.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
        ticks.set_major_formatter(PercentFormatter(xmax=1, decimals=None, symbol=" %"))


def _accuracy(findings: Findings) -> str:
    rows = [("before review", findings.machine, "machine"), ("after review", findings.merged, "human")]

    def paint(axes: "Axes") -> None:
        for height, (label, accuracy, colour) in zip((1, 0), rows, strict=True):
            _accuracy_row(axes, height, accuracy, COLOURS[colour])
            axes.text(0, height + 0.33, label, transform=axes.get_yaxis_transform(), color=COLOURS["ink"], va="center")
        axes.set_yticks([])
        axes.set_ylim(-0.4, 1.6)
        axes.spines["left"].set_visible(False)
        _around(axes, [value for _, accuracy, _ in rows for value in _values(accuracy)])
        _percent(axes, "x")
        axes.set_xlabel("labels that are right")

    return _plot("accuracy", "Label accuracy before and after review", 1.7, paint)


def _accuracy_row(axes: "Axes", height: float, accuracy: LabelAccuracy, colour: str) -> None:
    interval = accuracy.from_reviews
    if isinstance(interval, Interval):
        axes.plot([interval.low, interval.high], [height, height], color=colour, linewidth=6, alpha=0.35)
        axes.plot(interval.estimate, height, "o", color=colour, markersize=6)
    if accuracy.by_gold is not None:
        axes.plot(accuracy.by_gold, height, "D", color=COLOURS["gold"], markersize=5, markerfacecolor="none", markeredgewidth=1.6)


def _values(accuracy: LabelAccuracy) -> list[float]:
    interval = accuracy.from_reviews
    limits = [interval.low, interval.high] if isinstance(interval, Interval) else []
    return limits + ([accuracy.by_gold] if accuracy.by_gold is not None else [])


def _around(axes: "Axes", values: Sequence[float]) -> None:
    """Show the values with some room, within 0 to 1."""
    margin = max(0.02, 0.12 * (max(values) - min(values)))
    axes.set_xlim(max(0.0, min(values) - margin), min(1.0 + 0.25 * margin, max(values) + margin))


def _quality(critic: Critic, findings: Findings) -> str:
    review = findings.review
    spent = review.selected / len(findings.evidence.items)

    def paint(axes: "Axes") -> None:
        axes.plot(critic.oracle.budget, critic.oracle.recall, "--", color=COLOURS["oracle"], label="oracle", linewidth=1.4)
        axes.plot(critic.curve.budget, critic.curve.recall, color=COLOURS["critic"], label="this critic")
        axes.plot([0, 1], [0, 1], ":", color=COLOURS["random"], label="random review", linewidth=1.6)
        axes.axvline(spent, color=COLOURS["muted"], linewidth=0.8)
        if isinstance(review.recall, Interval):
            axes.plot(spent, review.recall.estimate, "o", color=COLOURS["human"], markersize=7, label="this campaign", clip_on=False)
        _percent(axes, "x", "y")
        axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="items reviewed", ylabel="wrong labels found")
        axes.legend(loc="lower right")

    return _plot("quality", "Share of wrong labels found against share of items reviewed", 3.1, paint)


def _reliability(critic: Critic) -> str:
    def paint(axes: "Axes") -> None:
        axes.plot([0, 1], [0, 1], ":", color=COLOURS["random"], linewidth=1.6, label="said = true")
        said = [part.said for part in critic.bins]
        axes.bar(said, [part.share for part in critic.bins], width=0.05, color=COLOURS["critic"], alpha=0.2, label="share of items")
        true = [part.true for part in critic.bins]
        reach = [[t.estimate - t.low for t in true], [t.high - t.estimate for t in true]]
        axes.errorbar(said, [t.estimate for t in true], yerr=reach, fmt="o", color=COLOURS["critic"], markersize=5, elinewidth=1.4)
        _percent(axes, "x", "y")
        axes.set(xlim=(-0.03, 1.03), ylim=(0, 1.02), xlabel="error probability that the critic gave", ylabel="labels that were wrong")
        axes.legend(loc="upper left")

    return _plot("reliability", "Critic reliability: error probability said against share of wrong labels", 3.1, paint)


def _models(models: Sequence[TrainedModel]) -> str:
    ranked = sorted(models, key=lambda model: model.test_accuracy or 0.0)

    def paint(axes: "Axes") -> None:
        for height, model in enumerate(ranked):
            colour = COLOURS["human"] if model.name == "act" else COLOURS["machine"]
            if model.low is not None and model.high is not None:
                axes.plot([model.low, model.high], [height, height], color=colour, linewidth=5, alpha=0.35)
            axes.plot(model.test_accuracy or 0.0, height, "o", color=colour, markersize=5)
        axes.set_yticks(range(len(ranked)), [_shortened(model.name) for model in ranked])
        axes.tick_params(axis="y", labelcolor=COLOURS["ink"])
        axes.set_ylim(-0.6, len(ranked) - 0.4)
        axes.spines["left"].set_visible(False)
        _around(axes, [limit for model in ranked for limit in _limits(model)])
        _percent(axes, "x")
        axes.set_xlabel("test accuracy")

    return _plot("models", "Test accuracy of the trained models with 95 % intervals", 0.75 + 0.27 * len(ranked), paint)


def _limits(model: TrainedModel) -> list[float]:
    return [value for value in (model.low, model.test_accuracy, model.high) if value is not None]


def _shortened(name: str, most: int = 22) -> str:
    return name if len(name) <= most else f"{name[: most - 1]}…"
