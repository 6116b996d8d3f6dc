"""What tests of the diagnostics share: a toy vocabulary, a tiny real model, reasoners of known behaviour."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from foveal.lab.reasoning.diagnosis.parser import Parser
from foveal.lab.reasoning.levels import Q_ALIGN, LevelSet
from foveal.lab.reasoning.question import Question
from foveal.lab.reasoning.reasoner import OneStage, TwoStage
from foveal.lab.reasoning.vision_language import VisionLanguageModel

MERITS = {"sharpness": 1, "noise": -1, "warmth": 0, "contrast": 1}


@dataclass(frozen=True)
class Said:
    """A statement of the toy vocabulary."""

    attribute: str
    degree: int

    @property
    def polarity(self) -> int:
        """Against or for quality, away from degree 2."""
        return MERITS[self.attribute] * int(np.sign(self.degree - 2))


def _statements(text: str) -> list[Said]:
    return [Said(name, int(degree)) for name, degree in re.findall(r"(\w+) (\d);", text) if name in MERITS]


def _edited(text: str, attribute: str, degree: int) -> str:
    edited, count = re.subn(rf"{attribute} \d;", f"{attribute} {degree};", text)
    if not count:
        raise ValueError(attribute)
    return edited


TOY = Parser(_statements, _edited, MERITS, dict.fromkeys(MERITS, 4))
"""Reads ``sharpness 4; noise 0;`` and so on."""


def tell(**degrees: int) -> str:
    """A description in the toy vocabulary."""
    return " ".join(f"{name} {degree};" for name, degree in degrees.items())


class WordTokenizer:
    """Numbers words as it meets them."""

    def __init__(self) -> None:
        self.words: dict[str, int] = {}

    def __call__(self, text: str, **_: Any) -> dict[str, list[int]]:
        return {"input_ids": [self.words.setdefault(word, len(self.words)) for word in text.split()]}


@dataclass
class PlantedModel:
    """A judge whose score follows a rule of the question's text and picture."""

    rule: Callable[[Question], float]
    levels: LevelSet = Q_ALIGN
    tokenizer: WordTokenizer = field(default_factory=WordTokenizer)
    sharp: float = 4.0

    def next_token(self, questions: Sequence[Question], *, batch: int = 32) -> torch.Tensor:
        """Logits that fall with the square of a level's distance from the rule's score."""
        places = list(self.levels.tokens(self.tokenizer))
        logits = torch.full((len(questions), 64), -50.0)
        for row, question in enumerate(questions):
            far = np.asarray(self.levels.values) - self.rule(question)
            logits[row, places] = torch.tensor(-self.sharp * far**2, dtype=torch.float32)
        return logits


@dataclass
class PlantedReasoner:
    """Judges by a planted rule; the question's text is the description, its picture the picture."""

    rule: Callable[[Question], float]
    name: str = "planted"
    levels: LevelSet = Q_ALIGN

    def __post_init__(self) -> None:
        self.judging = PlantedModel(self.rule, self.levels)

    def verdict_question(self, picture: Any, description: str) -> Question:
        """The description, and the picture."""
        return Question(description, picture)


def pictures_of(count: int, height: int = 40, width: int = 60) -> list[NDArray[np.uint8]]:
    """Pictures that differ."""
    generator = np.random.default_rng(4)
    return [generator.integers(0, 256, (height, width, 3), np.uint8) for _ in range(count)]


@lru_cache
def tiny_llava(depth: int = 2) -> VisionLanguageModel:
    """A random small model whose layers, positions and pictures all matter; shared, not to be changed."""
    from foveal.lab.reasoning.small.build import DecoderShape, build_small
    from foveal.lab.reasoning.small.tower import TwoViewConfig, TwoViewTower

    config = TwoViewConfig(
        trunk="compact", trunk_config={"widths": [4, 4, 8, 8], "depths": [1, 1, 1, 1]}, layers=[4]
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        tower = TwoViewTower(config).eval().requires_grad_(False)
        texts = [tell(sharpness=1, noise=2, warmth=3, contrast=4) + " The quality of the image is good."] * 5
        shape = DecoderShape(width=16, depth=depth, heads=2, inner=32, vocabulary=400)
        model = build_small(tower, texts, shape)
        with torch.no_grad():
            for parameter in model.model.model.language_model.parameters():
                parameter.add_(0.3 * torch.randn_like(parameter))
    return model


class _Told:
    """Descriptions in the toy vocabulary, drawn at random: a random model writes none."""

    def describe(
        self, pictures: Sequence[Any], *, samples: int = 1, temperature: float = 0.0, seed: int = 0
    ) -> list[list[str]]:
        """Descriptions of each picture."""
        draw = np.random.default_rng(seed).integers
        return [[tell(**{name: int(draw(5)) for name in MERITS}) for _ in range(samples)] for _ in pictures]


class ToldOneStage(_Told, OneStage):
    """One stage that knows the toy vocabulary."""


class ToldTwoStage(_Told, TwoStage):
    """Two stages that know the toy vocabulary."""
