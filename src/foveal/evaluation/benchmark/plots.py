"""Dot plots as SVG that is the same on every run, for light and dark pages."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

_ROW, _TOP, _BOTTOM = 30, 14, 44
_LEFT, _WIDTH, _RIGHT = 220, 480, 70
_LONGEST = 28
_STEPS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
_TICKS = 6
_STYLE = (
    ".fv-plot{--ink:#24292f;--pale:#d0d7de;--dot:#0072b2;--leak:#b34700;"
    "font:13px system-ui,sans-serif;fill:var(--ink)}"
    "@media(prefers-color-scheme:dark){.fv-plot{--ink:#e6edf3;--pale:#3d444d;--dot:#56b4e9;--leak:#ff9d5c}}"
)


@dataclass(frozen=True, slots=True)
class Dot:
    """One row of a dot plot.

    Attributes:
        label: what it is called.
        value: where the dot stands.
        low: where its interval begins; NaN for no interval.
        high: where it ends.
        others: values that the dot is the mean of, drawn as small marks.
        marked: whether the figure is one to doubt, which gets a hollow dot in another colour.
    """

    label: str
    value: float
    low: float
    high: float
    others: tuple[float, ...] = ()
    marked: bool = False


def dot_plot(dots: Sequence[Dot], *, title: str, axis: str, name: str) -> str:
    """Draw dots with their intervals, a row each.

    Args:
        dots: at least one; their values are finite.
        title: read by screen readers.
        axis: what the values are.
        name: begins the identifiers of this plot, so that several can be on a page.

    Returns:
        An SVG document with title and description.
    """
    ends = [end for dot in dots for end in (dot.value, dot.low, dot.high, *dot.others) if not math.isnan(end)]
    ticks = _ticks(min(ends), max(ends))
    height = _TOP + _ROW * len(dots) + _BOTTOM
    floor = _TOP + _ROW * len(dots)

    def x(value: float) -> str:
        return f"{_LEFT + _WIDTH * (value - ticks[0]) / (ticks[-1] - ticks[0]):.1f}"

    lines = [
        f'<line x1="{x(tick)}" y1="{_TOP}" x2="{x(tick)}" y2="{floor}" stroke="var(--pale)"/>'
        f'<text x="{x(tick)}" y="{floor + 18}" text-anchor="middle">{tick:.{_decimals(ticks)}f}</text>'
        for tick in ticks
    ]
    lines.append(
        f'<text x="{_LEFT + _WIDTH / 2:g}" y="{height - 8}" text-anchor="middle">{escape(axis)}</text>'
    )
    for number, dot in enumerate(dots):
        lines += _drawn(dot, _TOP + _ROW * (number + 0.5), x)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="fv-plot" role="img" '
        f'viewBox="0 0 {_LEFT + _WIDTH + _RIGHT} {height}" '
        f'aria-labelledby="{name}-title {name}-text">'
        f'<title id="{name}-title">{escape(title)}</title>'
        f'<desc id="{name}-text">{escape(_described(dots))}</desc>'
        f"<style>{_STYLE}</style>{''.join(lines)}</svg>\n"
    )


def _drawn(dot: Dot, y: float, x: Callable[[float], str]) -> list[str]:
    colour = "var(--leak)" if dot.marked else "var(--dot)"
    label = dot.label if len(dot.label) <= _LONGEST else f"{dot.label[: _LONGEST - 1]}…"
    label += " †" if dot.marked else ""
    parts = [f'<text x="{_LEFT - 14}" y="{y + 4:g}" text-anchor="end">{escape(label)}</text>']
    if not math.isnan(dot.low):
        ends = f'x1="{x(dot.low)}" y1="{y:g}" x2="{x(dot.high)}" y2="{y:g}"'
        parts.append(f'<line {ends} stroke="{colour}" stroke-width="2.5" stroke-linecap="round"/>')
    parts += [
        f'<line x1="{x(value)}" y1="{y - 7:g}" x2="{x(value)}" y2="{y + 7:g}" stroke="{colour}" '
        'stroke-opacity="0.5"/>'
        for value in dot.others
    ]
    fill = "none" if dot.marked else colour
    parts.append(
        f'<circle cx="{x(dot.value)}" cy="{y:g}" r="5" fill="{fill}" stroke="{colour}" stroke-width="2"/>'
    )
    parts.append(f'<text x="{_LEFT + _WIDTH + 14}" y="{y + 4:g}">{dot.value:.3f}</text>')
    return parts


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers around a range: at least two, at most about six."""
    step = next((step for step in _STEPS if (high - low) / step <= _TICKS), None)
    step = 10.0 ** math.ceil(math.log10((high - low) / _TICKS)) if step is None else step
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(number * step, 6) for number in range(first, max(last, first + 1) + 1)]


def _decimals(ticks: Sequence[float]) -> int:
    return 2 if ticks[1] - ticks[0] < 0.1 else 1


def _described(dots: Sequence[Dot]) -> str:
    said = []
    for dot in dots:
        interval = "" if math.isnan(dot.low) else f" ({dot.low:.3f} to {dot.high:.3f})"
        said.append(f"{dot.label} {dot.value:.3f}{interval}{', to be doubted' if dot.marked else ''}")
    return "; ".join(said) + "."
