"""Copies of a picture found by their looks: a hash of its coarse structure, then a second look.

Each picture gets perceptual hashes: the signs of its lowest DCT coefficients (Zauner, "Implementation and
benchmarking of perceptual image hash functions", 2010, section 3.2.1), of the whole and of fifteen windows,
so that a crop meets the window that it comes nearest to. Two pictures whose hashes agree are laid over each
other by the shift, stretch, gain and offset that fit best (Lucas and Kanade 1981, with gain and offset as
Baker, Gross and Matthews 2003), and their details are correlated where they overlap.

It finds copies that were recompressed, resized, stretched, mirrored, made brighter or darker, blurred, noisy,
thinly framed, or cropped by up to a fifth of a side; and shots of one series, as far as camera and subject
kept still. It does not find copies that are turned by more than a few degrees, upside down, cropped to a
detail, or partly covered, nor another view of the same scene. Colour does not count. Unlike things of one
outline, such as two full plates, may pass for copies. Pictures almost without detail (a blank wall, a black
frame) are not compared, as they would all look alike: see :func:`has_detail`.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Floats = NDArray[np.float32]
Indices = NDArray[np.int64]
Thumbnails = NDArray[np.uint8]
"""Small grey versions of n pictures: uint8 (n, SIDE, SIDE)."""

SIDE = 64
"""Side of a thumbnail in pixels."""
FREQUENCIES = 11
"""Largest sum of horizontal and vertical frequency of the coefficients in a hash."""
BITS = FREQUENCIES * (FREQUENCIES + 3) // 2
"""Length of a hash: so many pairs of frequencies have a sum from 1 to FREQUENCIES."""
MOST_BITS = 20
"""Hashes that differ in more bits are taken to be of different pictures."""
CORRELATION = 0.6
"""Pictures whose details correlate by so much or more are near copies, -1 to 1."""
MIRRORED_CORRELATION = 0.9
"""The same for mirror images. Only one and the same picture is ever mirrored, never the next of a series; and
round things look much like the mirror image of other round things."""
LEAST_DETAIL = 1.0
"""Grey levels of 255, root mean square, by which a picture must depart from its blurred self."""

_CROP = 0.85
_PARTS = ((0.0, 1.0), (0.0, _CROP), ((1 - _CROP) / 2, (1 + _CROP) / 2), (1 - _CROP, 1.0))
"""Parts of a side, from 0 to 1: all, start, middle, end. A window is one of them down and one across."""
_WHOLE = (0, 0)
_START, _END = 1, 3
_OPPOSITE = (0, 3, 2, 1)
"""Where each part of a side is in a mirror."""
_BLOCK = 1024  # pictures taken at a time
_PAIRS = 256  # pairs laid over each other at a time
_ROUNDS = 12  # of fitting; more change nothing
_STRETCH = (0.65, 1.5)
_LEAST_OVERLAP = 0.55  # of the area of each picture
_LEAST_FIT = (
    0.6  # correlation of the fitted pictures, shading included, below which details are not looked at
)
_FINE, _COARSE = 0.7, 6.0  # standard deviations of Gaussians, in pixels of a thumbnail, that bound details
_FLOOR = 0.1  # local contrast, in standard deviations of the whole, below which details count for less

_Window = tuple[int, int]


@dataclass(frozen=True, slots=True, eq=False)
class NearCopies:
    """Pairs of pictures that look alike, each pair once, in order of ``first``, then ``second``.

    Attributes:
        first: int64 (pairs,), index among the pictures.
        second: int64 (pairs,), index among the others; among the same ones always larger than ``first``.
        correlation: float32 (pairs,), of the details where the two overlap, up to 1.
        mirrored: bool (pairs,), whether one is the mirror image of the other.
    """

    first: Indices
    second: Indices
    correlation: Floats
    mirrored: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.first)


class _Candidates(NamedTuple):
    """Pairs whose hashes agree, and where in the two pictures they agree best."""

    first: Indices
    second: Indices
    mirrored: NDArray[np.bool_]
    match: Indices  # in _MATCHES

    def take(self, chosen: slice | NDArray[np.generic]) -> _Candidates:
        return _Candidates(self.first[chosen], self.second[chosen], self.mirrored[chosen], self.match[chosen])


def thumbnail(picture: Image.Image) -> NDArray[np.uint8]:
    """Shrink a picture to what is compared: grey, square whatever its shape, antialiased.

    Args:
        picture: mode L or RGB, upright, of any size.

    Returns:
        uint8 (SIDE, SIDE).
    """
    small = picture.convert("L").resize((SIDE, SIDE), Image.Resampling.BILINEAR, reducing_gap=3.0)
    return np.array(small)


def has_detail(thumbnails: Thumbnails) -> NDArray[np.bool_]:
    """Whether pictures have enough detail to be told from others.

    Args:
        thumbnails: uint8 (n, SIDE, SIDE).

    Returns:
        bool (n,).
    """
    found = np.empty(len(thumbnails), np.bool_)
    for start in range(0, len(thumbnails), _BLOCK):
        details = _details(thumbnails[start : start + _BLOCK].astype(np.float32))
        found[start : start + _BLOCK] = np.mean(details**2, axis=(1, 2)) >= LEAST_DETAIL**2
    return found


def perceptual_hashes(thumbnails: Thumbnails) -> NDArray[np.bool_]:
    """The hashes of whole pictures: the signs of their lowest DCT-II coefficients.

    Args:
        thumbnails: uint8 (n, SIDE, SIDE).

    Returns:
        bool (n, BITS), True for positive, by vertical, then horizontal frequency. Unrelated photographs
        differ in about half of the bits.
    """
    return np.asarray(_hashes(thumbnails, _PARTS[:1])[0] > 0)


def find_near_copies(
    thumbnails: Thumbnails,
    others: Thumbnails | None = None,
    *,
    correlation: float = CORRELATION,
    most_bits: int = MOST_BITS,
) -> NearCopies:
    """Find the pairs of pictures that are near copies.

    Time grows with the number of pairs, memory with the number of pictures: hashes are compared as matrix
    products, in blocks.

    Args:
        thumbnails: of n pictures, uint8 (n, SIDE, SIDE). Those without detail are in no pair.
        others: of m pictures to compare those with, uint8 (m, SIDE, SIDE); by default the n are compared
            with each other.
        correlation: least correlation of the details of near copies, above 0; of mirror images at least
            :data:`MIRRORED_CORRELATION`.
        most_bits: in how many of their :data:`BITS` bits hashes may differ. A higher number finds worse
            copies and takes longer: 20 gives one in 300 pairs of unrelated photographs a second look.

    Returns:
        The pairs.

    Raises:
        ValueError: thumbnails of another shape or type, or a limit out of range.
    """
    _check(thumbnails, others, correlation, most_bits)
    rows = np.flatnonzero(has_detail(thumbnails))
    columns = rows if others is None else np.flatnonzero(has_detail(others))
    others_or_same = thumbnails if others is None else others
    hashes = _hashes(thumbnails[rows], _PARTS)
    other_hashes = hashes if others is None else _hashes(others_or_same[columns], _PARTS)
    found = _agreeing(hashes, other_hashes, most_bits, same=others is None)
    found = found._replace(first=rows[found.first], second=columns[found.second])
    measured = np.empty(len(found.first), np.float32)
    for start in range(0, len(measured), _PAIRS):
        part = slice(start, start + _PAIRS)
        measured[part] = _second_look(thumbnails, others_or_same, found.take(part))
    return _best(found, measured, correlation)


def _check(thumbnails: Thumbnails, others: Thumbnails | None, correlation: float, most_bits: int) -> None:
    for pictures in (thumbnails, thumbnails if others is None else others):
        if pictures.dtype != np.uint8 or pictures.ndim != 3 or pictures.shape[1:] != (SIDE, SIDE):
            raise ValueError(
                f"thumbnails are {pictures.dtype} {pictures.shape}, expected uint8 (n, {SIDE}, {SIDE})"
            )
    if not 0.0 < correlation <= 1.0:
        raise ValueError(f"correlation is {correlation}, expected above 0 and at most 1")
    if not 0 <= most_bits < BITS // 2:
        raise ValueError(
            f"most_bits is {most_bits}, expected 0 to {BITS // 2 - 1}: half of the bits agree by chance"
        )


def _matches() -> tuple[tuple[_Window, _Window], ...]:
    """Windows of two pictures that are compared: all with all; a crop with all; two crops that overlap."""
    parts = range(len(_PARTS))
    crops = [(down, across) for down in parts for across in parts if (down, across) != _WHOLE]
    shifted = [
        (window, (_OPPOSITE[window[0]], _OPPOSITE[window[1]]))
        for window in crops
        if _START in window or _END in window
    ]
    return (
        (_WHOLE, _WHOLE),
        *((_WHOLE, crop) for crop in crops),
        *((crop, _WHOLE) for crop in crops),
        *shifted,
    )


_MATCHES = _matches()


def _frequencies() -> tuple[Indices, Indices]:
    """Vertical and horizontal frequency of each bit."""
    down, across = np.indices((FREQUENCIES + 1, FREQUENCIES + 1))
    kept = (down + across > 0) & (down + across <= FREQUENCIES)
    return down[kept], across[kept]


def _cosines(low: float, high: float) -> Floats:
    """The DCT-II basis on a part of a side: (FREQUENCIES + 1, SIDE), zero outside the part."""
    edges = np.arange(SIDE + 1) / SIDE
    weights = np.clip(np.minimum(edges[1:], high) - np.maximum(edges[:-1], low), 0, None)
    centres = (edges[1:] + edges[:-1]) / 2
    basis = weights * np.cos(np.pi * np.arange(FREQUENCIES + 1)[:, None] * (centres - low) / (high - low))
    # A part that cuts through pixels leaves waves with a mean, through which brightness would get in.
    basis[1:] -= weights * basis[1:].sum(axis=1, keepdims=True) / weights.sum()
    return np.asarray(basis, np.float32)


def _hashes(thumbnails: Thumbnails, parts: Sequence[tuple[float, float]]) -> NDArray[np.int8]:
    """Hashes of all windows of these parts of a side: -1 or 1, (windows, n, BITS)."""
    bases = [_cosines(*part) for part in parts]
    down, across = _frequencies()
    hashes = np.empty((len(bases) ** 2, len(thumbnails), BITS), np.int8)
    for start in range(0, len(thumbnails), _BLOCK):
        block = thumbnails[start : start + _BLOCK].astype(np.float32)
        for number, (vertical, horizontal) in enumerate(itertools.product(bases, repeat=2)):
            coefficients = (vertical @ block @ horizontal.T)[:, down, across]
            hashes[number, start : start + _BLOCK] = np.where(coefficients > 0, 1, -1)
    return hashes


def _agreeing(
    hashes: NDArray[np.int8], others: NDArray[np.int8], most_bits: int, *, same: bool
) -> _Candidates:
    """Pairs whose hashes differ in few enough bits in some match of windows, plain or mirrored."""
    _, across = _frequencies()
    in_mirror = np.where(across % 2, -1, 1).astype(np.float32)  # waves that a mirror turns over
    hits: list[tuple[Indices, ...]] = [(np.empty(0, np.int64),) * 4]
    for mirrored, (number, (ours, theirs)) in itertools.product((False, True), enumerate(_MATCHES)):
        down, right = theirs
        window = down * len(_PARTS) + (_OPPOSITE[right] if mirrored else right)
        right_side = others[window].astype(np.float32) * (in_mirror if mirrored else 1)
        left_side = hashes[ours[0] * len(_PARTS) + ours[1]].astype(np.float32)
        for start in range(0, len(left_side), _BLOCK):
            skipped = start if same else 0
            agreement = left_side[start : start + _BLOCK] @ right_side[skipped:].T
            # Ten times as fast as np.nonzero of the matrix.
            flat = np.flatnonzero(agreement >= BITS - 2 * most_bits)
            first, second = np.divmod(flat, agreement.shape[1])
            bits = (BITS - agreement.ravel()[flat].astype(np.int64)) // 2
            kept = first + start < second + skipped if same else slice(None)
            label = np.full(len(first), number * 2 + mirrored)
            hits.append(tuple(c[kept] for c in (first + start, second + skipped, label, bits)))
    first, second, label, bits = (np.concatenate(column) for column in zip(*hits, strict=True))
    order = np.lexsort((label // 2, bits, label % 2, second, first))
    found = _Candidates(first[order], second[order], label[order] % 2 == 1, label[order] // 2)
    return found.take(np.flatnonzero(_news(found.first, found.second, found.mirrored)))


def _news(*columns: NDArray[np.generic]) -> NDArray[np.bool_]:
    """Which rows of sorted columns differ from the row before."""
    news = np.ones(len(columns[0]), np.bool_)
    if len(news):
        news[1:] = np.logical_or.reduce([column[1:] != column[:-1] for column in columns])
    return news


def _second_look(thumbnails: Thumbnails, others: Thumbnails, pairs: _Candidates) -> Floats:
    """Correlation of the details of each pair where the two overlap; -1 where they do not fit at all."""
    ours = _standard(thumbnails[pairs.first].astype(np.float32))
    theirs = _standard(others[pairs.second].astype(np.float32))
    theirs = np.where(pairs.mirrored[:, None, None], theirs[:, :, ::-1], theirs)
    fit, layout = _fitted(_halved(ours), _halved(theirs), _STARTS[pairs.match])
    measured = np.full(len(fit), -1.0, np.float32)
    good = np.flatnonzero(fit >= _LEAST_FIT)
    where_ours, where_theirs = _overlap(layout[good])
    first = _details(_resampled(_smoothed(ours[good], _SOFT), where_ours))
    second = _details(_resampled(_smoothed(theirs[good], _SOFT), where_theirs))
    measured[good] = _correlation(_evened(first), _evened(second))
    return measured


def _fitted(ours: Floats, theirs: Floats, layout: Floats) -> tuple[Floats, Floats]:
    """Lay pictures over each other, in Gauss-Newton steps.

    A layout says where a place of our picture lies in theirs: offset and stretch down, then across, both
    pictures reaching from -1 to 1.

    Args:
        ours: standardised, (pairs, side, side).
        theirs: likewise.
        layout: where to begin, (pairs, 4).

    Returns:
        The best correlation on the way, (pairs,), and its layout, (pairs, 4).
    """
    best, best_layout = np.full(len(ours), -1.0, np.float32), layout
    for _ in range(_ROUNDS):
        laid, inside = _resampled(theirs, layout), _inside(layout, ours.shape[-1])
        fit = np.where(_is_allowed(layout, inside), _correlation(ours, laid, inside), -1.0)
        better = fit > best
        best = np.where(better, fit, best)
        best_layout = np.where(better[:, None], layout, best_layout)
        layout = layout + _step(ours, laid, inside, layout)
    return best, best_layout


def _step(ours: Floats, laid: Floats, inside: Floats, layout: Floats) -> Floats:
    """The change of layout that brings theirs nearest to gain x ours + offset, to first order."""
    places = _places(ours.shape[-1])
    slopes = np.gradient(laid, 2 / ours.shape[-1], axis=(1, 2))
    down, across = (slope / layout[:, k, None, None] for slope, k in zip(slopes, (1, 3), strict=True))
    columns = [-down, -down * places[:, None], -across, -across * places, ours, np.ones_like(ours)]
    design = (np.stack(columns, axis=1) * inside[:, None]).reshape(len(ours), len(columns), -1)
    target = (laid * inside).reshape(len(ours), -1, 1)
    gram = design @ design.transpose(0, 2, 1)
    # Damped a little: along a straight edge nothing says how far to go.
    damped = gram + np.eye(len(columns), dtype=np.float32) * (1e-3 * gram + 1e-6)
    return np.clip(np.linalg.solve(damped, design @ target)[:, :4, 0], -0.1, 0.1)


def _is_allowed(layout: Floats, inside: Floats) -> NDArray[np.bool_]:
    """Whether the stretch is moderate and enough of both pictures overlaps."""
    stretch = layout[:, 1::2]
    moderate = np.all((stretch >= _STRETCH[0]) & (stretch <= _STRETCH[1]), axis=1)
    of_ours = inside.mean(axis=(1, 2))
    return np.asarray(moderate & (of_ours * np.minimum(1.0, stretch.prod(axis=1)) >= _LEAST_OVERLAP))


def _overlap(layout: Floats) -> tuple[Floats, Floats]:
    """The rectangle in which both pictures lie, as a layout into ours and one into theirs."""
    ours, theirs = np.empty_like(layout), np.empty_like(layout)
    for k in (0, 2):
        offset, stretch = layout[:, k], layout[:, k + 1]
        low, high = np.maximum(-1, (-1 - offset) / stretch), np.minimum(1, (1 - offset) / stretch)
        ours[:, k], ours[:, k + 1] = (low + high) / 2, (high - low) / 2
        theirs[:, k], theirs[:, k + 1] = offset + stretch * ours[:, k], stretch * ours[:, k + 1]
    return ours, theirs


def _resampled(pictures: Floats, layout: Floats) -> Floats:
    """Pictures at the places that a layout says, bilinear; beyond an edge its pixels go on."""
    side = pictures.shape[-1]
    pixels = np.arange(side, dtype=np.float32)
    vertical, horizontal = (
        np.maximum(0, 1 - np.abs(np.clip((at + 1) * (side / 2) - 0.5, 0, side - 1)[:, :, None] - pixels))
        for at in _laid_places(layout, side)
    )
    return np.asarray(vertical @ pictures @ horizontal.transpose(0, 2, 1), np.float32)


def _inside(layout: Floats, side: int) -> Floats:
    """1 where a place of ours lies in their picture, else 0: (pairs, side, side)."""
    vertical, horizontal = (np.abs(at) <= 1 for at in _laid_places(layout, side))
    return (vertical[:, :, None] & horizontal[:, None, :]).astype(np.float32)


def _laid_places(layout: Floats, side: int) -> tuple[Floats, Floats]:
    """Where rows and columns of ours lie in theirs: two of (pairs, side)."""
    places = _places(side)
    return layout[:, 0, None] + layout[:, 1, None] * places, layout[:, 2, None] + layout[:, 3, None] * places


def _places(side: int) -> Floats:
    """Centres of pixels from -1 to 1."""
    return ((2 * np.arange(side) + 1) / side - 1).astype(np.float32)


def _starts() -> Floats:
    """The layout at which each match of windows begins: (matches, 4)."""
    starts = np.empty((len(_MATCHES), 4), np.float32)
    for row, (ours, theirs) in zip(starts, _MATCHES, strict=True):
        for axis in range(2):
            (low, high), (their_low, their_high) = _PARTS[ours[axis]], _PARTS[theirs[axis]]
            stretch = (their_high - their_low) / (high - low)
            row[2 * axis] = their_low + their_high - 1 - stretch * (low + high - 1)
            row[2 * axis + 1] = stretch
    return starts


_STARTS = _starts()


def _blur(sigma: float) -> Floats:
    """A Gaussian as a matrix (SIDE, SIDE) that leaves straight slopes as they are, up to the edges.

    Otherwise a mere gradient, such as a sky, would have details along its edges, and all skies would match.
    """
    pixels = np.arange(SIDE)
    distance = pixels - pixels[:, None]
    weights = np.exp(-0.5 * (distance / sigma) ** 2)
    zeroth, first, second = ((weights * distance**power).sum(axis=1, keepdims=True) for power in range(3))
    return np.asarray(weights * (second - first * distance) / (zeroth * second - first**2), np.float32)


_SOFT, _SHADING = _blur(_FINE), _blur(_COARSE)


def _smoothed(pictures: Floats, blur: Floats) -> Floats:
    return np.asarray(blur @ pictures @ blur.T, np.float32)


def _details(pictures: Floats) -> Floats:
    """What is left of pictures without their shading: (n, SIDE, SIDE)."""
    return pictures - _smoothed(pictures, _SHADING)


def _evened(details: Floats) -> Floats:
    """Details that all count alike: no single lamp, edge or horizon can make two pictures agree.

    They are divided by their local contrast, then what whole rows and whole columns have in common is taken
    away: photographs of any two flat landscapes agree in that.
    """
    # The blur has negative weights near the edges, so the local power may come out below zero there.
    power = np.maximum(_smoothed(details**2, _SHADING), 0)
    even = details / np.sqrt(power + np.float32(_FLOOR**2))
    even = even - even.mean(axis=1, keepdims=True)
    return np.asarray(even - even.mean(axis=2, keepdims=True), np.float32)


def _standard(pictures: Floats) -> Floats:
    """Pictures with mean 0 and standard deviation 1."""
    pictures = pictures - pictures.mean(axis=(1, 2), keepdims=True)
    return np.asarray(pictures / np.sqrt(np.mean(pictures**2, axis=(1, 2), keepdims=True)), np.float32)


def _halved(pictures: Floats) -> Floats:
    quarters = pictures.reshape(len(pictures), SIDE // 2, 2, SIDE // 2, 2)
    return np.asarray(quarters.mean(axis=(2, 4)), np.float32)


def _correlation(first: Floats, second: Floats, inside: Floats | None = None) -> Floats:
    """Pearson correlation of each pair of pictures (pairs, side, side), where ``inside`` is 1."""
    weights = np.ones((1, 1, 1), np.float32) if inside is None else inside
    count = np.maximum(np.broadcast_to(weights, first.shape).sum(axis=(1, 2), keepdims=True), 1)
    first, second = (
        (x - (x * weights).sum(axis=(1, 2), keepdims=True) / count) * weights for x in (first, second)
    )
    power = (first**2).sum(axis=(1, 2)) * (second**2).sum(axis=(1, 2))
    return np.asarray((first * second).sum(axis=(1, 2)) / np.sqrt(np.maximum(power, 1e-12)), np.float32)


def _best(found: _Candidates, measured: Floats, least: float) -> NearCopies:
    """Pairs that correlate enough, each once: plain or mirrored, whichever correlates more."""
    enough = measured >= np.where(found.mirrored, max(least, MIRRORED_CORRELATION), least)
    found, measured = found.take(enough), measured[enough]
    order = np.lexsort((-measured, found.second, found.first))
    order = order[_news(found.first[order], found.second[order])]
    return NearCopies(found.first[order], found.second[order], measured[order], found.mirrored[order])
