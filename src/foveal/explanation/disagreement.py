"""Where an explanation does not fit together. It is said, not smoothed over."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from foveal.assessment import HIGHEST, LOWEST, Interval
from foveal.explanation.explanation import Disagreement, Seen, Verdict

DEAD_ZONE = 1
"""A description whose polarities add up to -1, 0 or 1 takes no side."""
FAR = 2
"""So many degrees apart, what is said and what is measured differ."""

_MIDDLE = (LOWEST + HIGHEST) / 2


def differ(said: int, measured: int) -> bool:
    """Whether two degrees of an attribute are too far apart to mean the same."""
    return abs(said - measured) >= FAR


def disagreements(interval: Interval, verdict: Verdict, seen: Sequence[Seen]) -> tuple[Disagreement, ...]:
    """All that does not fit together.

    Args:
        interval: of the score, which an assessor gave by looking.
        verdict: what follows from the description.
        seen: what the description says, beside what is measured.

    Returns:
        In this order: the verdict's expected value lies outside the interval; the description's polarities,
        added up, take the other side of the middle than the likeliest level (as in ``contradictions`` of
        :mod:`foveal.lab.reasoning.diagnosis.grounding`); attributes measure otherwise than is said.
    """
    return (*_outside(interval, verdict), *_contradiction(verdict, seen), *_measured_otherwise(seen))


def _outside(interval: Interval, verdict: Verdict) -> Iterator[Disagreement]:
    if not interval.low <= verdict.quality <= interval.high:
        side = "below" if verdict.quality < interval.low else "above"
        yield Disagreement(
            "verdict-score",
            f"The verdict that follows from the description ({verdict.quality:.2f}) lies {side} the score's "
            f"interval ({interval.low:.2f} to {interval.high:.2f}).",
        )


def _contradiction(verdict: Verdict, seen: Sequence[Seen]) -> Iterator[Disagreement]:
    tone = sum(one.polarity for one in seen)
    said = np.sign(tone) if abs(tone) > DEAD_ZONE else 0
    judged = np.sign(verdict.value - _MIDDLE)
    if said and judged and said != judged:
        favour = sum(one.polarity > 0 for one in seen)
        against = sum(one.polarity < 0 for one in seen)
        yield Disagreement(
            "description-verdict",
            f"The description speaks {'for' if said > 0 else 'against'} the image on balance ({favour} for, "
            f"{against} against), yet its verdict is “{verdict.level}”.",
        )


def _measured_otherwise(seen: Sequence[Seen]) -> Iterator[Disagreement]:
    for one in seen:
        if one.differs and one.measured is not None:
            yield Disagreement(
                "said-measured",
                f"{one.attribute.replace('_', ' ').capitalize()}: the description says “{one.said.phrase}”, "
                f"measured is “{one.measured.phrase}”.",
                one.attribute,
            )
