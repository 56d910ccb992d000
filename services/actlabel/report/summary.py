"""The same numbers for machines."""

from typing import Any

from actlabel.core.intervals import Interval, NoInterval
from actlabel.report.findings import Findings, LabelAccuracy


def summary(findings: Findings, *, seconds: float | None = None) -> dict[str, Any]:
    """Return the document of ``summary.json``. ``seconds``: how long the whole run took, where the caller knows better than the records."""
    evidence, review = findings.evidence, findings.review
    return {
        "campaign": evidence.campaign,
        "campaign_uid": evidence.uid,
        "items": evidence.ledger.registered,
        "merged": evidence.ledger.merged,
        "in_review": evidence.ledger.in_review,
        "dead": evidence.ledger.dead,
        "in_flight": evidence.ledger.in_flight,
        "ledger_balanced": evidence.ledger.at_rest,
        "reviews": review.answered + review.undecidable,
        "undecidable": review.undecidable,
        "corrected": review.corrected,
        "budget": review.budget,
        "machine_accuracy": findings.machine.value,
        "merged_accuracy": findings.merged.value,
        "accuracy_known_from": _source(findings.machine),
        **_interval("machine_accuracy_interval", findings.machine.from_reviews),
        **_interval("accuracy_interval", findings.merged.from_reviews),
        "error_recall": _estimate(review.recall),
        "random_error_recall": review.random_recall,
        **_with_estimate("error_recall_difference", review.difference),
        "critic": _critic(findings),
        "cost_usd": findings.cost_usd,
        "cost_usd_by_stage": {cost.stage: cost.cost_usd for cost in evidence.costs},
        "review_seconds": evidence.review_seconds,
        "seconds": evidence.seconds if seconds is None else seconds,
        "models": {model.name: {"accuracy": model.test_accuracy, "low": model.low, "high": model.high} for model in findings.models},
    }


def _source(accuracy: LabelAccuracy) -> str | None:
    if accuracy.by_gold is not None:
        return "gold"
    return "reviews" if isinstance(accuracy.from_reviews, Interval) else None


def _interval(name: str, interval: Interval | NoInterval) -> dict[str, Any]:
    """Write limits, or null and the reason beside it."""
    if isinstance(interval, NoInterval):
        return {name: None, f"{name}_reason": interval.reason}
    return {name: {"low": interval.low, "high": interval.high}}


def _with_estimate(name: str, interval: Interval | NoInterval) -> dict[str, Any]:
    if isinstance(interval, NoInterval):
        return _interval(name, interval)
    return {name: {"estimate": interval.estimate, "low": interval.low, "high": interval.high}}


def _estimate(interval: Interval | NoInterval) -> float | None:
    return interval.estimate if isinstance(interval, Interval) else None


def _critic(findings: Findings) -> dict[str, Any] | None:
    critic = findings.critic
    if isinstance(critic, NoInterval):
        return None
    names = {"Brier score": "brier", "ECE": "ece_10_equal_bins", "AUROC": "auroc"}
    measures = {names[name]: {"estimate": value.estimate, "low": value.low, "high": value.high} for name, value in critic.measures.items()}
    return {"area": critic.curve.area, "oracle_area": critic.oracle.area, **measures}
