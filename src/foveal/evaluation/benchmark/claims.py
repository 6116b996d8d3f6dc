"""Whether an assessor has seen images of a set before, by what its card or the benchmark's file says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from foveal.evaluation.benchmark.config import Benchmark
from foveal.evaluation.benchmark.entrants import Entrant, Ready
from foveal.evaluation.benchmark.leaks import names_set
from foveal.evaluation.benchmark.rated_sets import RatedSet

_BY_CARD, _STATED = "by its card", "as stated"


@dataclass(frozen=True, slots=True)
class Claim:
    """What is said of one assessor and one set.

    Attributes:
        text: for people.
        leaks: whether test images may be among what it has seen, so that its figures are marked.
    """

    text: str
    leaks: bool


def find_claims(
    benchmark: Benchmark,
    sets: Mapping[str, RatedSet],
    entrants: Mapping[str, Entrant],
    shared: Mapping[tuple[str, str], int],
) -> dict[tuple[str, str], Claim]:
    """Compare what assessors have seen with what they are tested on.

    Args:
        benchmark: whose ``trained_on`` counts beside the cards.
        sets: by name.
        entrants: by name.
        shared: numbers of images that sets have in common.

    Returns:
        Claims by names of assessor and set; nothing where nothing speaks against a figure.
    """
    claims: dict[tuple[str, str], Claim] = {}
    for name, entrant in entrants.items():
        seen = _seen(benchmark, sets, name, entrant)
        for tested in sets.values():
            claim = _claim(seen, tested, sets, shared)
            if claim is not None:
                claims[name, tested.name] = claim
    return claims


def unstated(benchmark: Benchmark, entrants: Mapping[str, Entrant]) -> list[str]:
    """Assessors of which nobody says what they have seen."""
    return [
        name
        for name, entrant in entrants.items()
        if isinstance(entrant, Ready)
        and not entrant.training_data
        and not benchmark.assessors[name].trained_on
    ]


def _seen(benchmark: Benchmark, sets: Mapping[str, RatedSet], name: str, entrant: Entrant) -> dict[str, str]:
    """Sets that an assessor has seen images of, and who says so."""
    by_card = {
        rated.name: _BY_CARD for rated in sets.values() if names_set(entrant.training_data, rated.titles)
    }
    return {**by_card, **dict.fromkeys(benchmark.assessors[name].trained_on, _STATED)}


def _claim(
    seen: Mapping[str, str],
    tested: RatedSet,
    sets: Mapping[str, RatedSet],
    shared: Mapping[tuple[str, str], int],
) -> Claim | None:
    for source, who in seen.items():
        count = shared.get((source, tested.name))
        # A card that names this very set is about it, not about another set of the same images.
        if count and (who == _STATED or tested.name not in seen):
            images = f"{count:,} image{'s' if count > 1 else ''}"
            return Claim(f"has seen {source} ({who}), which shares {images} with {tested.name}", True)
    if tested.name not in seen:
        return None
    who = seen[tested.name]
    if sets[tested.name].config.split == "seeded":
        return Claim(
            f"has seen images of {tested.name} ({who}): those of seeded test parts may be among them", True
        )
    return Claim(
        f"has seen images of {tested.name} ({who}): fair only if these were of its official training part",
        False,
    )
