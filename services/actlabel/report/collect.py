"""Reads what a report needs: decisions and costs from the database, answers from the merged topic."""

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from actlabel.contracts.v1.item_pb2 import Item, Review
from actlabel.core.errors import UserError
from actlabel.dataset.merged import final_label, human_label, read_merged
from actlabel.host.host import Host
from actlabel.report.evidence import DecidedItems, DrawFacts, Evidence, Ledger, StageCost
from actlabel.runtime.campaigns import Campaign
from actlabel.runtime.database.port import Row, load_statements


@dataclass(slots=True)
class _Answers:
    """What the merged topic says about each item."""

    gold: Mapping[str, str]
    ids: set[str] = field(default_factory=set)
    reviewed: set[str] = field(default_factory=set)
    undecidable: set[str] = field(default_factory=set)
    corrected: set[str] = field(default_factory=set)
    model_wrong: set[str] = field(default_factory=set)
    final_wrong: set[str] = field(default_factory=set)
    review_seconds: float = 0.0
    last_review: float = 0.0

    def add(self, item: Item) -> None:
        """Take one merged item."""
        self.ids.add(item.id)
        human = human_label(item)
        if human is not None:
            self.reviewed.add(item.id)
            if human != item.annotation.label:
                self.corrected.add(item.id)
        if item.review.outcome == Review.OUTCOME_UNDECIDABLE:
            self.undecidable.add(item.id)
        if item.HasField("review"):
            self.review_seconds += item.review.seconds
            self.last_review = max(self.last_review, item.review.reviewed_at.ToNanoseconds() / 1e9)
        self._compare(item, self.gold.get(item.id))

    def _compare(self, item: Item, gold: str | None) -> None:
        if gold is None:
            return
        if item.annotation.label != gold:
            self.model_wrong.add(item.id)
        if final_label(item) != gold:
            self.final_wrong.add(item.id)


async def collect(host: Host, campaign: Campaign) -> Evidence:
    """Read the evidence of a campaign as it is now. Raises ``UserError`` when no draw is complete, so that nothing can be said yet."""
    sql = load_statements("actlabel.report")
    draws = await host.database.fetch(sql["draws"], campaign.uid)
    if not draws:
        raise UserError(
            f"campaign {campaign.name!r} has no complete draw yet, so nothing is decided; "
            f"`actlabel watch {campaign.name}` shows what it waits for"
        )
    registered = await host.database.fetch(sql["registered"], campaign.uid)
    answers = _Answers({row["item_id"]: row["gold"] for row in registered if row["gold"] is not None})
    merged = await read_merged(host.stream, campaign.uid)
    async for item in merged.items():
        answers.add(item)
    counting = {row["batch"]: row for row in draws}.values()  # the latest of each batch
    decisions = [(row, await host.database.fetch(sql["decisions"], campaign.uid, row["draw"])) for row in counting]
    costs = await host.database.fetch(sql["costs"], campaign.uid)
    ids = {row["item_id"] for row in registered}
    return Evidence(
        campaign=campaign.name,
        uid=campaign.uid,
        version=campaign.version,
        question=campaign.file.task.question,
        annotator=campaign.file.annotator.model,
        criticizer=campaign.file.criticizer.model,
        draws=[_draw_facts(row, rows) for row, rows in decisions],
        items=_items(decisions, answers),
        ledger=await _ledger(host, campaign.uid, ids, answers.ids),
        costs=[StageCost(stage=row["stage"], answers=row["answers"], cost_usd=float(row["cost_usd"])) for row in costs],
        review_seconds=answers.review_seconds,
        seconds=_seconds([row["created_at"] for row in registered], [answers.last_review, *(row["last_at"] for row in costs)]),
        unreadable=merged.unreadable,
    )


def _seconds(starts: Iterable[float], ends: Iterable[float]) -> float:
    first, last = min(starts, default=0.0), max(ends, default=0.0)
    return max(0.0, last - first)


def _draw_facts(draw: Row, decisions: Sequence[Row]) -> DrawFacts:
    parameters = json.loads(draw["parameters"])
    quotas = Counter(row["block"] for row in decisions if row["selected"])
    audit_share, rule = float(parameters["audit_share"]), draw["rule"]
    return DrawFacts(
        number=draw["draw"],
        mode=draw["mode"],
        rule=rule,
        beta=float(parameters["beta"]),
        audit_share=audit_share,
        budget=draw["budget"],
        selected=sum(quotas.values()),
        population=len(decisions),
        calibration_version=draw["calibration_version"],
        key_sha256=parameters["key_sha256"],
        blocks=len({row["block"] for row in decisions} - {0}),
        audit_reviews=_audit_reviews(rule, audit_share, quotas),
    )


def _audit_reviews(rule: str, audit_share: float, quotas: Mapping[int, int]) -> float:
    """Count the reviews that chance alone spread: all of them under the uniform rule; a block rounds its audit up, to 2 at least."""
    if rule == "uniform":
        return float(sum(quotas.values()))
    if audit_share == 0 or set(quotas) <= {0}:
        return audit_share * sum(quotas.values())
    return float(sum(min(quota, max(2, math.ceil(audit_share * quota - 1e-9))) for quota in quotas.values()))


def _items(decisions: Sequence[tuple[Row, Sequence[Row]]], answers: _Answers) -> DecidedItems:
    rows = [(draw["draw"], row) for draw, rows in decisions for row in rows]
    ids = [row["item_id"] for _, row in rows]
    cells = {key: number for number, key in enumerate(sorted({(draw, row["block"], row["cell"]) for draw, row in rows}))}

    def among(members: set[str]) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        return np.fromiter((item_id in members for item_id in ids), dtype=np.bool_, count=len(ids))

    def column(name: str) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        return np.fromiter((row[name] for _, row in rows), dtype=np.int64, count=len(rows))

    return DecidedItems(
        cell=np.fromiter((cells[draw, row["block"], row["cell"]] for draw, row in rows), dtype=np.int64, count=len(rows)),
        cell_size=column("cell_size"),
        cell_selected=column("cell_selected"),
        epsilon_q16=column("epsilon_q16"),
        selected=column("selected") > 0,
        merged=among(answers.ids),
        reviewed=among(answers.reviewed),
        undecidable=among(answers.undecidable),
        corrected=among(answers.corrected),
        has_gold=among(answers.ids & answers.gold.keys()),
        model_wrong=among(answers.model_wrong),
        final_wrong=among(answers.final_wrong),
    )


async def _ledger(host: Host, uid: str, registered: set[str], merged: set[str]) -> Ledger:
    sql = load_statements("actlabel.report")
    dead = {row["item_id"] for row in await host.database.fetch(sql["dead"], uid)}
    open_reviews = {row["item_id"] for row in await host.database.fetch(sql["open_reviews"], uid)}
    return Ledger(
        registered=len(registered),
        merged=len(merged & registered),
        in_review=len(open_reviews - merged - dead),
        dead=len(dead - merged),
        in_flight=len(registered - merged - open_reviews - dead),
        twice=len(dead & merged | dead & open_reviews),
        strangers=len(merged - registered),
    )
