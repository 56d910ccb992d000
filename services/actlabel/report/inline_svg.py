"""Plots as SVG that belongs to its page: colours are the page's, text stays text in the page's font, width is the page's."""

import html
import io
import re
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Final

from actlabel.core.errors import UserError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS: Final[Mapping[str, str]] = {
    "ink": "#010101",
    "muted": "#020202",
    "grid": "#030303",
    "paper": "#040404",
    "machine": "#050505",
    "human": "#060606",
    "critic": "#070707",
    "oracle": "#080808",
    "random": "#090909",
    "gold": "#0a0a0a",
}
"""Stand-ins that a plot is drawn in; each becomes ``var(--<name>)``, which the page sets for light and for dark."""

_STYLE: Final[Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "actlabel",
    "text.parse_math": False,
    "font.size": 8.5,
    "text.color": COLOURS["ink"],
    "axes.edgecolor": COLOURS["grid"],
    "axes.labelcolor": COLOURS["muted"],
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": COLOURS["grid"],
    "grid.linewidth": 0.6,
    "xtick.color": COLOURS["muted"],
    "ytick.color": COLOURS["muted"],
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "lines.linewidth": 1.8,
    "lines.solid_capstyle": "round",
    "legend.frameon": False,
    "legend.handlelength": 1.6,
}


def plot_style() -> AbstractContextManager[None]:
    """Draw in the style of the page while the block runs. Raises ``UserError`` when matplotlib is not installed."""
    try:
        import matplotlib as mpl  # noqa: PLC0415 - an extra; the other commands do without it
    except ImportError as error:
        raise UserError("the report draws its plots with matplotlib, which is not installed: pip install 'actlabel[report]'") from error
    style: AbstractContextManager[None] = mpl.rc_context(_STYLE)
    return style


def inline_svg(figure: "Figure", *, name: str, title: str) -> str:
    """Return the ``<svg>`` element of a figure. ``name``: prefix of every id, so that plots on one page do not collide."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = buffer.getvalue()
    body = text[text.index(">", text.index("<svg")) + 1 :]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    body = re.sub(r"<!--.*?-->", "", body, flags=re.DOTALL)
    body = re.sub(r'\bid="', f'id="{name}-', body)
    body = re.sub(r"url\(#", f"url(#{name}-", body)
    body = re.sub(r'xlink:href="#', f'href="#{name}-', body)
    body = re.sub(r"font: ([\d.]+px)[^;\"]*", r"font-size: \1", body)
    body = re.sub(r"font-family: [^;\"]*;?", "", body)
    for colour, stand_in in COLOURS.items():
        body = body.replace(stand_in, f"var(--{colour})")
    view_box = re.search(r'viewBox="([\d. ]+)"', text)
    assert view_box is not None, "matplotlib always writes one"
    said = html.escape(title)
    return f'<svg class="plot" viewBox="{view_box[1]}" role="img" aria-label="{said}"><title>{said}</title>{body.strip()}'
