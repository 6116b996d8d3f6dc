"""Does the verdict follow from what was said? Attributes are parsed from descriptions and held against it.

The two-stage paper (arXiv 2512.09555) finds verdicts of one-stage models weakly related to the features that
they describe, and descriptions that contradict the verdict.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from foveal.assessment import HIGHEST, LOWEST
from foveal.evaluation.significance import Estimate
from foveal.lab.reasoning.diagnosis.information import Information, tell_of_verdict
from foveal.lab.reasoning.diagnosis.intervals import mean_interval, quotient_interval, shown
from foveal.lab.reasoning.diagnosis.parser import Parser
from foveal.lab.reasoning.diagnosis.ridge import explain
from foveal.lab.reasoning.levels import Floats, LevelSet

DEAD_ZONE = 1
"""A description whose polarities add up to -1, 0 or 1 takes no side."""
MIDDLE = (LOWEST + HIGHEST) / 2


@dataclass(frozen=True, eq=False)
class Grounding:
    """How a reasoner's verdicts hang together with its descriptions.

    Attributes:
        r2: cross-validated R squared of closed-set scores on attribute degrees, on other images; its interval
            is of the images' errors, the regressions being as they are.
        r2_by_kind: the same on the attributes of each kind alone, where the parser knows kinds.
        information: what each attribute tells of the likeliest level.
        contradiction: share of all answers that contradict themselves; see :func:`contradictions`.
        contradiction_of_sided: the same, of the answers in which description and verdict both take a side.
        sided: share of answers in which both do.
        parsed: share of answers with any statement that the parser knows.
        by_image: float64 (images,), each image's share of contradicting answers.
    """

    r2: Estimate
    r2_by_kind: dict[str, Estimate]
    information: tuple[Information, ...]
    contradiction: Estimate
    contradiction_of_sided: Estimate
    sided: float
    parsed: float
    by_image: Floats

    def to_dict(self) -> dict[str, Any]:
        """All figures; those of single images are left to tables."""
        return {
            "r2": shown(self.r2),
            "r2_by_kind": {kind: shown(one) for kind, one in self.r2_by_kind.items()},
            "information": [one.to_dict() for one in self.information],
            "contradiction": shown(self.contradiction),
            "contradiction_of_sided": shown(self.contradiction_of_sided),
            "sided": self.sided,
            "parsed": self.parsed,
            "dead_zone": DEAD_ZONE,
        }


def contradictions(tones: ArrayLike, values: ArrayLike, dead_zone: float = DEAD_ZONE) -> NDArray[np.int64]:
    """Whether descriptions and verdicts lie on opposite sides of the middle.

    A description's side is the sign of the sum of its statements' polarities, where that lies beyond the dead
    zone; a verdict's side is the sign of its level's value less 3. An answer contradicts itself if both take
    a side, and not the same.

    Args:
        tones: (...) sums of polarities.
        values: (...) values of the verdict levels on 1-5.
        dead_zone: sums of at most this size take no side.

    Returns:
        int64 (...): 1 for a contradiction, 0 for none though both take a side, -1 where one takes none.
    """
    sums, worth = np.asarray(tones, np.float64), np.asarray(values, np.float64)
    said = np.where(np.abs(sums) > dead_zone, np.sign(sums), 0)
    judged = np.sign(worth - MIDDLE)
    return np.asarray(np.where((said == 0) | (judged == 0), -1, said != judged), np.int64)


def measure_grounding(
    texts: Sequence[Sequence[str]],
    probabilities: ArrayLike,
    drawn: ArrayLike,
    levels: LevelSet,
    parser: Parser,
    *,
    seed: int = 0,
) -> Grounding:
    """Hold verdicts against descriptions.

    Args:
        texts: for each image its sampled descriptions, equally many.
        probabilities: (images, samples, levels) behind each description.
        drawn: (images, samples) levels of the drawn verdicts, which contradictions are counted on.
        levels: their words and values.
        parser: parser of descriptions.
        seed: of folds, permutations and bootstrap.
    """
    chances = np.asarray(probabilities, np.float64)
    shape = chances.shape[:2]
    flat = [text for told in texts for text in told]
    degrees = parser.degrees(flat).reshape(*shape, -1)
    scores = levels.quality(chances)
    likeliest = np.asarray(chances.argmax(axis=2), np.int64)
    sides = contradictions(
        parser.tones(flat).reshape(shape), np.asarray(levels.values)[np.asarray(drawn, np.int64)]
    )
    against, sided = (sides == 1).sum(axis=1), (sides >= 0).sum(axis=1)
    return Grounding(
        r2=_r2(degrees, scores, seed),
        r2_by_kind={
            kind: _r2(
                degrees[:, :, [parser.kinds.get(name) == kind for name in parser.attributes]], scores, seed
            )
            for kind in sorted(set(parser.kinds.values()))
        },
        information=tuple(
            tell_of_verdict(name, degrees[:, :, place], likeliest, seed=seed)
            for place, name in enumerate(parser.attributes)
        ),
        contradiction=mean_interval(against / shape[1], seed=seed),
        contradiction_of_sided=quotient_interval(against, sided, seed=seed),
        sided=float((sides >= 0).mean()),
        parsed=float(np.isfinite(degrees).any(axis=2).mean()),
        by_image=np.asarray(against / shape[1], np.float64),
    )


def _r2(degrees: Floats, scores: Floats, seed: int) -> Estimate:
    """Cross-validated R squared of scores (images, samples) on degrees (images, samples, attributes)."""
    explained = explain(degrees, scores, seed=seed)
    unexplained = quotient_interval(explained.errors, explained.spread, seed=seed)
    return Estimate(1 - unexplained.value, 1 - unexplained.high, 1 - unexplained.low, unexplained.level)
