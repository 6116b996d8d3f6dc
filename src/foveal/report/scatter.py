"""Old against new as SVG: thousands of points in three paths, so that pages stay small and quick."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from foveal.assessment import HIGHEST, LOWEST

MOST_POINTS = 20_000
"""Of more pairs only those that changed most are drawn; the page says so."""

FEW, MANY = 500, 2000
"""Fewer points than this are drawn larger, more of them smaller."""
SIDE, MARGIN = 360, 34
"""Of the square plot, and of the room for its axis on the left and below."""


@dataclass(frozen=True, slots=True)
class Point:
    """One pair.

    Attributes:
        old: quality before.
        new: quality after.
        kind: ``up`` or ``down`` where the change is beyond both intervals, else ``same``.
    """

    old: float
    new: float
    kind: str


def scatter(points: Sequence[Point], told: str) -> str:
    """Draw pairs on the 1-5 scale, with the diagonal of no change.

    Args:
        points: drawn in this order, those of no great change first.
        told: what readers of the screen get instead, escaped.
    """
    size = SIDE + 2 * MARGIN
    crowd = " few" if len(points) < FEW else " many" if len(points) > MANY else ""
    ticks = "".join(_tick(value) for value in range(int(LOWEST), int(HIGHEST) + 1))
    diagonal = f'<path class="diagonal" d="M{MARGIN} {MARGIN + SIDE}L{MARGIN + SIDE} {MARGIN}"/>'
    # Points without length and with round ends: a dot each, in a tenth of the bytes of circles.
    dots = "".join(
        f'<path class="dots {kind}" d="{"".join(_dot(point) for point in points if point.kind == kind)}"/>'
        for kind in ("same", "down", "up")
    )
    return (
        f'<svg class="scatter{crowd}" id="scatter" viewBox="0 0 {size} {size}" role="img" '
        f'aria-label="{told}" data-side="{SIDE}" data-margin="{MARGIN}">{ticks}{dots}{diagonal}</svg>'
    )


def _tick(value: int) -> str:
    across = _across(value)
    down = 2 * MARGIN + SIDE - across
    end = MARGIN + SIDE
    return (
        f'<path class="grid" d="M{across:g} {MARGIN}V{end}M{MARGIN} {down:g}H{end}"/>'
        f'<text x="{across:g}" y="{end + 20}">{value}</text>'
        f'<text class="side" x="{MARGIN - 9}" y="{down + 4:g}">{value}</text>'
    )


def _across(quality: float) -> float:
    return MARGIN + SIDE * (quality - LOWEST) / (HIGHEST - LOWEST)


def _dot(point: Point) -> str:
    return f"M{_across(point.old):.1f} {2 * MARGIN + SIDE - _across(point.new):.1f}h0"
