"""Statistics of a comparison in words, the same on pages and terminals."""

from __future__ import annotations

from foveal.evaluation.paired import PairedDifference

_LEAST_SHOWN = 0.0001


def p_value(p: float) -> str:
    """A p value with its sign of relation, as it follows a name of a test: ``p = 0.0312``."""
    return f"p < {_LEAST_SHOWN}" if p < _LEAST_SHOWN else f"p = {p:.4f}"


def interval(found: PairedDifference, decimals: int = 2) -> str:
    """The interval of the mean difference: ``95 % interval +0.10 to +0.31``."""
    if found.low is None or found.high is None:
        return "too few pairs for an interval"
    return f"{100 * found.level:g} % interval {found.low:+.{decimals}f} to {found.high:+.{decimals}f}"


def verdict(found: PairedDifference) -> str:
    """What the mean difference says, in one sentence, and how sure it is."""
    if found.low is None or found.high is None:
        return f"{found.pairs} pairs are too few to tell a difference from chance."
    if not (found.higher or found.lower):
        return "No image changed its score."
    if found.low > 0 or found.high < 0:
        side = "higher" if found.mean > 0 else "lower"
        return (
            f"The new scores are {side} on average, by {abs(found.mean):.2f} on the scale from 1 to 5: zero "
            f"lies outside the {100 * found.level:g} % interval of the mean difference."
        )
    return (
        f"No difference on average is shown: zero lies inside the {100 * found.level:g} % interval of the "
        "mean difference."
    )
