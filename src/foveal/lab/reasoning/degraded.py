"""Degraded copies of training images: what is seen in them is known, and wider than photographs show it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from foveal.imaging.decode import decode
from foveal.imaging.degradations import DEGRADATIONS, degrade
from foveal.imaging.views import Pixels

_LONGEST_SMEAR = 0.06  # of the shorter side
_FEWEST_LEVELS, _MOST_LEVELS = 6, 48
_LEAST, _MOST = 0.15, 1.0  # severity


def smear(pixels: Pixels, severity: float) -> Pixels:
    """Motion blur: the image averaged over a shift to the right, and half as far down.

    Args:
        pixels: uint8 (height, width, 3).
        severity: above 0 to 1; at 1 the shift is 6 % of the shorter side.
    """
    steps = max(2, round(_LONGEST_SMEAR * severity * min(pixels.shape[:2])))
    total = np.zeros(pixels.shape, np.float32)
    for step in range(steps):
        total += np.roll(pixels, (step // 2, step), axis=(0, 1))
    return np.asarray(np.rint(total / steps), np.uint8)


def posterise(pixels: Pixels, severity: float) -> Pixels:
    """Banding: fewer levels a channel, from 48 down to 6 at severity 1."""
    levels = _MOST_LEVELS * (_FEWEST_LEVELS / _MOST_LEVELS) ** severity
    step = 255 / (round(levels) - 1)
    return np.asarray(np.rint(np.rint(pixels / step) * step), np.uint8)


_MORE: dict[str, Callable[[Pixels, float], Pixels]] = {"motion-blur": smear, "banding": posterise}
KINDS = (*DEGRADATIONS, *_MORE)
"""Every kind of degradation that copies are made by."""


@dataclass(frozen=True)
class Sight:
    """An image to look at: a file, perhaps degraded.

    Attributes:
        path: of the file.
        kind: one of :data:`KINDS`; None leaves the image as it is.
        severity: in [0, 1].
    """

    path: Path
    kind: str | None = None
    severity: float = 0.0

    def pixels(self) -> Pixels:
        """Decode, and degrade.

        Raises:
            ImageError: the file cannot be read.
        """
        pixels = decode(self.path).pixels
        if self.kind is None:
            return pixels
        if self.kind in _MORE:
            return _MORE[self.kind](pixels, self.severity)
        return degrade(pixels, self.kind, self.severity)

    @property
    def label(self) -> str:
        """What tells it from other sights of the same file."""
        return f"{self.path.name} {self.kind} {self.severity:.6f}"


def draw_copies(paths: Sequence[Path], share: float, seed: int) -> list[tuple[int, Sight]]:
    """Choose images to be copied, each once at most, with kind and severity.

    Args:
        paths: images.
        share: of them that gets a copy, 0 to 1.
        seed: of the draw.

    Returns:
        Number of the image, and its degraded copy.
    """
    random = np.random.default_rng((seed, len(paths)))
    chosen = np.sort(random.permutation(len(paths))[: round(share * len(paths))])
    return [
        (
            int(number),
            Sight(
                paths[number], KINDS[int(random.integers(len(KINDS)))], float(random.uniform(_LEAST, _MOST))
            ),
        )
        for number in chosen
    ]
