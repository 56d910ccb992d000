"""Reads what a report needs: decisions and costs from the database, answers from the merged topic.

Rows are read a page at a time and kept as columns; what that costs in memory is in tests/bench/README.md.
"""

import json
import math
from array import array
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from actlabel.core.errors import UserError
from actlabel.dataset.merged import read_merged
from actlabel.host.host import Host
from actlabel.report.columns import UNKNOWN, Answered, Decided, Keys, Labels, Lookup, Registered, as_keys, key, keys, taken
from actlabel.report.evidence import DecidedItems, DrawFacts, Evidence, Ledger, StageCost
from actlabel.runtime.campaigns import Campaign
from actlabel.runtime.database.port import Row, load_statements

_PAGE: Final = 10_000
_REVIEWED: Final = 1
_UNDECIDABLE: Final = 2
_Scalar = TypeVar("_Scalar", bound=np.generic)


class _Places(NamedTuple):
    """Where a key stands among what was registered, and among what is merged."""

    registered: Lookup
    merged: Lookup


async def collect(host: Host, campaign: Campaign) -> Evidence:
    """Read the evidence of a campaign as it is now. Raises ``UserError`` when no draw is complete, so that nothing can be said yet."""
    sql = load_statements("actlabel.report")
    draws = await host.database.fetch(sql["draws"], campaign.uid)
    if not draws:
        raise UserError(
            f"campaign {campaign.name!r} has no complete draw yet, so nothing is decided; "
            f"`actlabel watch {campaign.name}` shows what it waits for"
        )
    labels = Labels()
    registered = await _registered(host, campaign.uid, labels)
    merged = await read_merged(host.stream, campaign.uid)
    answers = Answered(labels)
    async for item in merged.items():
        answers.add(item)
    counting = {row["batch"]: row for row in draws}.values()  # the latest of each batch
    decisions = [(row, await _decided(host, campaign.uid, row["draw"])) for row in counting]
    costs = await host.database.fetch(sql["costs"], campaign.uid)
    starts = [] if registered.first_at is None else [registered.first_at]
    places = _Places(registered=Lookup(registered.keys), merged=Lookup(as_keys(answers.keys)))
    return Evidence(
        campaign=campaign.name,
        uid=campaign.uid,
        version=campaign.version,
        question=campaign.file.task.question,
        annotator=campaign.file.annotator.model,
        criticizer=campaign.file.criticizer.model,
        draws=[_draw_facts(row, decided) for row, decided in decisions],
        items=_items([decided for _, decided in decisions], registered, answers, places),
        ledger=await _ledger(host, campaign.uid, places),
        costs=[StageCost(stage=row["stage"], answers=row["answers"], cost_usd=float(row["cost_usd"])) for row in costs],
        review_seconds=answers.review_seconds,
        seconds=_seconds(starts, [answers.last_review, *(row["last_at"] for row in costs)]),
        unreadable=merged.unreadable,
    )


async def _pages(host: Host, statement: str, uid: str, *more: Any) -> AsyncIterator[Sequence[Row]]:
    """Yield the rows of a statement that takes the last id seen as its second value, a page at a time."""
    sql = load_statements("actlabel.report")[statement]
    last = ""
    while rows := await host.database.fetch(sql, uid, last, _PAGE, *more):
        yield rows
        last = rows[-1]["item_id"]


async def _registered(host: Host, uid: str, labels: Labels) -> Registered:
    packed, gold, first_at = bytearray(), array("i"), math.inf
    async for rows in _pages(host, "registered", uid):
        for row in rows:
            packed += key(row["item_id"])
            gold.append(labels.code(row["gold"]))
        first_at = min(first_at, *(row["created_at"] for row in rows))
    codes = np.frombuffer(gold, dtype=np.int32) if gold else np.empty(0, dtype=np.int32)
    return Registered(keys=as_keys(packed), gold=codes, first_at=first_at if gold else None)


async def _decided(host: Host, uid: str, draw: int) -> Decided:
    parts: list[NDArray[np.int64]] = []
    packed = bytearray()
    columns = ("block", "cell", "cell_selected", "cell_size", "epsilon_q16", "selected")
    async for rows in _pages(host, "decisions", uid, draw):
        packed += keys(row["item_id"] for row in rows).tobytes()
        parts.append(np.array([[int(row[name]) for name in columns] for row in rows], dtype=np.int64))
    return Decided(keys=as_keys(packed), values=np.concatenate(parts) if parts else np.empty((0, len(columns)), dtype=np.int64))


def _seconds(starts: Iterable[float], ends: Iterable[float]) -> float:
    first, last = min(starts, default=0.0), max(ends, default=0.0)
    return max(0.0, last - first)


