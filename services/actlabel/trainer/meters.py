"""What a training run shows while it runs and when it has ended. The process that waits for the job serves it; the workers write a file."""

from actlabel.runtime import metrics
from actlabel.runtime.campaigns import Campaign
from actlabel.trainer.job import TrainingProgress, TrainingResults


def show_campaign(campaign: Campaign) -> None:
    """Name the campaign, for dashboards that find no review gateway."""
    metrics.CAMPAIGN.labels(campaign.uid, campaign.name).set(1)


def show_progress(uid: str, progress: TrainingProgress) -> None:
    """Show where the run stands; phases before the first step show nothing."""
    if progress.phase != "training":
        return
    metrics.TRAIN_STEPS.labels(uid, "done").set(progress.done)
    metrics.TRAIN_STEPS.labels(uid, "total").set(progress.total)
    metrics.TRAIN_RISK.labels(uid, progress.model).set(progress.risk)
    metrics.TRAIN_WEIGHT.labels(uid, progress.model).set(progress.max_weight)
    metrics.TRAIN_ESS.labels(uid, progress.model).set(progress.ess_ratio)


def show_results(uid: str, results: TrainingResults) -> None:
    """Show what the models came to; the steps are all done."""
    for model in results.models:
        name = model["name"]
        metrics.TRAIN_RISK.labels(uid, name).set(model["mean_batch_risk"])
        metrics.TRAIN_WEIGHT.labels(uid, name).set(model["max_weight"])
        for bound, field in (("value", "test_accuracy"), ("low", "low"), ("high", "high")):
            if model[field] is not None:
                metrics.TRAIN_ACCURACY.labels(uid, name, bound).set(model[field])
    steps = sum(model["steps"] for model in results.models)
    metrics.TRAIN_STEPS.labels(uid, "done").set(steps)
    metrics.TRAIN_STEPS.labels(uid, "total").set(steps)
