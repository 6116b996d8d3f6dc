"""Scatter plots of predicted against rated quality, as SVG that is the same on every run."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import StringIO
from textwrap import wrap
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

import numpy as np
from numpy.typing import ArrayLike

from foveal.assessment import HIGHEST, LOWEST
from foveal.errors import MissingExtraError
from foveal.evaluation.correlation import plcc, srcc
from foveal.evaluation.logistic import LogisticFit, fit_logistic, logistic_4
from foveal.evaluation.pairs import Floats, checked_pairs

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#B8A800")
"""Those of Okabe and Ito (Color universal design, 2008), which colour-blind people tell apart; the yellow is
darker, so that it shows on white."""
_INK, _PALE = "#333333", "#BBBBBB"
_SIDE = 5.4  # inches
_TITLE = 44  # letters a line
_MARGIN = 0.03  # of an axis, so that points at the ends are whole


@dataclass(frozen=True, eq=False)
class _Plot:
    """What is drawn, checked."""

    predicted: Floats
    rated: Floats
    subsets: tuple[str, ...]
    colour_of: dict[str, str]
    fit: LogisticFit
    figures: str

    @property
    def x_ends(self) -> tuple[float, float]:
        """The scale, or the range of predictions that are in another unit."""
        low, high = float(self.predicted.min()), float(self.predicted.max())
        return (LOWEST, HIGHEST) if low >= LOWEST and high <= HIGHEST else (low, high)

    @property
    def on_scale(self) -> bool:
        """Whether predictions may be in the unit of the ratings."""
        return self.x_ends == (LOWEST, HIGHEST)


def require_matplotlib() -> None:
    """Refuse at once what could not be drawn later.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    try:
        import matplotlib.backends.backend_svg  # noqa: F401
    except ImportError:
        raise MissingExtraError("A scatter plot", "evaluation") from None


def subset_colours(subsets: Sequence[str]) -> dict[str, str]:
    """A colour for each subset, in alphabetical order; one and the same if there are more than colours.

    Args:
        subsets: labels of images; empty for none.
    """
    names = sorted(set(subsets) - {""})
    if len(names) > len(COLOURS):
        return dict.fromkeys(names, COLOURS[0])
    return dict(zip(names, COLOURS, strict=False))


def scatter_svg(
    predicted: ArrayLike,
    rated: ArrayLike,
    *,
    title: str,
    subsets: Sequence[str] = (),
    colours: dict[str, str] | None = None,
) -> str:
    """Draw predicted against rated quality with the 4-parameter logistic curve.

    Args:
        predicted: float [n], in any unit; the axis runs from 1 to 5 where all predictions lie there.
        rated: float [n], on the 1-5 scale.
        title: heading; SRCC and raw PLCC are put below it.
        subsets: n labels for colours and legend; none by default.
        colours: colour of each subset, so that several plots agree; by default :func:`subset_colours`.

    Returns:
        An SVG document with title and description for screen readers, without date or random identifiers:
        the same input gives the same text.

    Raises:
        ValueError: columns unfit for the figures or the fit, or labels that are not one for each image.
        MissingExtraError: matplotlib or SciPy is not installed.
    """
    require_matplotlib()
    predicted, rated = checked_pairs(predicted, rated)
    labels = tuple(subsets) or ("",) * len(rated)
    if len(labels) != len(rated):
        raise ValueError(f"{len(labels)} labels of subsets for {len(rated)} images")
    plot = _Plot(
        predicted=predicted,
        rated=rated,
        subsets=labels,
        colour_of=subset_colours(labels) if colours is None else colours,
        fit=fit_logistic(predicted, rated),
        figures=f"SRCC {srcc(predicted, rated):.3f}, PLCC {plcc(predicted, rated):.3f}",
    )
    with _plain_style():
        return _described(_svg(_draw(plot, title)), title, _description(plot))


@contextmanager
def _plain_style() -> Iterator[None]:
    """Matplotlib's own defaults, whatever the user's settings are, and identifiers that do not change."""
    import matplotlib.style

    with (
        matplotlib.style.context(["default", {"svg.hashsalt": "foveal", "svg.fonttype": "none"}]),
        warnings.catch_warnings(),
    ):
        # Text stays text, so a viewer's fonts draw what matplotlib's lack.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield


