"""A stored decision in words."""

from collections.abc import Mapping


def explain(decision: Mapping[str, object], *, number: int) -> str:
    """Say a stored decision in words; ``decision``: a row of the statement ``explain``; ``number``: the item's permanent random number."""
    where = f"block {decision['block']} of draw {decision['draw']}" if decision["block"] else f"draw {decision['draw']}"
    band = f"{_probability(decision['lowest'])} to {_probability(decision['highest'])}"
    return (
        f"Rule {decision['rule']}, {where}: the error probability {_probability(decision['epsilon_q16'])} "
        f"falls into cell {decision['cell']} ({band}), of which "
        f"{decision['cell_selected']} of {decision['cell_size']} items are reviewed. {_why(decision, number)}"
    )


def _why(decision: Mapping[str, object], number: int) -> str:
    if decision["cell_selected"] == decision["cell_size"]:
        return "All of the cell are reviewed, so this item is."
    if decision["cut_off_number"] is None:
        return "None of the cell is reviewed, so this item is not."
    verdict = "not above it: reviewed" if decision["selected"] else "above it: not reviewed"
    return f"Its random number {number:016x} against the cell's cut-off {decision['cut_off_number']} is {verdict}."


def _probability(epsilon_q16: object) -> str:
    return f"{int(str(epsilon_q16)) / 65536:.4f}"