def _draw_facts(draw: Row, decided: Decided) -> DrawFacts:
    parameters = json.loads(draw["parameters"])
    blocks, counts = np.unique(decided.block[decided.selected], return_counts=True)
    quotas = dict(zip(blocks.tolist(), counts.tolist(), strict=True))
    audit_share, rule = float(parameters["audit_share"]), draw["rule"]
    return DrawFacts(
        number=draw["draw"],
        mode=draw["mode"],
        rule=rule,
        beta=float(parameters["beta"]),
        audit_share=audit_share,
        budget=draw["budget"],
        selected=sum(quotas.values()),
        population=len(decided.keys),
        calibration_version=draw["calibration_version"],
        key_sha256=parameters["key_sha256"],
        blocks=len(set(np.unique(decided.block).tolist()) - {0}),
        audit_reviews=_audit_reviews(rule, audit_share, quotas),
    )


def _audit_reviews(rule: str, audit_share: float, quotas: Mapping[int, int]) -> float:
    """Count the reviews that chance alone spread: all of them under the uniform rule; a block rounds its audit up, to 2 at least."""
    if rule == "uniform":
        return float(sum(quotas.values()))
    if audit_share == 0 or set(quotas) <= {0}:
        return audit_share * sum(quotas.values())
    return float(sum(min(quota, max(2, math.ceil(audit_share * quota - 1e-9))) for quota in quotas.values()))


def _items(decisions: Sequence[Decided], registered: Registered, answers: Answered, places: _Places) -> DecidedItems:
    wanted = _joined([decided.keys for decided in decisions])
    values = _joined([decided.values for decided in decisions])
    draw = np.repeat(np.arange(len(decisions)), [len(decided.keys) for decided in decisions])
    place = places.merged.places(wanted)
    gold = taken(registered.gold, places.registered.places(wanted), missing=UNKNOWN)
    model, final = (taken(_codes(column), place, missing=UNKNOWN) for column in (answers.model, answers.final))
    state = taken(np.frombuffer(answers.state, dtype=np.int8) if answers.state else np.empty(0, dtype=np.int8), place, missing=0)
    merged = place >= 0
    has_gold = merged & (gold != UNKNOWN)
    return DecidedItems(
        cell=_cells(draw, values),
        cell_selected=values[:, 2].copy(),
        cell_size=values[:, 3].copy(),
        epsilon_q16=values[:, 4].copy(),
        selected=values[:, 5] > 0,
        merged=merged,
        reviewed=state == _REVIEWED,
        undecidable=state == _UNDECIDABLE,
        corrected=(state == _REVIEWED) & (model != final),
        has_gold=has_gold,
        model_wrong=has_gold & (model != gold),
        final_wrong=has_gold & (final != gold),
    )


def _joined(parts: Sequence[NDArray[_Scalar]]) -> NDArray[_Scalar]:
    """Put arrays one after the other; a single one, the usual case, is not copied."""
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _codes(column: "array[int]") -> NDArray[np.int32]:
    return np.frombuffer(column, dtype=np.int32) if column else np.empty(0, dtype=np.int32)


def _cells(draw: NDArray[np.int64], values: NDArray[np.int64]) -> NDArray[np.int64]:
    """Number the cells (n,) over all draws and blocks, in the order of (draw, block, cell)."""
    _, block = np.unique(values[:, 0], return_inverse=True)
    together = (draw * (block.max(initial=0) + 1) + block) * (values[:, 1].max(initial=0) + 1) + values[:, 1]
    return np.unique(together, return_inverse=True)[1].astype(np.int64)


async def _ledger(host: Host, uid: str, places: _Places) -> Ledger:
    dead, waiting = [await _keys_of(host, statement, uid) for statement in ("dead", "open_reviews")]
    dead_merged, waiting_merged = (places.merged.places(some) >= 0 for some in (dead, waiting))
    merged = places.registered.places(places.merged.keys)
    in_flight = np.ones(len(places.registered.keys), dtype=np.bool_)
    for found in (merged, places.registered.places(dead), places.registered.places(waiting)):
        in_flight[found[found >= 0]] = False
    return Ledger(
        registered=len(in_flight),
        merged=int((merged >= 0).sum()),
        in_review=int((~waiting_merged & ~np.isin(waiting, dead)).sum()),
        dead=int((~dead_merged).sum()),
        in_flight=int(in_flight.sum()),
        twice=int((dead_merged | np.isin(dead, waiting)).sum()),
        strangers=int((merged < 0).sum()),
    )


async def _keys_of(host: Host, statement: str, uid: str) -> Keys:
    rows = await host.database.fetch(load_statements("actlabel.report")[statement], uid)
    return keys(row["item_id"] for row in rows)
