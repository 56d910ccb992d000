"""What a dashboard is made of, as little as our pages need of Grafana's JSON model (schema version 39, Grafana 10.4 and later)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

GREEN: Final = "green"
ORANGE: Final = "orange"
RED: Final = "red"
_WIDTH: Final = 24
_DATASOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}

Thresholds = Sequence[tuple[float, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """One PromQL expression."""

    expr: str
    legend: str = ""  # of Grafana's form, {{label}}


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """One picture. ``thresholds``: from which value on it has which colour; below the first it is green."""

    title: str
    about: str  # what it says, and what to do where it looks bad
    queries: tuple[Query, ...]
    unit: str = "short"
    kind: str = "timeseries"  # stat, gauge, bargauge, table
    width: int = 8
    height: int = 8
    thresholds: Thresholds = ()
    most: float | None = None  # of the axis
    stacked: bool = False
    mappings: Mapping[str, str] | None = None  # of values, to words


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Panels under a heading."""

    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Variable:
    """A choice at the top of a page."""

    name: str
    label: str
    query: str
    regex: str = ""
    many: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One dashboard."""

    uid: str
    title: str
    about: str
    rows: tuple[Row, ...]
    variables: tuple[Variable, ...] = ()
    since: str = "now-1h"


def one(expr: str, legend: str = "") -> tuple[Query, ...]:
    """A panel of a single query."""
    return (Query(expr=expr, legend=legend),)


def number(title: str, expr: str, about: str, *, unit: str = "short", thresholds: Thresholds = (), width: int = 3) -> Panel:
    """A number to be read from afar."""
    return Panel(title=title, about=about, queries=one(expr), unit=unit, kind="stat", width=width, height=4, thresholds=thresholds)


def named(expr: str) -> str:
    """Give series of campaigns the campaign's name beside its uid."""
    return f"({expr}) * on (campaign) group_left (name) max by (campaign, name) (actlabel_campaign_info)"


def document(page: Page) -> dict[str, Any]:
    """Write a page as Grafana reads it."""
    return {
        "uid": page.uid,
        "title": page.title,
        "description": page.about,
        "tags": ["actlabel"],
        "schemaVersion": 39,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": page.since, "to": "now"},
        "timezone": "",
        "links": [
            {"type": "dashboards", "tags": ["actlabel"], "title": "actlabel", "asDropdown": True, "includeVars": True, "keepTime": True}
        ],
        "templating": {"list": [_datasource(), *(_variable(variable) for variable in page.variables)]},
        "panels": list(_placed(page.rows)),
    }


def _datasource() -> dict[str, Any]:
    return {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus", "current": {}, "hide": 0}


def _variable(variable: Variable) -> dict[str, Any]:
    return {
        "name": variable.name,
        "label": variable.label,
        "type": "query",
        "datasource": _DATASOURCE,
        "query": {"query": variable.query, "refId": variable.name},
        "regex": variable.regex,
        "refresh": 2,
        "sort": 1,
        "multi": variable.many,
        "includeAll": variable.many,
        **({"allValue": ".*", "current": {"text": "All", "value": "$__all"}} if variable.many else {}),
    }


def _placed(rows: Sequence[Row]) -> Sequence[dict[str, Any]]:
    """Put panels side by side, left to right, a new line where one does not fit."""
    placed: list[dict[str, Any]] = []
    top = 0
    for row in rows:
        heading = {"type": "row", "title": row.title, "collapsed": False, "panels": []}
        placed.append({"id": len(placed) + 1, "gridPos": {"x": 0, "y": top, "w": _WIDTH, "h": 1}, **heading})
        top, left, tallest = top + 1, 0, 0
        for panel in row.panels:
            if left + panel.width > _WIDTH:
                top, left, tallest = top + tallest, 0, 0
            place = {"x": left, "y": top, "w": panel.width, "h": panel.height}
            placed.append({"id": len(placed) + 1, "gridPos": place, **_panel(panel)})
            left, tallest = left + panel.width, max(tallest, panel.height)
        top += tallest
    return placed


def _panel(panel: Panel) -> dict[str, Any]:
    return {
        "type": panel.kind,
        "title": panel.title,
        "description": panel.about,
        "datasource": _DATASOURCE,
        "targets": [_target(query, chr(ord("A") + index), panel.kind) for index, query in enumerate(panel.queries)],
        "fieldConfig": {"defaults": _field(panel), "overrides": []},
        "options": _OPTIONS[panel.kind],
    }


def _target(query: Query, name: str, kind: str) -> dict[str, Any]:
    at_once = kind in ("table", "bargauge")
    return {
        "refId": name,
        "datasource": _DATASOURCE,
        "expr": query.expr,
        "legendFormat": query.legend or "__auto",
        "instant": at_once,
        "range": not at_once,
        **({"format": "table"} if kind == "table" else {}),
    }


def _field(panel: Panel) -> dict[str, Any]:
    steps = [{"color": GREEN, "value": None}, *({"color": color, "value": value} for value, color in panel.thresholds)]
    field: dict[str, Any] = {"unit": panel.unit, "thresholds": {"mode": "absolute", "steps": steps}, "min": 0}
    if panel.most is not None:
        field["max"] = panel.most
    if panel.mappings is not None:
        field["mappings"] = [{"type": "value", "options": {value: {"text": text} for value, text in panel.mappings.items()}}]
    if panel.kind == "timeseries":
        lines = {"mode": "line"} if panel.thresholds else {"mode": "off"}
        stacking = {"mode": "normal" if panel.stacked else "none"}
        field["custom"] = {"fillOpacity": 20 if panel.stacked else 5, "lineWidth": 2, "stacking": stacking, "thresholdsStyle": lines}
    elif panel.thresholds:
        field["color"] = {"mode": "thresholds"}
    return field


_LAST: Final = {"calcs": ["lastNotNull"], "fields": "", "values": False}
_OPTIONS: Final[Mapping[str, Mapping[str, Any]]] = {
    "timeseries": {
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
        "tooltip": {"mode": "multi", "sort": "desc"},
    },
    "stat": {"colorMode": "background", "graphMode": "area", "justifyMode": "auto", "reduceOptions": _LAST, "textMode": "auto"},
    "gauge": {"reduceOptions": _LAST, "showThresholdLabels": False, "showThresholdMarkers": True},
    "bargauge": {"displayMode": "gradient", "orientation": "horizontal", "reduceOptions": _LAST, "showUnfilled": True},
    "table": {"showHeader": True, "footer": {"show": False, "reducer": ["sum"], "fields": ""}},
}