def _draw(plot: _Plot, title: str) -> Figure:
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    layout = ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.08)
    figure = Figure(figsize=(_SIDE, _SIDE + 0.4), layout=layout)
    axes = figure.add_subplot()
    _lay_out(axes, plot)
    if plot.on_scale:
        axes.plot(plot.x_ends, plot.x_ends, color=_PALE, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
    _points(axes, plot)
    x = np.linspace(plot.predicted.min(), plot.predicted.max(), 200)
    axes.plot(x, logistic_4(x, plot.fit.parameters), color=_INK, linewidth=2, zorder=3)
    lines = "\n".join(wrap(title, _TITLE))
    axes.set_title(lines, loc="left", fontsize=12, fontweight="bold", pad=24, color=_INK, parse_math=False)
    below = f"{plot.figures} ({len(plot.rated):,} images)"
    axes.text(0, 1.02, below, transform=axes.transAxes, fontsize=10.5, va="bottom", color=_INK)
    return figure


def _lay_out(axes: Axes, plot: _Plot) -> None:
    for set_limits, (low, high) in (
        (axes.set_xlim, plot.x_ends),
        (axes.set_ylim, (LOWEST, HIGHEST)),
    ):
        margin = _MARGIN * (high - low)
        set_limits(low - margin, high + margin)
    whole = range(int(LOWEST), int(HIGHEST) + 1)
    axes.set_yticks(whole)
    if plot.on_scale:
        axes.set_xticks(whole)
    axes.set_box_aspect(1)
    axes.set_xlabel("predicted quality" if plot.on_scale else "predicted score, in its own unit", color=_INK)
    axes.set_ylabel("rated quality (MOS on 1 to 5)", color=_INK)
    axes.grid(color="#EEEEEE", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(color=_PALE, labelcolor=_INK)
    for name, spine in axes.spines.items():
        spine.set_visible(name in ("left", "bottom"))
        spine.set_color(_PALE)


def _points(axes: Axes, plot: _Plot) -> None:
    """Draw the largest subset first, so that it hides none; the legend stays in alphabetical order."""
    labels = np.array(plot.subsets)
    counts = {name: int((labels == name).sum()) for name in sorted(set(plot.subsets))}
    size, opacity = (9, 0.45) if len(labels) > 500 else (18, 0.65)
    drawn = {}
    for name in sorted(counts, key=lambda name: -counts[name]):
        rows = labels == name
        drawn[name] = axes.scatter(
            plot.predicted[rows],
            plot.rated[rows],
            s=size,
            color=plot.colour_of.get(name, COLOURS[0]),
            alpha=opacity,
            linewidths=0,
            zorder=2,
        )
    named = [name for name in counts if name]
    if len({plot.colour_of.get(name) for name in named}) < 2:
        return
    # Zero width, for matplotlib drops labels that begin with an underscore.
    shown = [f"\u200b{name} ({counts[name]:,})" for name in named]
    legend = axes.legend(
        [drawn[name] for name in named],
        shown,
        loc="lower right" if plot.fit.plcc > 0 else "upper right",
        frameon=True,
        framealpha=0.85,
        edgecolor="none",
        fontsize=9.5,
        labelcolor=_INK,
        handletextpad=0.2,
        markerscale=1.8 if len(labels) > 500 else 1.2,
    )
    for text in legend.get_texts():
        text.set_parse_math(False)
    for handle in legend.legend_handles:
        if handle is not None:
            handle.set_alpha(1.0)


def _svg(figure: Figure) -> str:
    file = StringIO()
    # No date, and no version of matplotlib: neither says anything of the picture.
    figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    return file.getvalue()


def _described(svg: str, title: str, description: str) -> str:
    """Add what screen readers read: role, title and description."""
    start = svg.index("<svg ")
    end = svg.index(">", start) + 1
    root = svg[start : end - 1] + ' role="img" aria-labelledby="title description">'
    alternative = (
        f'\n <title id="title">{escape(title)}</title>\n <desc id="description">{escape(description)}</desc>'
    )
    return svg[:start] + root + alternative + svg[end:]


def _description(plot: _Plot) -> str:
    low, high = (
        logistic_4([x], plot.fit.parameters)[0] for x in (plot.predicted.min(), plot.predicted.max())
    )
    x, y = (f"{column.min():.2f} to {column.max():.2f}" for column in (plot.predicted, plot.rated))
    sentences = [
        f"Scatter plot of {len(plot.rated):,} images.",
        f"Predicted quality runs from left to right ({x}), rated quality from bottom to top ({y}).",
        f"{plot.figures}.",
        f"The logistic curve through the points goes from {low:.2f} on the left to {high:.2f} on the right.",
    ]
    names = sorted(set(plot.subsets) - {""})
    if len(names) > 1:
        counts = ", ".join(f"{name} ({plot.subsets.count(name):,} images)" for name in names)
        sentences.append(f"Subsets: {counts}.")
    return " ".join(sentences)
