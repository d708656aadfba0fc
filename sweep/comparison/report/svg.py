"""How figures are drawn: matplotlib's SVG, in the colours of the page that it stands in.

Text stays text, so that it is sharp in print, can be searched and read aloud. Ink and lines are
written as the page's CSS variables, so that a figure is right in light and in dark.
"""

import io
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count

import matplotlib as mpl
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

INK, LINE = "#010203", "#040506"  # placeholders: the page's style sheet replaces these two colours
# The palette of Okabe and Ito (2008), safe for colour-blind readers on white and on black.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8a8a00")

_PIXELS, _POINTS = 96, 72  # of an inch on a page, and of an inch in matplotlib's files
_STYLE = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.edgecolor": LINE,
    "axes.labelcolor": INK,
    "axes.grid": True,
    "axes.prop_cycle": cycler(color=COLOURS),
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "grid.color": LINE,
    "grid.alpha": 0.25,
    "grid.linewidth": 0.5,
    "legend.frameon": False,
    "legend.fontsize": 7,
    "lines.linewidth": 1.2,
    "lines.markersize": 3.5,
    "text.color": INK,
    "text.parse_math": False,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "path.simplify": True,
}
_STYLE_OF_TAG = re.compile(r'style="([^"]*)"')
_COLUMNS, _PANEL = 4, 1.55  # panels in a row of the grid, and the height of a panel in inches
_numbers = count()


@contextmanager
def style() -> Iterator[None]:
    """Draw in the style of the report within this context."""
    with mpl.rc_context(_STYLE):
        yield


def panel(width: float = 7.0, height: float = 3.0) -> tuple[Figure, Axes]:
    """Return a figure of one panel, in inches."""
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots()


def grid(
    panels: int, height: float = 1.3, own_scales: bool = False, beside: float = 0.1
) -> tuple[Figure, list[Axes]]:
    """Return a figure of small panels of one kind; those too many are left empty.

    Places are reckoned in inches: matplotlib's constrained layout draws everything three times.

    Args:
        height: of a panel.
        own_scales: panels do not share their axes, so each needs room for its numbers.
        beside: room to the right of the panels.
    """
    columns = min(_COLUMNS, max(1, panels))
    rows = -(-panels // columns)
    across, down = (0.45, 0.45) if own_scales else (0.15, 0.3)
    left, below, above = 0.6, 0.45, 0.25
    width = left + columns * _PANEL + (columns - 1) * across + beside
    tall = below + rows * height + (rows - 1) * down + above
    figure = Figure(figsize=(width, tall))
    places = {
        "left": left / width,
        "right": 1 - beside / width,
        "bottom": below / tall,
        "top": 1 - above / tall,
        "wspace": across / _PANEL,
        "hspace": down / height,
    }
    drawn = figure.subplots(
        rows,
        columns,
        squeeze=False,
        sharex=not own_scales,
        sharey=not own_scales,
        gridspec_kw=places,
    )
    axes = drawn.ravel().tolist()
    for empty in axes[panels:]:
        empty.set_axis_off()
    for used in axes[:panels]:
        used.locator_params(nbins=4)
    return figure, axes[:panels]


def with_shared_styles(page: str) -> tuple[str, str]:
    """Return a page whose figures name their styles by classes, and the classes as CSS.

    matplotlib writes every line's style out, which is most of a page of many small panels.
    """
    names: dict[str, str] = {}

    def named(match: re.Match[str]) -> str:
        return f'class="{names.setdefault(match[1], f"f{len(names)}")}"'

    def shortened(svg: re.Match[str]) -> str:
        head, rest = svg[0].split(">", 1)
        return f"{head}>{_change_tags(rest, lambda tag: _STYLE_OF_TAG.sub(named, tag))}"

    shorter = re.sub(r"<svg .*?</svg>", shortened, page, flags=re.DOTALL)
    return shorter, "\n".join(f".{name} {{ {style} }}" for style, name in names.items())


def standalone(svg: str) -> str:
    """Return a figure as a file of its own, in the colours of a light page.

    It has a width and a height: a viewer such as MLflow's shows nothing of an image without them.
    """
    coloured = svg.replace("var(--ink)", "#1b1f24").replace("var(--line)", "#6e7781")
    coloured = coloured.replace('style="max-width', 'style="background: #ffffff; max-width', 1)
    box = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', coloured)
    assert box is not None  # matplotlib writes it
    width, height = (float(points) * _PIXELS / _POINTS for points in box.groups())
    return coloured.replace("<svg", f'<svg width="{width:.0f}" height="{height:.0f}"', 1)


def _change_tags(svg: str, change: Callable[[str], str]) -> str:
    """Change the tags and leave the text alone: it may come from the data."""
    return re.sub(r"<[^<>]+>", lambda tag: change(tag[0]), svg)


def _shorten_numbers(tag: str) -> str:
    """Cut numbers to hundredths of a point, names of groups that nothing refers to, and fonts."""
    tag = re.sub(r' id="[A-Za-z.0-9]+_\d+"', "", tag)
    tag = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font: \1px system-ui, sans-serif", tag)
    tag = re.sub(r"font-family: [^;\"]*", "font-family: system-ui, sans-serif", tag)
    tag = re.sub(r"(\d\.\d\d)\d+", r"\1", tag)
    return tag.replace(INK, "var(--ink)").replace(LINE, "var(--line)")


def plain_numbers(axis: Axis) -> None:
    """Write few and plain numbers along a logarithmic axis, as far as it is drawn by now."""
    low, high = axis.get_view_interval()
    subs = (1.0,) if high > 100 * low else (1.0, 2.0, 5.0)
    axis.set_major_locator(LogLocator(base=10, subs=subs, numticks=4))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}".replace("e-0", "e-")))
    axis.set_minor_locator(NullLocator())


def as_svg(figure: Figure, described: str) -> str:
    """Return a figure as an SVG element that says to screen readers what it shows."""
    buffer = io.StringIO()
    # Each figure needs its own salt, because ids must be unique within a page.
    with mpl.rc_context({"svg.hashsalt": f"figure {next(_numbers)}"}):
        FigureCanvasSVG(figure).print_svg(buffer, metadata={"Date": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, count=1, flags=re.DOTALL)
    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    text = re.sub(r"<style.*?</style>", "", text, flags=re.DOTALL)
    text = re.sub(r'(<svg [^>]*?) width="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg [^>]*?) height="[^"]*"', r"\1", text, count=1)
    text = _change_tags(text, _shorten_numbers)
    text = re.sub(r"\s*\n\s*", " ", text).replace("> <", "><")
    width = figure.get_figwidth() * _PIXELS
    label = described.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
    head = f'<svg role="img" aria-label="{label}" style="max-width: {width:.0f}px"'
    return text.replace("<svg", head, 1)
