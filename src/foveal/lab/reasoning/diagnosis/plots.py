"""Pictures of the diagnostics as SVG that is the same on every run, for light and dark pages."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from xml.sax.saxutils import escape

import numpy as np
from numpy.typing import NDArray

from foveal.evaluation.significance import Estimate

LEFT, WIDTH, RIGHT = 190, 420, 120
"""Room for labels, the plot itself, and room for figures, in pixels."""
_STACK_LEFT, _STACK_WIDTH, _STACK_RIGHT = 120, 340, 110  # two of these fit beside each other
_TOP, _BOTTOM = 34, 46
_LINE, _GAP = 20, 12
_LONGEST = 26
_TICKS = 6
_STYLE = (
    ".fv-diagnosis{--ink:#24292f;--pale:#d0d7de;--faint:#afb8c1;--first:#0072b2;--second:#b34700;"
    "--image:#aa4499;--description:#117733;"
    "--level-0:#2166ac;--level-1:#92c5de;--level-2:#d0d0d0;--level-3:#f4a582;--level-4:#b2182b;"
    "--heat:#0072b2;font:13px system-ui,sans-serif;fill:var(--ink)}"
    "@media(prefers-color-scheme:dark){.fv-diagnosis{--ink:#e6edf3;--pale:#3d444d;--faint:#6e7681;"
    "--first:#56b4e9;--second:#ff9d5c;--image:#dd88cc;--description:#44bb99;--heat:#56b4e9;"
    "--level-0:#4393c3;--level-1:#92c5de;--level-2:#8b949e;--level-3:#f4a582;--level-4:#d6604d}}"
)
SERIES = ("var(--first)", "var(--second)")
"""Colours of the first and the second reasoner."""
KIND_COLOURS = ("var(--image)", "var(--description)", "var(--faint)")
"""Colours of image tokens, description tokens and the rest."""


@dataclass(frozen=True, slots=True)
class DotRow:
    """One figure of each reasoner.

    Attributes:
        label: what it is called.
        values: an estimate for each reasoner; NaN is not drawn.
        marks: of each reasoner, what chance would give, drawn as a small line; empty for none.
    """

    label: str
    values: tuple[Estimate, ...]
    marks: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class ReachRow:
    """How far the verdict goes down and up when one thing is changed.

    Attributes:
        label: what is changed.
        ends: of each reasoner, change at its worst and at its best; NaN where there is none.
    """

    label: str
    ends: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class StackRow:
    """A bar of shares.

    Attributes:
        label: what it is called.
        shares: add up to 1.
        note: written behind it.
    """

    label: str
    shares: tuple[float, ...]
    note: str = ""


def level_colours(count: int) -> tuple[str, ...]:
    """Colours of levels from best to worst, for two to five of them."""
    places = np.round(np.linspace(0, 4, count)).astype(int)
    return tuple(f"var(--level-{place})" for place in places)


def dots(
    rows: Sequence[DotRow],
    names: Sequence[str],
    *,
    title: str,
    axis: str,
    name: str,
    percent: bool = False,
    zero: bool = True,
) -> str:
    """Draw figures with their intervals, the reasoners below each other.

    Args:
        rows: at least one.
        names: of the reasoners.
        title: read by screen readers.
        axis: what the figures are.
        name: begins the identifiers of this plot, so that several can be on a page.
        percent: figures are shares, written in percent.
        zero: the axis begins at 0.

    Returns:
        An SVG document with title and description.
    """
    ends = [end for row in rows for one in row.values for end in (one.value, one.low, one.high)]
    ends += [mark for row in rows for mark in row.marks] + ([0.0] if zero else [])
    scale = _Scale(ends, percent=percent)
    step = _LINE * len(names) + _GAP
    parts = [*_legend(names, SERIES), *scale.grid(step * len(rows), axis)]
    for number, row in enumerate(rows):
        top = _TOP + number * step + _GAP / 2
        parts.append(_label(row.label, top + step / 2 - _GAP / 2))
        for place, one in enumerate(row.values):
            y = top + _LINE * (place + 0.5)
            mark = row.marks[place] if row.marks else math.nan
            parts += _dot(one, mark, y, SERIES[place], scale)
    said = "; ".join(
        f"{row.label}: "
        + ", ".join(f"{who} {scale.said(one)}" for who, one in zip(names, row.values, strict=True))
        for row in rows
    )
    return _svg(name, title, said, _TOP + step * len(rows) + _BOTTOM, parts)


def reaches(rows: Sequence[ReachRow], names: Sequence[str], *, title: str, axis: str, name: str) -> str:
    """Draw how far verdicts go: a bar from the worst end, hollow, to the best end, filled.

    Args:
        rows: at least one.
        names: of the reasoners.
        title: read by screen readers.
        axis: what the changes are.
        name: begins the identifiers of this plot.
    """
    scale = _Scale([0.0, *(end for row in rows for pair in row.ends for end in pair)], signed=True)
    step = _LINE * len(names) + _GAP
    parts = [*_legend(names, SERIES), *scale.grid(step * len(rows), axis)]
    zero = scale.x(0.0)
    parts.append(
        f'<line x1="{zero}" y1="{_TOP}" x2="{zero}" y2="{_TOP + step * len(rows)}" stroke="var(--ink)"/>'
    )
    said = []
    for number, row in enumerate(rows):
        top = _TOP + number * step + _GAP / 2
        parts.append(_label(row.label, top + step / 2 - _GAP / 2))
        for place, (worst, best) in enumerate(row.ends):
            y, colour = top + _LINE * (place + 0.5), SERIES[place]
            parts += _reach(worst, best, y, colour, scale)
            said.append(f"{row.label}, {names[place]}: {_number(worst)} to {_number(best)}")
    return _svg(name, title, "; ".join(said), _TOP + step * len(rows) + _BOTTOM, parts)


def stacks(
    rows: Sequence[StackRow],
    kinds: Sequence[str],
    colours: Sequence[str],
    *,
    title: str,
    name: str,
    heading: str = "",
) -> str:
    """Draw bars that are divided into shares, one a row.

    Args:
        rows: at least one.
        kinds: what the shares are.
        colours: of the kinds.
        title: read by screen readers.
        name: begins the identifiers of this plot.
        heading: written above the notes.
    """
    height = 22 if len(rows) <= 12 else 14
    across, behind = _STACK_WIDTH, _STACK_LEFT + _STACK_WIDTH + 10
    parts = list(_legend(kinds, colours, _STACK_LEFT))
    if heading:
        parts.append(f'<text x="{behind}" y="18">{escape(heading)}</text>')
    for number, row in enumerate(rows):
        y = _TOP + number * height
        parts.append(_label(row.label, y + height / 2, _STACK_LEFT))
        left = 0.0
        for place, share in enumerate(row.shares):
            parts.append(
                f'<rect x="{_STACK_LEFT + across * left:.1f}" y="{y + 1}" width="{across * share:.1f}" '
                f'height="{height - 2}" fill="{colours[place]}"/>'
            )
            left += share
        if row.note:
            parts.append(f'<text x="{behind}" y="{y + height / 2 + 4:g}">{escape(row.note)}</text>')
    floor = _TOP + height * len(rows)
    for share in (0.0, 0.5, 1.0):
        x = f"{_STACK_LEFT + across * share:g}"
        parts.append(f'<text x="{x}" y="{floor + 18}" text-anchor="middle">{share:.0%}</text>')
    said = "; ".join(
        f"{row.label}: "
        + ", ".join(f"{kind} {share:.0%}" for kind, share in zip(kinds, row.shares, strict=True))
        for row in rows
    )
    return _svg(name, title, said, floor + 28, parts, width=behind - 10 + _STACK_RIGHT)


def grid(values: NDArray[np.floating[Any]], *, title: str, name: str, side: int = 224) -> str:
    """Draw a map as squares: least is empty, most is full.

    Args:
        values: (rows, columns).
        title: read by screen readers.
        name: begins the identifiers of this plot.
        side: width in pixels.
    """
    rows, columns = values.shape
    cell = side / columns
    least, most = float(values.min()), float(values.max())
    extent = most - least or 1.0
    parts = []
    for row in range(rows):
        for column in range(columns):
            value = float(values[row, column])
            parts.append(
                f'<rect x="{column * cell:.1f}" y="{row * cell:.1f}" width="{cell - 1:.1f}" '
                f'height="{cell - 1:.1f}" fill="var(--heat)" fill-opacity="{(value - least) / extent:.3f}" '
                f'stroke="var(--pale)" stroke-width="0.5"><title>{value:.4f}</title></rect>'
            )
    said = f"{rows} x {columns} places; most {most:.4f}, least {least:.4f}"
    return _svg(name, title, said, round(rows * cell), parts, width=side)


class _Scale:
    """Values to places on the axis."""

    def __init__(self, values: Sequence[float], *, percent: bool = False, signed: bool = False) -> None:
        known = [value for value in values if math.isfinite(value)] or [0.0, 1.0]
        self.ticks = _ticks(min(known), max(known))
        self._percent, self._signed = percent, signed
        self._decimals = max(1, -math.floor(math.log10(self.ticks[1] - self.ticks[0]) + 1e-9))

    def x(self, value: float) -> str:
        share = (value - self.ticks[0]) / (self.ticks[-1] - self.ticks[0])
        return f"{LEFT + WIDTH * share:.1f}"

    def text(self, value: float, *, tick: bool = False) -> str:
        if self._percent:
            return f"{100 * value:.{0 if tick else 1}f} %"
        decimals = self._decimals if tick else 3
        return f"{value:{'+' if self._signed and value else ''}.{decimals}f}"

    def said(self, one: Estimate) -> str:
        if not math.isfinite(one.value):
            return "undefined"
        if not math.isfinite(one.low):
            return self.text(one.value)
        return f"{self.text(one.value)} ({self.text(one.low)} to {self.text(one.high)})"

    def grid(self, height: float, axis: str) -> list[str]:
        floor = _TOP + height
        lines = [
            f'<line x1="{self.x(tick)}" y1="{_TOP}" x2="{self.x(tick)}" y2="{floor:g}" stroke="var(--pale)"/>'
            f'<text x="{self.x(tick)}" y="{floor + 18:g}" text-anchor="middle">'
            f"{self.text(tick, tick=True)}</text>"
            for tick in self.ticks
        ]
        middle = LEFT + WIDTH / 2
        lines.append(f'<text x="{middle:g}" y="{floor + 38:g}" text-anchor="middle">{escape(axis)}</text>')
        return lines


def _dot(one: Estimate, mark: float, y: float, colour: str, scale: _Scale) -> list[str]:
    if not math.isfinite(one.value):
        return [f'<text x="{LEFT + WIDTH + 14}" y="{y + 4:g}" fill="{colour}">-</text>']
    parts = []
    if math.isfinite(one.low):
        parts.append(
            f'<line x1="{scale.x(one.low)}" y1="{y:g}" x2="{scale.x(one.high)}" y2="{y:g}" stroke="{colour}" '
            'stroke-width="2.5" stroke-linecap="round"/>'
        )
    if math.isfinite(mark):
        x = scale.x(mark)
        parts.append(
            f'<line x1="{x}" y1="{y - 7:g}" x2="{x}" y2="{y + 7:g}" stroke="{colour}" stroke-width="2" '
            'stroke-opacity="0.6"/>'
        )
    parts.append(f'<circle cx="{scale.x(one.value)}" cy="{y:g}" r="5" fill="{colour}"/>')
    parts.append(
        f'<text x="{LEFT + WIDTH + 14}" y="{y + 4:g}" fill="{colour}">{scale.text(one.value)}</text>'
    )
    return parts


def _reach(worst: float, best: float, y: float, colour: str, scale: _Scale) -> list[str]:
    known = [end for end in (worst, best) if math.isfinite(end)]
    if not known:
        return [f'<text x="{LEFT + WIDTH + 14}" y="{y + 4:g}" fill="{colour}">no edits</text>']
    ends = f'x1="{scale.x(min(0.0, *known))}" x2="{scale.x(max(0.0, *known))}"'
    parts = [f'<line {ends} y1="{y:g}" y2="{y:g}" stroke="{colour}" stroke-width="3" stroke-opacity="0.5"/>']
    for end, fill in ((worst, "none"), (best, colour)):
        if math.isfinite(end):
            parts.append(
                f'<circle cx="{scale.x(end)}" cy="{y:g}" r="4.5" fill="{fill}" stroke="{colour}" '
                'stroke-width="2"/>'
            )
    numbers = f"{_number(worst)} {_number(best)}"
    parts.append(f'<text x="{LEFT + WIDTH + 14}" y="{y + 4:g}" fill="{colour}">{numbers}</text>')
    return parts


def _number(value: float) -> str:
    return f"{value:+.2f}" if math.isfinite(value) else "-"


def _label(text: str, y: float, left: int = LEFT) -> str:
    short = text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
    return f'<text x="{left - 12}" y="{y + 4:g}" text-anchor="end">{escape(short)}</text>'


def _legend(names: Sequence[str], colours: Sequence[str], left: int = LEFT) -> list[str]:
    parts, x = [], float(left)
    for text, colour in zip(names, colours, strict=False):
        parts.append(f'<rect x="{x:g}" y="8" width="12" height="12" rx="2" fill="{colour}"/>')
        parts.append(f'<text x="{x + 17:g}" y="18">{escape(text)}</text>')
        x += 30 + 7 * len(text)
    return parts


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers around a range: at least two, at most about seven."""
    wide = max(high - low, 1e-6)
    magnitude = 10.0 ** math.floor(math.log10(wide / _TICKS))
    step = next(
        (factor * magnitude for factor in (1, 2, 5) if wide / (factor * magnitude) <= _TICKS), 10 * magnitude
    )
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(number * step, 9) for number in range(first, max(last, first + 1) + 1)]


def _svg(name: str, title: str, said: str, height: float, parts: Sequence[str], *, width: int = 0) -> str:
    across = width or LEFT + WIDTH + RIGHT
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="fv-diagnosis" role="img" width="{across}" '
        f'viewBox="0 0 {across} {height:g}" aria-labelledby="{name}-title {name}-text">'
        f'<title id="{name}-title">{escape(title)}</title><desc id="{name}-text">{escape(said)}</desc>'
        f"<style>{_STYLE}</style>{''.join(parts)}</svg>\n"
    )
