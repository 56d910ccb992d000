"""Holds a run to account: every oracle over everything that was seen."""

from collections.abc import Sequence
from itertools import chain
from typing import Final

from tests.acceptance.chaos import calls, oracles, standing
from tests.acceptance.chaos.asked import Request
from tests.acceptance.chaos.crew import Crew
from tests.acceptance.chaos.ledger import Ledger
from tests.acceptance.chaos.schedule import Part
from tests.acceptance.crowd import Reviewer

_AFTERMATH_S: Final = 15.0  # that an outage may hold a watermark up after it ended


def judge(
    ledger: Ledger,
    requests: Sequence[Request],
    crew: Crew,
    crowd: Sequence[Reviewer],
    samples: Sequence[standing.Sample],
    rereads: Sequence[standing.Reread],
) -> None:
    """Complete the ledger of a run that came to rest, its violations included."""
    machine, final, plan, outages = ledger.machine, ledger.final, ledger.plan, ledger.outages
    assert machine is not None, "the machine part came to rest"
    assert final is not None, "the reviews came to rest"
    said = [oracles.Said(labels=one.truth, sent=one.sent, acknowledged=one.acknowledged) for one in crowd]
    ledger.repeats = calls.repeats(requests, crew.losses, database_out=outages.database)
    ledger.rereads, ledger.ended = rereads, crew.ended
    ledger.acknowledged = sum(len(one.acknowledged) for one in said)
    ledger.violations += [
        *oracles.conservation(machine),
        *oracles.conservation(final),
        *oracles.all_merged(final),
        *oracles.reviews(final, said),
        *chain.from_iterable((*oracles.decisions(found), *oracles.budgets(found)) for found in (machine, final)),
        *calls.paid_once(ledger.repeats, handovers_wait=plan.handovers_wait, strays=plan.strays),
        *standing.within_window(rereads),
        *standing.stagnation(samples, outages.disturbed(aftermath_s=_AFTERMATH_S), patience_s=plan.patience_s),
        *standing.none_ended(crew.ended),
        *_struck(ledger),
    ]


def _struck(ledger: Ledger) -> Sequence[oracles.Violation]:
    """A run that missed a part proves less than it says."""
    missed = set(Part) - {event.part for event in ledger.events}
    return [oracles.Violation(oracle="schedule", what=f"no fault struck in the part {part}") for part in sorted(missed)]
