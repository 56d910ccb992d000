"""How training goes, and what came of it."""

from typing import Final

from deploy.grafana.pages.parts import CAMPAIGNS, OURS
from deploy.grafana.panels import Page, Panel, Query, Row, named, number, one

_RANGE: Final = "[$__range]"


def _last(metric: str, where: str = OURS) -> str:
    """A run ends and its process with it: show what it said last."""
    return f"last_over_time({metric}{{{where}}}{_RANGE})"


def _steps(state: str) -> str:
    return f"sum(max by (campaign) ({_last('actlabel_train_steps', f'{OURS}, state={chr(34)}{state}{chr(34)}')}))"


_RUN: Final = Row(
    title="The run",
    panels=(
        number("Steps", f"{_steps('done')} / {_steps('total')}", "Done, over all losses of the last runs.", unit="percentunit", width=4),
        number(
            "Done in",
            f'max((actlabel_train_steps{{{OURS}, state="total"}} - ignoring (state) actlabel_train_steps{{{OURS}, state="done"}}) '
            f'/ ignoring (state) (deriv(actlabel_train_steps{{{OURS}, state="done"}}[5m]) > 0))',
            "At the speed of the last five minutes. Empty: no run goes on.",
            unit="s",
            width=4,
        ),
        Panel(
            title="Batch risk",
            about="Mean of the last 50 batches. Below zero with cross-entropy: do not trust the model; bounded losses may go below.",
            queries=one(f"max by (campaign, loss) (actlabel_train_batch_risk{{{OURS}}})", "{{loss}}"),
            width=16,
        ),
    ),
)

_WEIGHTS: Final = Row(
    title="Weights",
    panels=(
        Panel(
            title="Largest weight",
            about="A reviewed item that was chosen with a small probability stands for many. Very large: raise audit_share.",
            queries=one(f"max by (campaign, loss) (actlabel_train_weight_max{{{OURS}}})", "{{loss}}"),
            width=12,
        ),
        Panel(
            title="Effective share of a batch",
            about="How many equally weighted items would tell as much, as a share of the batch. Below a tenth the gradient is noise.",
            queries=one(f"min by (campaign, loss) (actlabel_train_ess_ratio{{{OURS}}})", "{{loss}}"),
            unit="percentunit",
            most=1,
            width=12,
        ),
    ),
)

_RESULT: Final = Row(
    title="What came of it",
    panels=(
        Panel(
            title="Accuracy with its 95 % interval",
            about="On the test set, or on held-out human labels. Losses whose intervals overlap do not differ for sure.",
            queries=(
                Query(
                    expr=named(f"max by (campaign, loss, bound) ({_last('actlabel_train_accuracy_ratio')})"),
                    legend="{{name}} {{loss}} {{bound}}",
                ),
            ),
            unit="percentunit",
            kind="table",
            width=24,
        ),
    ),
)

PAGE: Final = Page(
    uid="actlabel-training",
    title="actlabel: training",
    about="Steps, risk and weights of training runs, and the accuracy of the models.",
    rows=(_RUN, _WEIGHTS, _RESULT),
    variables=(CAMPAIGNS,),
    since="now-24h",
)
