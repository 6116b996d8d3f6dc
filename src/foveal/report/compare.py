"""Two judgements of each image, old and new: what changed, and whether that is more than chance."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from foveal.assessor import Assessor
from foveal.evaluation.paired import PairedDifference, paired_difference
from foveal.pipeline.rows import Row, to_row
from foveal.report.pairing import Pairing


@dataclass(frozen=True, slots=True)
class Pair:
    """One image before and after.

    Attributes:
        name: what both are called.
        old: its row before.
        new: its row after.
    """

    name: str
    old: Row
    new: Row

    @property
    def difference(self) -> float | None:
        """New quality less old; None if either could not be judged."""
        if self.old.quality is None or self.new.quality is None:
            return None
        return self.new.quality - self.old.quality

    @property
    def beyond(self) -> bool:
        """Whether the change is more than the half-width of either interval."""
        difference = self.difference
        return difference is not None and abs(difference) > max(half_width(self.old), half_width(self.new))


@dataclass(frozen=True, slots=True)
class Side:
    """What one of the two judgements is called, and which model made it."""

    label: str
    model: str


@dataclass(frozen=True, slots=True)
class Compared:
    """All pairs of a comparison.

    Attributes:
        old: the one side.
        new: the other.
        pairs: all, in the order of their names.
        only_old: paths without a partner on the one side.
        only_new: and on the other.
        difference: what the differences say together; None if no pair has both scores.
    """

    old: Side
    new: Side
    pairs: tuple[Pair, ...]
    only_old: tuple[str, ...]
    only_new: tuple[str, ...]
    difference: PairedDifference | None

    @property
    def failed(self) -> list[Pair]:
        """Pairs of which one or both could not be judged."""
        return [pair for pair in self.pairs if pair.difference is None]

    @property
    def changed(self) -> list[Pair]:
        """Pairs with a difference, the greatest change first; among equals the earlier ones."""
        return sorted(
            (pair for pair in self.pairs if pair.difference is not None),
            key=lambda pair: -abs(pair.difference or 0.0),
        )

    def most(self, count: int, direction: int) -> list[Pair]:
        """The pairs that rose (1) or fell (-1) most, at most ``count``."""
        moved = [pair for pair in self.changed if direction * (pair.difference or 0.0) > 0]
        return moved[:count]

    def beyond(self, direction: int) -> int:
        """How many rose (1) or fell (-1) by more than either interval's half-width."""
        return sum(pair.beyond and direction * (pair.difference or 0.0) > 0 for pair in self.pairs)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        found = self.difference
        return {
            "old": {"label": self.old.label, "model": self.old.model},
            "new": {"label": self.new.label, "model": self.new.model},
            "pairs": len(self.pairs),
            "judged": 0 if found is None else found.pairs,
            "difference": None if found is None else _statistics(found),
            "beyond_intervals": {"higher": self.beyond(1), "lower": self.beyond(-1)},
            "images": [_values(pair) for pair in self.pairs],
            "only_old": list(self.only_old),
            "only_new": list(self.only_new),
        }


def half_width(row: Row) -> float:
    """Half the width of a row's interval: its longer side, for the end of the scale may cut the other."""
    if row.quality is None or row.low is None or row.high is None:
        return 0.0
    return max(row.quality - row.low, row.high - row.quality)


def compared(pairing: Pairing, old: Side, new: Side, rows: Sequence[Sequence[Row]]) -> Compared:
    """Put rows beside each other.

    Args:
        pairing: which images belong together.
        old: the one side.
        new: the other.
        rows: of the old and of the new images, in the order of the pairs.
    """
    pairs = tuple(
        Pair(partners.name, before, after)
        for partners, before, after in zip(pairing.pairs, *rows, strict=True)
    )
    differences = [pair.difference for pair in pairs if pair.difference is not None]
    return Compared(
        old,
        new,
        pairs,
        pairing.only_old,
        pairing.only_new,
        paired_difference(differences) if differences else None,
    )


def judged(assessor: Assessor, paths: Sequence[str]) -> Iterator[Row]:
    """Judge images by their quality alone: what takes a prompt is left out.

    Raises:
        MissingExtraError: the assessor reads prompts, and ``tokenizers`` is not installed.
    """
    card = assessor.card
    prompts = None if card.prompt is None else ""
    for result in assessor.stream(paths, prompts=prompts, on_error="yield"):
        yield to_row(result, card.model, tuple(sorted(card.aspects)))


def _statistics(found: PairedDifference) -> dict[str, Any]:
    return {
        "mean": found.mean,
        "interval": None if found.low is None else [found.low, found.high],
        "level": found.level,
        "median": found.median,
        "higher": found.higher,
        "lower": found.lower,
        "equal": found.equal,
        "sign_p": found.sign_p,
        "wilcoxon_p": found.wilcoxon_p,
    }


def _values(pair: Pair) -> dict[str, Any]:
    return {
        "name": pair.name,
        "difference": pair.difference,
        "beyond_intervals": pair.beyond,
        "old": _side(pair.old),
        "new": _side(pair.new),
    }


def _side(row: Row) -> dict[str, Any]:
    if row.quality is None:
        return {"source": row.source, "quality": None, "error": row.error}
    return {"source": row.source, "quality": row.quality, "interval": [row.low, row.high]}
