"""Ask one reasoner about pictures batch by batch, and keep what the diagnostics need."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from foveal.errors import FovealError
from foveal.evaluation.significance import Estimate, bootstrap_interval
from foveal.imaging.views import Pixels
from foveal.lab.reasoning.diagnosis.attention import Attention, AttentionMean, add_attention
from foveal.lab.reasoning.diagnosis.counterfactual import (
    Change,
    Effect,
    judge_edits,
    summarise,
    summarise_kinds,
)
from foveal.lab.reasoning.diagnosis.grounding import Grounding, measure_grounding
from foveal.lab.reasoning.diagnosis.intervals import LEVEL, shown
from foveal.lab.reasoning.diagnosis.lens import LensReading, read_lens
from foveal.lab.reasoning.diagnosis.parser import Parser
from foveal.lab.reasoning.diagnosis.pictures import looked_at
from foveal.lab.reasoning.diagnosis.stability import LAST_LAYERS, Stability, measure_stability
from foveal.lab.reasoning.levels import Floats
from foveal.lab.reasoning.question import Picture
from foveal.lab.reasoning.reasoner import Answer, Reasoner, draw_levels, image_only_scores, verdicts

_DEEP = 8
"""Questions at a time where all layers of all tokens are held."""


@dataclass(frozen=True, slots=True)
class DiagnoseConfig:
    """How models are asked.

    Attributes:
        samples: answers to each image.
        temperature: of their draw.
        last_layers: layers before the output in which verdicts may still flip.
        batch: pictures and questions at a time.
        seed: of all draws.
    """

    samples: int = 5
    temperature: float = 1.0
    last_layers: int = LAST_LAYERS
    batch: int = 32
    seed: int = 0

    def __post_init__(self) -> None:
        if self.samples < 2:
            raise ValueError(f"{self.samples} samples: stability needs at least two answers to an image")
        if not self.temperature > 0:
            raise ValueError(f"temperature {self.temperature}: answers would all be the same")
        if self.batch < 1 or self.last_layers < 1:
            raise ValueError("batch and last_layers are at least 1")


@dataclass(frozen=True, eq=False)
class ReasonerDiagnosis:
    """Everything that was found about one reasoner.

    Attributes:
        name: its name.
        sees: whether its verdict sees the image.
        answers: for each image its sampled answers.
        greedy: for each image the likeliest answer.
        image_only: float64 (images,), quality straight from the image; None where the verdict sees none.
        stability: does it say the same again?
        grounding: does the verdict follow from the description?
        changes: what edits of the likeliest descriptions did, one by one.
        effects: what they did, in all and by attribute; empty where nothing could be edited.
        kinds: what they did by kind of attribute, where the parser knows kinds.
        lens: what each layer would say after the likeliest description.
        words: the lens's candidates as text, (images, layers, candidates).
        attention: what the verdict looks at.
        agreement: SRCC and PLCC with people, of the likeliest answers' closed-set scores.
        image_agreement: the same of ``image_only``.
    """

    name: str
    sees: bool
    answers: list[list[Answer]]
    greedy: list[Answer]
    image_only: Floats | None
    stability: Stability
    grounding: Grounding
    changes: list[Change]
    effects: tuple[Effect, ...]
    kinds: tuple[Effect, ...]
    lens: LensReading
    words: NDArray[np.str_]
    attention: Attention
    agreement: dict[str, Estimate]
    image_agreement: dict[str, Estimate] | None

    def to_dict(self) -> dict[str, Any]:
        """All figures, without those of single images."""
        agreement = {name: shown(one) for name, one in self.agreement.items()}
        of_image = self.image_agreement
        return {
            "verdict_sees_image": self.sees,
            "agreement": agreement,
            "image_only_agreement": None
            if of_image is None
            else {name: shown(one) for name, one in of_image.items()},
            "stability": self.stability.to_dict(),
            "grounding": self.grounding.to_dict(),
            "counterfactuals": [effect.to_dict() for effect in self.effects],
            "counterfactuals_by_kind": [effect.to_dict() for effect in self.kinds],
            "lens": {
                "closed_set_by_layer": self.lens.closed.mean(axis=0).tolist(),
                "agreement_with_output_by_layer": self.lens.agreement.tolist(),
                "top_candidates_mass_by_layer": self.lens.probabilities.sum(axis=2).mean(axis=0).tolist(),
            },
            "attention": self.attention.to_dict(),
        }


class Collector:
    """Takes up pictures of a reasoner, then measures.

    Args:
        reasoner: who is asked.
        config: how.
        parser: parser of descriptions.
    """

    def __init__(self, reasoner: Reasoner, config: DiagnoseConfig, parser: Parser) -> None:
        self._reasoner, self._config, self._parser = reasoner, config, parser
        self._answers: list[list[Answer]] = []
        self._drawn: list[NDArray[np.int64]] = []
        self._greedy: list[Answer] = []
        self._image_only: list[Floats] = []
        self._changes: list[Change] = []
        self._lens: list[LensReading] = []
        self._attention = AttentionMean()

    def take(self, pixels: Sequence[Pixels]) -> None:
        """Ask about further pictures, some at a time."""
        reasoner, batch = self._reasoner, self._config.batch
        start = len(self._greedy)
        pictures = looked_at(reasoner, pixels)
        self._sample(pictures, start)
        texts = [told[0] for told in reasoner.describe(pictures, samples=1, temperature=0.0, seed=0)]
        chances = verdicts(reasoner, pictures, texts, batch=batch)
        self._greedy += self._as_answers(texts, chances, chances.argmax(axis=1))
        if _sees(reasoner, pictures[0]):
            self._image_only.append(image_only_scores(reasoner.judging, pictures, reasoner.levels))
        self._changes += judge_edits(reasoner, pictures, texts, self._parser, first=start, batch=batch)
        asked = [
            reasoner.verdict_question(picture, text) for picture, text in zip(pictures, texts, strict=True)
        ]
        deep = min(batch, _DEEP)
        self._lens.append(read_lens(reasoner.judging, asked, reasoner.levels, batch=deep))
        add_attention(self._attention, reasoner, pictures, texts, batch=deep)

    def _sample(self, pictures: Sequence[Picture], start: int) -> None:
        config, reasoner = self._config, self._reasoner
        # Each batch has a seed of its own, or all would draw with the same noise.
        seed = int(np.random.default_rng([config.seed, start]).integers(2**31))
        told = reasoner.describe(pictures, samples=config.samples, temperature=config.temperature, seed=seed)
        owners = [picture for picture, texts in zip(pictures, told, strict=True) for _ in texts]
        flat = [text for texts in told for text in texts]
        chances = verdicts(reasoner, owners, flat, batch=config.batch)
        drawn = draw_levels(chances, config.temperature, seed)
        answers = self._as_answers(flat, chances, drawn)
        count = config.samples
        self._answers += [answers[place : place + count] for place in range(0, len(answers), count)]
        self._drawn.append(drawn.reshape(-1, count))

    def _as_answers(self, texts: Sequence[str], chances: Floats, levels: NDArray[np.int64]) -> list[Answer]:
        words = self._reasoner.levels.words
        return [
            Answer(text, row, words[level]) for text, row, level in zip(texts, chances, levels, strict=True)
        ]

    def measure(self, mos: Floats) -> ReasonerDiagnosis:
        """All diagnostics of what was taken up.

        Args:
            mos: float64 (images,), people's ratings on 1-5; NaN where there is none.
        """
        config, levels = self._config, self._reasoner.levels
        drawn = np.concatenate(self._drawn)
        chances = np.array([[answer.probabilities for answer in told] for told in self._answers])
        lens = LensReading.joined(self._lens)
        scores = levels.quality(np.array([answer.probabilities for answer in self._greedy]))
        image_only = np.concatenate(self._image_only) if self._image_only else None
        return ReasonerDiagnosis(
            name=self._reasoner.name,
            sees=image_only is not None,
            answers=self._answers,
            greedy=self._greedy,
            image_only=image_only,
            stability=measure_stability(
                drawn, chances.argmax(axis=2), lens.levels, last=config.last_layers, seed=config.seed
            ),
            grounding=measure_grounding(
                [[answer.description for answer in told] for told in self._answers],
                chances,
                drawn,
                levels,
                self._parser,
                seed=config.seed,
            ),
            changes=self._changes,
            effects=summarise(self._changes, len(self._greedy), seed=config.seed),
            kinds=summarise_kinds(self._changes, self._parser.kinds, len(self._greedy), seed=config.seed),
            lens=lens,
            words=_words(self._reasoner.judging.tokenizer, lens.tokens),
            attention=self._attention.result(),
            agreement=agreement(scores, mos, seed=config.seed),
            image_agreement=None if image_only is None else agreement(image_only, mos, seed=config.seed),
        )


def collect(
    reasoners: Sequence[Reasoner],
    batches: Sequence[Sequence[Any]],
    read: Callable[[Sequence[Any]], list[Pixels]],
    *,
    config: DiagnoseConfig,
    parser: Parser,
    tell: Callable[[str, int, int], None],
) -> list[Collector]:
    """Show every batch of pictures to every reasoner; a batch is decoded once and then let go.

    Args:
        reasoners: who is asked.
        batches: of sources.
        read: decodes a batch, or what of it can be decoded.
        config: how they are asked.
        parser: parser of descriptions.
        tell: called after each batch with what is done, and how many of how many pictures.
    """
    collectors = [Collector(reasoner, config, parser) for reasoner in reasoners]
    total, done = sum(len(batch) for batch in batches), 0
    for batch in batches:
        pixels = read(batch)
        for collector in collectors if pixels else ():
            collector.take(pixels)
        done += len(batch)
        tell("asking", done, total)
    return collectors


def agreement(scores: Floats, mos: Floats, *, seed: int = 0) -> dict[str, Estimate]:
    """SRCC and PLCC with 95 % intervals; NaN where undefined, as of a model that gives all the same score."""
    rated = np.isfinite(mos)
    kinds: tuple[Literal["srcc", "plcc"], ...] = ("srcc", "plcc")
    found: dict[str, Estimate] = {}
    for kind in kinds:
        try:
            found[kind] = bootstrap_interval(scores[rated], mos[rated], kind, level=LEVEL, seed=seed)
        except ValueError:
            found[kind] = Estimate(math.nan, math.nan, math.nan, LEVEL)
    return found


def _sees(reasoner: Reasoner, picture: Picture) -> bool:
    return reasoner.verdict_question(picture, "").picture is not None


def _words(tokenizer: Any, tokens: NDArray[np.int64]) -> NDArray[np.str_]:
    kinds, places = np.unique(tokens, return_inverse=True)
    texts = tokenizer.batch_decode([[int(kind)] for kind in kinds])
    if len(texts) != len(kinds):
        raise FovealError("the tokenizer does not decode tokens one by one")
    return np.array(texts)[places.reshape(tokens.shape)]
