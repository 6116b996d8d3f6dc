"""Train describer, judge and the one-stage model of a recipe; a run goes on after its last finished part."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.torch import load_file, save_file

from foveal.evaluation.correlation import plcc, srcc
from foveal.explanation.words import degrees_of
from foveal.lab.reasoning.align import Alignment, align_projector
from foveal.lab.reasoning.levels import LEVELS
from foveal.lab.reasoning.prepare import Prepared, Tell, load_tower, prepare, read_parts
from foveal.lab.reasoning.question import Question
from foveal.lab.reasoning.reasoner import (
    ASSESS,
    DESCRIBE,
    OneStage,
    Reasoner,
    TwoStage,
    closed_set_scores,
    judge_question,
)
from foveal.lab.reasoning.recipe import LargeConfig, ReasoningRecipe
from foveal.lab.reasoning.rule import Rule, fit_rule
from foveal.lab.reasoning.small.build import build_small
from foveal.lab.reasoning.stages import DescribedImages, assessing, describing, judging
from foveal.lab.reasoning.stamps import DESCRIBE_PART, GENERATED, JUDGE_PART, ONE_STAGE_PART, Stamps
from foveal.lab.reasoning.tune import Epoch, Tuning, tune
from foveal.lab.reasoning.vision_language import VisionLanguageModel
from foveal.lab.training.prepare import locate_backbone

_TEXTS_FOR_TOKENS = 4000
_GENERATION_BATCH = 128


def train_reasoning(
    recipe: ReasoningRecipe, out: Path, *, cache: Path | None = None, tell: Tell = lambda *_: None
) -> dict[str, Any]:
    """Follow a recipe.

    Args:
        recipe: it.
        out: folder of the run; parts that are finished there are not trained again, if they were made of what
            the recipe says.
        cache: folder of tower tokens and readings, which several runs may share; by default within ``out``.
        tell: told of the progress.

    Returns:
        Figures on the validation part, which are also written to ``run.json``.

    Raises:
        RecipeError: a part that is there was made with other settings.
        FovealError: ratings, images or models cannot be read.
    """
    out.mkdir(parents=True, exist_ok=True)
    stamps = Stamps(out, recipe)
    stamps.begin()
    run = _Run(recipe, prepare(recipe, cache or out / "cache", tell), out, stamps, tell)
    train, levels, verdict = run.prepared.train, LEVELS[recipe.verdict.levels], recipe.verdict
    rule = run.rule()
    describer = run.stage(DESCRIBE_PART, recipe.describe, describing(train, recipe.seed))
    to_judge = judging(
        train,
        recipe.seed,
        generated=run.generated(describer),
        rule=rule,
        mixture=recipe.mixture,
        levels=levels,
        width=verdict.width,
    )
    judge = run.stage(JUDGE_PART, recipe.judge, to_judge)
    reasoners: list[Reasoner] = [TwoStage(describer, judge, levels, batch=_GENERATION_BATCH)]
    if recipe.one_stage is not None:
        followed = rule.scores(train.degrees) if rule is not None and verdict.one_stage_rule else None
        to_assess = assessing(
            train,
            recipe.seed,
            levels=levels,
            scores=followed,
            width=verdict.one_stage_width,
            direct=verdict.one_stage_direct,
        )
        whole = run.stage(ONE_STAGE_PART, recipe.one_stage, to_assess)
        reasoners.append(OneStage(whole, levels, batch=_GENERATION_BATCH))
    figures = {reasoner.name: measure_agreement(reasoner, run.prepared.validation) for reasoner in reasoners}
    _write(out / "run.json", {"validation": figures})
    return figures


def check_recipe(recipe: ReasoningRecipe) -> str:
    """Read ratings and model, train nothing: a line that says what would be trained, on how much.

    Raises:
        FovealError: ratings or model cannot be read.
    """
    parts = read_parts(recipe)
    if recipe.large is not None:
        model = _load_large(recipe, recipe.large).name
    elif recipe.small is not None:
        tower = load_tower(recipe, recipe.small.trunk, recipe.small.layers)
        model = f"a small model on {tower.config.trunk}, {tower.config.hidden_size} features a place"
    return f"{model}; {len(parts.train):,} images to train, {len(parts.validation):,} to validate"


def measure_agreement(reasoner: Reasoner, images: DescribedImages) -> dict[str, float | None]:
    """SRCC and PLCC of the closed-set verdict after the likeliest description, with people's ratings.

    None where a correlation is undefined: hardly trained models say the same of every image.
    """
    pictures = [images.picture(image) for image in range(len(images))]
    told = [texts[0] for texts in reasoner.describe(pictures, samples=1, temperature=0.0, seed=0)]
    scores = closed_set_scores(reasoner, pictures, told)
    right = [
        np.mean([degrees_of(text).get(name) == degree for name, degree in wanted.items()])
        for text, wanted in zip(told, images.degrees, strict=True)
    ]
    constant = float(np.ptp(scores)) == 0 or float(np.ptp(images.mos)) == 0
    return {
        "srcc": None if constant else srcc(scores, images.mos),
        "plcc": None if constant else plcc(scores, images.mos),
        "degrees_right": float(np.mean(right)),
    }


@dataclass(frozen=True, eq=False)
class _Run:
    """A run in its folder."""

    recipe: ReasoningRecipe
    prepared: Prepared
    out: Path
    stamps: Stamps
    tell: Tell

    def stage(self, name: str, tuning: Tuning, epoch: Epoch) -> VisionLanguageModel:
        """Train one model, or load it if it is there."""
        folder = self.out / name
        if folder.exists():
            self.stamps.check(name)
            return _load(folder, self.recipe.large)
        tuned = tune(
            self._begin(),
            epoch,
            replace(tuning, seed=tuning.seed + self.recipe.seed),
            levels=LEVELS[self.recipe.verdict.levels],
            tell=lambda step, steps, loss: self.tell(name, step, steps, f"loss {loss:.3f}"),
        )
        # It appears whole or not at all: what is there is taken for finished.
        part = self.out / f"{name}.part"
        shutil.rmtree(part, ignore_errors=True)
        tuned.model.save(part)
        _write(part / "training.json", {"losses": list(tuned.losses), "seconds": round(tuned.seconds, 1)})
        self.stamps.keep(name)
        part.rename(folder)
        return tuned.model

    def rule(self) -> Rule | None:
        """What the judge is to follow, fitted and written down."""
        if not self.recipe.verdict.rule:
            return None
        rule = fit_rule(self.prepared.rated.degrees, self.prepared.rated.mos)
        effects = {name: curve.tolist() for name, curve in rule.effects.items()}
        _write(self.out / "rule.json", {"base": rule.base, "effects": effects})
        return rule

    def generated(self, describer: VisionLanguageModel) -> list[list[str]]:
        """What stage 1 says of the training images, sampled as it believes."""
        recipe, train, file = self.recipe, self.prepared.train, self.out / "generated.json"
        if not recipe.mixture.generated:
            return []
        if file.exists():
            self.stamps.check(GENERATED)
            stored: list[list[str]] = json.loads(file.read_text(encoding="utf-8"))
            return stored
        texts: list[list[str]] = []
        for start in range(0, len(train), _GENERATION_BATCH):
            images = range(start, min(start + _GENERATION_BATCH, len(train)))
            asked = [Question(DESCRIBE, train.picture(image)) for image in images]
            seed = recipe.seed + start
            texts += describer.go_on(asked, samples=recipe.samples, seed=seed, batch=_GENERATION_BATCH)
            self.tell("generated descriptions", len(texts), len(train), "")
        self.stamps.keep(GENERATED)
        _write(file, texts)
        return texts

    def _begin(self) -> VisionLanguageModel:
        """The model before a stage: always the same one, so that stages and ways start alike."""
        recipe, train = self.recipe, self.prepared.train
        if recipe.large is not None:
            return _load_large(recipe, recipe.large)
        if recipe.small is None or self.prepared.tower is None:
            raise ValueError("the recipe names no model")
        # The tokenizer does not depend on the seed: answers of several runs are then cut alike.
        random = np.random.default_rng(0)
        texts = [train.describe(image, random) for image in range(min(len(train), _TEXTS_FOR_TOKENS))]
        levels = LEVELS[recipe.verdict.levels]
        asked = [DESCRIBE, ASSESS, judge_question("", levels).text, levels.statement]
        model = build_small(
            self.prepared.tower, [*texts, *asked * 100], recipe.small.decoder, seed=recipe.seed
        )
        # At this size the fused kernel spends most of a step on its backward pass: 0.26 s instead of 0.17 s.
        model.model.set_attn_implementation("eager")
        self._align(model, recipe.small.align)
        return model

    def _align(self, model: VisionLanguageModel, alignment: Alignment) -> None:
        """Give the projector that all stages and ways begin with: learnt once, then read from the folder."""
        file = self.out / "projector.safetensors"
        if file.exists():
            model.projector.load_state_dict(load_file(file))
            return
        align_projector(
            model,
            self.prepared.train,
            alignment,
            seed=self.recipe.seed,
            tell=lambda step, steps, loss: self.tell("projector", step, steps, f"error {loss:.3f}"),
        )
        part = file.with_suffix(".part")
        save_file(model.projector.state_dict(), part)
        part.replace(file)


def _load_large(recipe: ReasoningRecipe, large: LargeConfig) -> VisionLanguageModel:
    return _load(locate_backbone(large.name, recipe.folder), large, large.revision)


def _load(
    place: str | os.PathLike[str], large: LargeConfig | None, revision: str | None = None
) -> VisionLanguageModel:
    """Load a model as the recipe runs it: a large one in its number format, on its device."""
    if large is None:
        return VisionLanguageModel.load(place)
    return VisionLanguageModel.load(
        place, revision=revision, attention=large.attention, dtype=large.dtype, device=large.device
    )


def _write(file: Path, values: Any) -> None:
    part = file.with_name(file.name + ".part")
    part.write_text(json.dumps(values, indent=1), encoding="utf-8")
    part.replace(file)
