"""Two ways to a verdict: from image and description in one stage, or from the description alone in two.

Paper: "Building Reasonable Inference for Vision-Language Models in Blind Image Quality Assessment"
(arXiv 2512.09555). Both ways are asked alike here, so that their stability and honesty can be compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from foveal.lab.reasoning.levels import Q_ALIGN, Floats, LevelSet, closed_set
from foveal.lab.reasoning.question import Picture, Question
from foveal.lab.reasoning.vision_language import VisionLanguageModel

DESCRIBE = "Describe the visual features of the image."
"""Question of stage 1."""
ASSESS = "Describe the visual features of the image and rate its quality."
"""Question of the one-stage model."""


@dataclass(frozen=True, eq=False)
class Answer:
    """A description and the verdict that follows it.

    Attributes:
        description: what the model says it sees.
        probabilities: float64 (levels,), of the level words after this description.
        verdict: the word that was drawn, or at temperature 0 the likeliest.
    """

    description: str
    probabilities: Floats
    verdict: str

    @property
    def likeliest(self) -> int:
        """Place of the likeliest level in the level set."""
        return int(np.argmax(self.probabilities))


class Reasoner(Protocol):
    """Something that describes pictures and judges them.

    Attributes:
        name: for tables and pictures.
        levels: words of its verdict.
    """

    @property
    def name(self) -> str:
        """See the class."""

    @property
    def levels(self) -> LevelSet:
        """See the class."""

    @property
    def judging(self) -> VisionLanguageModel:
        """The model that gives the verdict."""

    def describe(
        self, pictures: Sequence[Picture], *, samples: int, temperature: float, seed: int
    ) -> list[list[str]]:
        """Descriptions of each picture, ``samples`` each."""

    def verdict_question(self, picture: Picture | None, description: str) -> Question:
        """What the judging model has read when it gives its verdict, the statement included."""


@dataclass(frozen=True, eq=False)
class OneStage:
    """Image -> description and verdict in one answer: the verdict sees the image and the description.

    Attributes:
        model: any image-text-to-text model.
        levels: words of the verdict.
        question: what is asked.
        most_tokens: length of an answer at most.
        batch: questions at a time.
    """

    model: VisionLanguageModel
    levels: LevelSet = Q_ALIGN
    question: str = ASSESS
    most_tokens: int = 200
    batch: int = 32
    name: str = "one-stage"

    @property
    def judging(self) -> VisionLanguageModel:
        """See :class:`Reasoner`."""
        return self.model

    def describe(
        self, pictures: Sequence[Picture], *, samples: int = 1, temperature: float = 0.0, seed: int = 0
    ) -> list[list[str]]:
        """What the model writes up to its verdict."""
        asked = [Question(self.question, picture) for picture in pictures]
        written = self.model.go_on(
            asked,
            samples=samples,
            temperature=temperature,
            most_tokens=self.most_tokens,
            seed=seed,
            batch=self.batch,
        )
        return [[_before(text, self.levels.statement) for text in texts] for texts in written]

    def verdict_question(self, picture: Picture | None, description: str) -> Question:
        """The image, and the answer up to the verdict."""
        return Question(self.question, picture, _joined(description, self.levels.statement))


@dataclass(frozen=True, eq=False)
class TwoStage:
    """Image -> description; description alone -> verdict, which so has no other ground than what was said.

    Attributes:
        describer: model of stage 1.
        judge: model of stage 2; it gets no picture. May be the same model.
        levels: words of the verdict.
        question: what stage 1 is asked.
        most_tokens: length of a description at most.
        batch: questions at a time.
    """

    describer: VisionLanguageModel
    judge: VisionLanguageModel
    levels: LevelSet = Q_ALIGN
    question: str = DESCRIBE
    most_tokens: int = 200
    batch: int = 32
    name: str = "two-stage"

    @property
    def judging(self) -> VisionLanguageModel:
        """See :class:`Reasoner`."""
        return self.judge

    def describe(
        self, pictures: Sequence[Picture], *, samples: int = 1, temperature: float = 0.0, seed: int = 0
    ) -> list[list[str]]:
        """What stage 1 writes."""
        asked = [Question(self.question, picture) for picture in pictures]
        written = self.describer.go_on(
            asked,
            samples=samples,
            temperature=temperature,
            most_tokens=self.most_tokens,
            seed=seed,
            batch=self.batch,
        )
        return [[_before(text, self.levels.statement) for text in texts] for texts in written]

    def verdict_question(self, picture: Picture | None, description: str) -> Question:
        """The description alone, and the statement; the picture is not looked at."""
        return judge_question(description, self.levels)


def judge_question(description: str, levels: LevelSet = Q_ALIGN) -> Question:
    """Stage 2's question: the description stands in the user's turn, and there is no picture."""
    return Question(f"{description.strip()}\n{levels.question}", None, levels.statement)


def verdicts(
    reasoner: Reasoner, pictures: Sequence[Picture], descriptions: Sequence[str], *, batch: int = 64
) -> Floats:
    """Level probabilities after given descriptions, as the reasoner would judge them.

    Args:
        reasoner: one-stage or two-stage.
        pictures: one a description; two-stage reasoners do not look at them.
        descriptions: real, sampled or edited ones.
        batch: questions at a time.

    Returns:
        float64 (descriptions, levels).
    """
    model, levels = reasoner.judging, reasoner.levels
    asked = [
        reasoner.verdict_question(picture, description)
        for picture, description in zip(pictures, descriptions, strict=True)
    ]
    return levels.probabilities(model.next_token(asked, batch=batch), model.tokenizer)


def answer(
    reasoner: Reasoner,
    pictures: Sequence[Picture],
    *,
    samples: int = 1,
    temperature: float = 0.0,
    seed: int = 0,
) -> list[list[Answer]]:
    """Ask for description and verdict of each picture, several times.

    Args:
        reasoner: one-stage or two-stage.
        pictures: images.
        samples: answers to each image.
        temperature: of the description's tokens and of the verdict word; 0 takes the likeliest.
        seed: of both draws.

    Returns:
        For each picture its answers.

    Raises:
        ValueError: several samples at temperature 0.
    """
    told = reasoner.describe(pictures, samples=samples, temperature=temperature, seed=seed)
    owners = [picture for picture, texts in zip(pictures, told, strict=True) for _ in texts]
    flat = [text for texts in told for text in texts]
    probabilities = verdicts(reasoner, owners, flat)
    drawn = draw_levels(probabilities, temperature, seed)
    answers = [
        Answer(text, row, reasoner.levels.words[level])
        for text, row, level in zip(flat, probabilities, drawn, strict=True)
    ]
    return [answers[start : start + samples] for start in range(0, len(answers), samples)]


def draw_levels(probabilities: Floats, temperature: float, seed: int) -> NDArray[np.int64]:
    """Draw a level for each row of probabilities (n, levels), sharpened or flattened by the temperature."""
    if temperature == 0:
        return np.asarray(probabilities.argmax(axis=1), np.int64)
    logits = np.log(np.maximum(probabilities, 1e-300)) / temperature
    # Gumbel's trick: the largest of logits with such noise is a draw from their softmax.
    noise = np.random.default_rng(seed).gumbel(size=probabilities.shape)
    return np.asarray((logits + noise).argmax(axis=1), np.int64)


def closed_set_scores(reasoner: Reasoner, pictures: Sequence[Picture], descriptions: Sequence[str]) -> Floats:
    """Quality on 1-5 of each picture from its description's verdict: float64 (pictures,)."""
    return reasoner.levels.quality(verdicts(reasoner, pictures, descriptions))


def image_only_scores(
    model: VisionLanguageModel, pictures: Sequence[Picture], levels: LevelSet = Q_ALIGN
) -> Floats:
    """Quality on 1-5 straight from the image, without a description: float64 (pictures,)."""
    asked = [Question(levels.question, picture) for picture in pictures]
    return levels.quality(closed_set(model, asked, levels))


def _before(text: str, statement: str) -> str:
    return text.split(statement, 1)[0].strip()


def _joined(description: str, statement: str) -> str:
    return f"{description.strip()} {statement}" if description.strip() else statement
