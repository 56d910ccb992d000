"""What the demo adds to the report: which images served for what, so that anyone can check that none served twice."""

from html import escape
from typing import Final

from actlabel.demo.digits import Splits

_USES: Final = {
    "annotator": "fitted the annotator",
    "critic": "fitted the critic",
    "test": "tested the trained models",
    "campaign": "were labelled in the campaign",
}
_END: Final = "</main>"


def with_splits(page: str, splits: Splits) -> str:
    """Put the section at the end of a report."""
    before, end, after = page.rpartition(_END)
    assert end, "a report has a main part"
    return before + _section(splits) + end + after


def _section(splits: Splits) -> str:
    rows = "".join(
        f"<tr><td class=n>{fact['items']}</td><td>{escape(_USES[name])}</td><td><code>{fact['sha256']}</code></td></tr>"
        for name, fact in splits.facts().items()
    )
    return (
        "<section><h2>Which images served for what</h2>"
        "<p>The digits of scikit-learn in four parts; no image is in two of them. The hash is the SHA-256 of a part's indices, "
        "ascending, as little-endian 64-bit numbers.</p>"
        f"<div class=scroll><table><tr><th class=n>images</th><th>use</th><th>hash</th></tr>{rows}</table></div></section>\n"
    )
