"""What each stage learns from: records made of described, rated images."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from foveal.assessment import LOWEST
from foveal.explanation.wordings import WORDINGS
from foveal.explanation.words import degrees_of, edited, write
from foveal.lab.reasoning.levels import Q_ALIGN, Floats, LevelSet
from foveal.lab.reasoning.question import Picture, Question
from foveal.lab.reasoning.reasoner import ASSESS, DESCRIBE, judge_question
from foveal.lab.reasoning.records import Record
from foveal.lab.reasoning.rule import Degrees, Rule, level_weights
from foveal.lab.reasoning.tune import Epoch

_WAYS = 60
"""Phrasings are numbers below this: divisible by any number of ways there is to say a thing."""


@dataclass(frozen=True, eq=False)
class DescribedImages:
    """Images with what is seen in them.

    Attributes:
        degrees: of each image, by attribute.
        places: of each image, where attributes stand out.
        mos: (images,) on 1-5; NaN for degraded copies, which nobody has rated.
        picture: gives the picture of an image by its number.
    """

    degrees: Sequence[Degrees]
    places: Sequence[Mapping[str, str]]
    mos: Floats
    picture: Callable[[int], Picture]

    def __len__(self) -> int:
        return len(self.degrees)

    def describe(self, image: int, random: Generator) -> str:
        """A reference description, phrased at random."""
        phrasing = random.integers(_WAYS, size=len(self.degrees[image])).tolist()
        return write(self.degrees[image], phrasing=phrasing, places=self.places[image])


def describing(images: DescribedImages, seed: int) -> Epoch:
    """Stage 1: image -> description. Phrasings are drawn anew each epoch."""

    def records(number: int) -> list[Record]:
        random = np.random.default_rng((seed, number, 1))
        return [
            Record(Question(DESCRIBE, images.picture(image)), images.describe(image, random))
            for image in range(len(images))
        ]

    return records


def assessing(
    images: DescribedImages,
    seed: int,
    *,
    levels: LevelSet = Q_ALIGN,
    scores: Floats | None = None,
    width: float = 0.0,
    direct: float = 0.0,
) -> Epoch:
    """The one-stage baseline: image -> description and verdict in one answer.

    Args:
        images: described and rated.
        seed: of the phrasings, and of what is asked directly.
        levels: words of the verdict.
        scores: what the verdict follows, on 1-5; by default each image's own MOS. Where it is NaN, only the
            description is learnt.
        width: of the weights of neighbouring levels; 0 learns the one word of the equal-range rule.
        direct: share of the verdicts that are asked for straight from the image, without a description: so
            that the image-only route is one that was learnt.
    """
    followed = images.mos if scores is None else scores
    weights = level_weights(np.nan_to_num(followed, nan=LOWEST), levels, width)

    def record(image: int, random: Generator) -> Record:
        told = images.describe(image, random)
        if np.isnan(followed[image]):
            return Record(Question(DESCRIBE, images.picture(image)), told)
        question, answer = ASSESS, f"{told} {_verdict(weights[image], levels)}"
        if random.random() < direct:
            question, answer = levels.question, _verdict(weights[image], levels)
        return Record(Question(question, images.picture(image)), answer, tuple(weights[image].tolist()))

    def records(number: int) -> list[Record]:
        random = np.random.default_rng((seed, number, 1))
        return [record(image, random) for image in range(len(images))]

    return records


@dataclass(frozen=True)
class Mixture:
    """What descriptions stage 2 learns to judge.

    Attributes:
        reference: share of descriptions written from the attributes themselves.
        generated: share of descriptions that stage 1 wrote, which closes the gap between training and use.
        edited: share of either with one to three attributes changed at random, which teaches what each is
            worth on its own.
    """

    reference: float = 0.3
    generated: float = 0.4
    edited: float = 0.3

    def __post_init__(self) -> None:
        shares = (self.reference, self.generated, self.edited)
        if min(shares) < 0 or abs(sum(shares) - 1) > 1e-9:
            raise ValueError(f"shares {shares} must be 0 or more and add up to 1")


def judging(
    images: DescribedImages,
    seed: int,
    *,
    generated: Sequence[Sequence[str]] = (),
    rule: Rule | None = None,
    mixture: Mixture | None = None,
    levels: LevelSet = Q_ALIGN,
    width: float = 0.0,
) -> Epoch:
    """Stage 2: description alone -> verdict. No record holds a picture.

    Args:
        images: described and rated; their pictures are not looked at.
        seed: of phrasings, choices and edits.
        generated: for each image the descriptions that stage 1 wrote of it.
        rule: what the verdict follows; without one it is the image's own MOS, and nothing is edited.
        mixture: of the descriptions; its shares are those of an epoch on average.
        levels: words of the verdict.
        width: of the weights of neighbouring levels.

    Raises:
        ValueError: generated descriptions are wanted and there are none, or edits without a rule.
    """
    mixture = mixture or Mixture()
    if mixture.generated and not generated:
        raise ValueError("the mixture wants generated descriptions, and there are none")
    if rule is None and np.isnan(images.mos).any():
        raise ValueError("without a rule every image needs a rating: leave degraded copies out")
    if mixture.edited and rule is None:
        raise ValueError("edited descriptions need a rule to judge them by")
    shares = [mixture.reference, mixture.generated, mixture.edited]

    def record(image: int, random: Generator) -> Record:
        kind = random.choice(3, p=shares)
        text = (
            generated[image][int(random.integers(len(generated[image])))]
            if kind == 1 or (kind == 2 and generated and random.random() < 0.5)
            else images.describe(image, random)
        )
        if kind == 2:
            text = _edit(text, random)
        score = images.mos[image] if rule is None else rule.score(degrees_of(text))
        weights = level_weights([score], levels, width)[0]
        return Record(judge_question(text, levels), f" {_word(weights, levels)}", tuple(weights.tolist()))

    def records(number: int) -> list[Record]:
        random = np.random.default_rng((seed, number, 2))
        return [record(image, random) for image in range(len(images))]

    return records


def _edit(text: str, random: Generator) -> str:
    told = list(degrees_of(text))
    if not told:
        return text
    for attribute in random.choice(told, size=min(len(told), int(random.integers(1, 4))), replace=False):
        text = edited(text, str(attribute), int(random.integers(WORDINGS[str(attribute)].degrees)))
    return text


def _word(weights: Floats, levels: LevelSet) -> str:
    return levels.words[int(np.argmax(weights))]


def _verdict(weights: Floats, levels: LevelSet) -> str:
    return f"{levels.statement} {_word(weights, levels)}."
