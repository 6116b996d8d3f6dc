"""Histograms as SVG that stretches to any width; axes and words are text beside it, so that they do not."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from itertools import pairwise

import numpy as np

from foveal.assessment import HIGHEST, LOWEST
from foveal.explanation.colours import hexadecimal
from foveal.explanation.sentences import GRADES
from foveal.pipeline.summary import Summary

FINE, COARSE = 0.1, 0.25
"""Widths of the bars of quality: of many images and of few."""
MANY = 200

_BINS = 25  # odd: the bar in the middle holds what has not changed
_LEAST_REACH = 0.1
_STEP, _BAR, _HEIGHT, _TOP = 10, 8, 100, 96
_MIDDLE = (LOWEST + HIGHEST) / 2

Bin = tuple[float, float, int]
"""Lower end, upper end, count."""


def quality_histogram(summary: Summary) -> str:
    """Distribution of quality over the images, the median marked; there must be a score."""
    bins = summary.histogram(FINE if summary.scored >= MANY else COARSE)
    median = summary.median()
    width = _STEP * len(bins)
    across = width * (median - LOWEST) / (HIGHEST - LOWEST)
    marker = f'<line class="median" x1="{across:.2f}" x2="{across:.2f}" y1="0" y2="{_HEIGHT}"/>'
    low, high, most = max(bins, key=lambda one: one[2])
    told = (
        f"Quality of {summary.scored:,} images, in bars {bins[0][1] - bins[0][0]:g} wide. "
        f"The tallest bar, {low:.2f} to {high:.2f}, holds {most:,}; the median is {median:.2f}."
    )
    bars = _bars(bins, [hexadecimal((one[0] + one[1]) / 2) for one in bins], "{:.2f}")
    return _drawn(width, bars + marker, "Histogram of quality", told)


def grades(summary: Summary) -> list[tuple[str, int]]:
    """How many images are nearest to each category, worst first: what the histogram says, in words."""
    half_steps = [count for _, _, count in summary.histogram(0.5)]
    edges = (0, 1, 3, 5, 7, 8)
    return [(name, sum(half_steps[a:b])) for name, (a, b) in zip(GRADES, pairwise(edges), strict=True)]


def difference_histogram(differences: Sequence[float]) -> tuple[str, float]:
    """Distribution of differences around zero, and the greatest difference that its axis shows.

    Args:
        differences: new less old; at least one.
    """
    values = np.asarray(differences, np.float64)
    reach = max(_LEAST_REACH, float(np.abs(values).max()))
    counts, edges = np.histogram(values, _BINS, (-reach, reach))
    ends = edges.tolist()
    bins = list(zip(ends[:-1], ends[1:], counts.tolist(), strict=True))
    # The ends of the axis take the ends of the scale of colours, so that direction is what colour means.
    colours = [hexadecimal(_MIDDLE + (_MIDDLE - LOWEST) * (low + high) / 2 / reach) for low, high, _ in bins]
    width = _STEP * _BINS
    zero = f'<line class="median" x1="{width / 2}" x2="{width / 2}" y1="0" y2="{_HEIGHT}"/>'
    up, down = int((values > 0).sum()), int((values < 0).sum())
    told = (
        f"Differences of {len(values):,} pairs, from {values.min():+.2f} to {values.max():+.2f}: "
        f"{up:,} above zero, {down:,} below."
    )
    return _drawn(width, _bars(bins, colours, "{:+.2f}") + zero, "Histogram of differences", told), reach


def _bars(bins: Sequence[Bin], colours: Sequence[str], form: str) -> str:
    tallest = max(1, *(count for _, _, count in bins))
    drawn = []
    for place, ((low, high, count), colour) in enumerate(zip(bins, colours, strict=True)):
        # A single image must be seen, however many are in the tallest bar.
        height = max(1.5, _TOP * count / tallest) if count else 0.0
        ends = f"{form.format(low)} to {form.format(high)}"
        left = place * _STEP
        drawn.append(
            f'<g class="bin" data-low="{low:.4f}" data-high="{high:.4f}"><title>{ends}: {count:,}</title>'
            f'<rect class="hit" x="{left}" y="0" width="{_STEP}" height="{_HEIGHT}"/>'
            f'<rect class="bar" x="{left + (_STEP - _BAR) / 2:g}" y="{_HEIGHT - height:.2f}" width="{_BAR}" '
            f'height="{height:.2f}" fill="{colour}"/></g>'
        )
    return "".join(drawn)


def _drawn(width: int, content: str, title: str, told: str) -> str:
    return (
        f'<svg class="histogram" viewBox="0 0 {width} {_HEIGHT}" preserveAspectRatio="none" role="img" '
        f'aria-label="{escape(title)}. {escape(told)}">{content}</svg>'
    )
