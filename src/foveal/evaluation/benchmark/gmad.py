"""gMAD: assessors attack each other with the images on which they disagree most.

Of two assessors one defends and one attacks. At some quality level the defender holds a group of images for
about equally good; of these the attacker shows the one that it likes best and the one that it likes least. If
people see the difference, the defender has failed; if they do not, the attacker has. Then the roles are
exchanged. (Ma, Wu, Wang, Duanmu, Yong, Li and Zhang, Group MAD competition: a new methodology to compare
objective image quality models, CVPR 2016.)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import permutations

import numpy as np
from numpy.typing import NDArray

from foveal.evaluation.pairs import Floats


@dataclass(frozen=True, slots=True)
class Duel:
    """One attack.

    Attributes:
        defender: its name.
        attacker: its name.
        level: of the defender's scores, from 1, the lowest.
        better: position of the image that the attacker likes best.
        worse: position of the one that it likes least.
        gap: what the attacker sees between them, in standard deviations of its scores.
    """

    defender: str
    attacker: str
    level: int
    better: int
    worse: int
    gap: float


def compete(scores: Mapping[str, Floats], *, levels: int, share: float) -> tuple[Duel, ...]:
    """Let each assessor attack each other one, at each level.

    Args:
        scores: float64 [n] of the same n images by assessor, higher is better, each in its own unit.
        levels: how many levels of the defender; they are spread evenly over its ranking.
        share: of the images, how many make a level (two at least): neighbours in the defender's ranking.

    Returns:
        Duels by defender, attacker and level. There is none where an attacker's scores of a level are all
        equal, and none at all with fewer than two images.
    """
    duels = []
    for defender, attacker in permutations(scores, 2):
        theirs = scores[attacker]
        for level, rows in enumerate(level_rows(scores[defender], levels, share), 1):
            better, worse = (int(rows[choose(theirs[rows])]) for choose in (np.argmax, np.argmin))
            if theirs[better] > theirs[worse]:
                gap = float((theirs[better] - theirs[worse]) / theirs.std())
                duels.append(Duel(defender, attacker, level, better, worse, gap))
    return tuple(duels)


def level_rows(scores: Floats, levels: int, share: float) -> list[NDArray[np.int64]]:
    """Images of each level of one assessor, lowest level first.

    The images of a level are neighbours in the ranking; the middles of the levels are at its odd fractions
    1/2L, 3/2L ... of L levels.

    Args:
        scores: float64 [n].
        levels: how many.
        share: of the images in each.

    Returns:
        Positions, int64 [m] in growing order; no levels with fewer than two images.
    """
    n = len(scores)
    if n < 2:
        return []
    size = min(n, max(2, round(share * n)))
    ranking = np.argsort(scores, kind="stable")
    rows = []
    for level in range(levels):
        middle = (level + 0.5) / levels * n
        start = min(max(round(middle - size / 2), 0), n - size)
        rows.append(np.sort(ranking[start : start + size]))
    return rows
