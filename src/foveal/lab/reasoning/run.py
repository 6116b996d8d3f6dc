"""Train describer, judge and the one-stage model of a recipe. Each finished part is kept; a run goes on after it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foveal.evaluation.correlation import plcc, srcc
from foveal.explanation.words import degrees_of
from foveal.imaging.decode import decode
from foveal.lab.reasoning.impressions import fit_impressions, pool_tokens
from foveal.lab.reasoning.levels import LEVELS
from foveal.lab.reasoning.question import Picture, Question, StoredFeatures
from foveal.lab.reasoning.reasoner import ASSESS, DESCRIBE, OneStage, Reasoner, TwoStage, closed_set_scores, judge_question
from foveal.lab.reasoning.recipe import LargeConfig, ReasoningRecipe
from foveal.lab.reasoning.rule import fit_rule
from foveal.lab.reasoning.sight import Readings, read_meters, read_tokens
from foveal.lab.reasoning.small.build import build_small, compact_tower, vit_tower
from foveal.lab.reasoning.small.tower import TwoViewTower
from foveal.lab.reasoning.stages import DescribedImages, assessing, describing, judging
from foveal.lab.reasoning.tune import Epoch, Tuning, tune
from foveal.lab.reasoning.vision_language import VisionLanguageModel
from foveal.lab.training.prepare import Parts, divide, load_ratings, locate_backbone
from foveal.ratings.table import Ratings

ONE_STAGE, DESCRIBE_PART, JUDGE_PART = "one-stage", "describe", "judge"
"""Folders of a run."""
_TEXTS_FOR_TOKENS = 4000
_GENERATION_BATCH = 128

Tell = Callable[[str, int, int, str], None]
"""What is done, how far, of how much, and a remark."""


@dataclass(frozen=True, eq=False)
class Prepared:
    """All that training needs.

    Attributes:
        train: described, rated training images.
        validation: likewise, of the validation part.
        tower: the small model's eyes; None where a large model is tuned.
    """

    train: DescribedImages
    validation: DescribedImages
    tower: TwoViewTower | None


def train_reasoning(
    recipe: ReasoningRecipe, out: Path, *, cache: Path | None = None, tell: Tell = lambda *_: None
) -> dict[str, Any]:
    """Follow a recipe.

    Args:
        recipe: it.
        out: folder of the run; parts that are finished there are not trained again.
        cache: folder of tower tokens and readings, which several runs may share; by default within ``out``.
        tell: told of the progress.

    Returns:
        Figures on the validation part, which are also written to ``run.json``.

    Raises:
        FovealError: ratings, images or models cannot be read.
    """
    out.mkdir(parents=True, exist_ok=True)
    prepared = prepare(recipe, cache or out / "cache", tell)
    levels = LEVELS[recipe.verdict.levels]
    describer = _stage(
        out / DESCRIBE_PART, recipe, prepared, recipe.describe, describing(prepared.train, recipe.seed), tell
    )
    rule = fit_rule(prepared.train.degrees, prepared.train.mos) if recipe.verdict.rule else None
    if rule is not None:
        _write(out / "rule.json", {"base": rule.base, "effects": {k: v.tolist() for k, v in rule.effects.items()}})
    generated = _generated(out / "generated.json", recipe, prepared, describer, tell)
    to_judge = judging(
        prepared.train,
        recipe.seed,
        generated=generated,
        rule=rule,
        mixture=recipe.mixture,
        levels=levels,
        width=recipe.verdict.width,
    )
    judge = _stage(out / JUDGE_PART, recipe, prepared, recipe.judge, to_judge, tell)
    reasoners: list[Reasoner] = [TwoStage(describer, judge, levels, batch=_GENERATION_BATCH)]
    if recipe.one_stage is not None:
        to_assess = assessing(
            prepared.train, recipe.seed, levels=levels, width=recipe.verdict.one_stage_width
        )
        whole = _stage(out / ONE_STAGE, recipe, prepared, recipe.one_stage, to_assess, tell)
        reasoners.append(OneStage(whole, levels, batch=_GENERATION_BATCH))
    figures = {reasoner.name: measure_agreement(reasoner, prepared.validation) for reasoner in reasoners}
    _write(out / "run.json", {"validation": figures})
    return figures


def check_recipe(recipe: ReasoningRecipe) -> str:
    """Read ratings and model, train nothing: a line that says what would be trained, on how much.

    Raises:
        FovealError: ratings or model cannot be read.
    """
    parts = divide(load_ratings(recipe.ratings, recipe.folder), recipe.split, recipe.folder)
    if recipe.large is not None:
        model = _load_large(recipe, recipe.large).name
    elif recipe.small is not None:
        tower = _tower(recipe, recipe.small.trunk, recipe.small.layers)
        model = f"a small model on {tower.config.trunk}, {tower.config.hidden_size} features a place"
    return f"{model}; {len(parts.train):,} images to train, {len(parts.validation):,} to validate"


def prepare(recipe: ReasoningRecipe, cache: Path, tell: Tell = lambda *_: None) -> Prepared:
    """Read ratings, meters and tower tokens, and learn the impressions."""
    parts = divide(load_ratings(recipe.ratings, recipe.folder), recipe.split, recipe.folder)
    tower = None if recipe.small is None else _tower(recipe, recipe.small.trunk, recipe.small.layers)
    impressing = tower
    if recipe.descriptions.impressions is not None:
        impressing = _tower(recipe, recipe.descriptions.impressions, ())
    readings = {name: _readings(part, cache, name, tell) for name, part in _named(parts)}
    tokens = {
        name: _tokens(impressing, part, cache, name, tell)
        for name, part in _named(parts)
        if impressing is not None
    }
    degrees = {name: [dict(row) for row in readings[name].degrees] for name in readings}
    if recipe.descriptions.tells_impressions:
        _add_impressions(degrees, tokens, parts, recipe)
    seen = {
        name: _tokens(tower, part, cache, name, tell) if tower is not None else None
        for name, part in _named(parts)
    }
    described = {
        name: DescribedImages(
            [{told: row[told] for told in recipe.descriptions.attributes} for row in degrees[name]],
            [_told_places(row, recipe) for row in readings[name].places],
            part.quality(),
            _pictures(part, seen[name]),
        )
        for name, part in _named(parts)
    }
    return Prepared(described["train"], described["validation"], tower)


def measure_agreement(reasoner: Reasoner, images: DescribedImages) -> dict[str, float]:
    """SRCC and PLCC of the closed-set verdict after the likeliest description, with people's ratings."""
    pictures = [images.picture(image) for image in range(len(images))]
    told = [texts[0] for texts in reasoner.describe(pictures, samples=1, temperature=0.0, seed=0)]
    scores = closed_set_scores(reasoner, pictures, told)
    right = [
        np.mean([degrees_of(text).get(name) == degree for name, degree in wanted.items()])
        for text, wanted in zip(told, images.degrees, strict=True)
    ]
    return {
        "srcc": srcc(scores, images.mos),
        "plcc": plcc(scores, images.mos),
        "degrees_right": float(np.mean(right)),
    }


def _stage(
    folder: Path, recipe: ReasoningRecipe, prepared: Prepared, tuning: Tuning, epoch: Epoch, tell: Tell
) -> VisionLanguageModel:
    """Train one model, or load it if it is there."""
    if (folder / "config.json").exists() or (folder / "adapter_config.json").exists():
        return VisionLanguageModel.load(folder)
    model = _begin(recipe, prepared)
    tuned = tune(
        model,
        epoch,
        replace(tuning, seed=tuning.seed + recipe.seed),
        levels=LEVELS[recipe.verdict.levels],
        tell=lambda step, steps, loss: tell(folder.name, step, steps, f"loss {loss:.3f}"),
    )
    tuned.model.save(folder)
    _write(folder / "training.json", {"losses": list(tuned.losses), "seconds": round(tuned.seconds, 1)})
    return tuned.model


def _begin(recipe: ReasoningRecipe, prepared: Prepared) -> VisionLanguageModel:
    """The model before a stage: always the same one, so that stages and ways start alike."""
    if recipe.large is not None:
        return _load_large(recipe, recipe.large)
    if recipe.small is None or prepared.tower is None:
        raise ValueError("the recipe names no model")
    # The tokenizer does not depend on the seed: answers of several runs are then cut alike.
    random = np.random.default_rng(0)
    some = range(min(len(prepared.train), _TEXTS_FOR_TOKENS))
    texts = [prepared.train.describe(image, random) for image in some]
    levels = LEVELS[recipe.verdict.levels]
    asked = [DESCRIBE, ASSESS, judge_question("", levels).text, levels.statement]
    return build_small(prepared.tower, [*texts, *asked * 100], recipe.small.decoder, seed=recipe.seed)


def _load_large(recipe: ReasoningRecipe, large: LargeConfig) -> VisionLanguageModel:
    return VisionLanguageModel.load(
        locate_backbone(large.name, recipe.folder),
        revision=large.revision,
        attention=large.attention,
        dtype=large.dtype,
        device=large.device,
    )


def _generated(
    file: Path, recipe: ReasoningRecipe, prepared: Prepared, describer: VisionLanguageModel, tell: Tell
) -> list[list[str]]:
    """What stage 1 says of the training images, sampled as it believes."""
    if not recipe.mixture.generated:
        return []
    if file.exists():
        stored: list[list[str]] = json.loads(file.read_text(encoding="utf-8"))
        return stored
    count, texts = len(prepared.train), []
    for start in range(0, count, _GENERATION_BATCH):
        numbers = range(start, min(start + _GENERATION_BATCH, count))
        asked = [Question(DESCRIBE, prepared.train.picture(image)) for image in numbers]
        texts += describer.go_on(asked, samples=recipe.samples, seed=recipe.seed + start, batch=_GENERATION_BATCH)
        tell("generated descriptions", len(texts), count, "")
    _write(file, texts)
    return texts


def _tower(recipe: ReasoningRecipe, trunk: str, layers: Sequence[int]) -> TwoViewTower:
    more: dict[str, Any] = {"layers": tuple(layers)} if layers else {}
    if trunk == "compact":
        from foveal.lab.reasoning.small.shipped import shipped_trunk

        return compact_tower(*shipped_trunk(), **more)
    return vit_tower(str(locate_backbone(trunk, recipe.folder)), **more)


def _named(parts: Parts) -> list[tuple[str, Ratings]]:
    return [("train", parts.train), ("validation", parts.validation)]


def _readings(part: Ratings, cache: Path, name: str, tell: Tell) -> Readings:
    return read_meters(
        part.images, cache / f"{name}-meters.json", tell=lambda done, of: tell(f"meters, {name}", done, of, "")
    )


def _tokens(
    tower: TwoViewTower | None, part: Ratings, cache: Path, name: str, tell: Tell
) -> NDArray[np.float16]:
    if tower is None:
        raise ValueError("there is no tower to see with")
    file = cache / f"{name}-{tower.config.trunk}-{'-'.join(map(str, tower.config.layers))}.npy"
    return read_tokens(tower, part.images, file, tell=lambda done, of: tell(f"tokens, {name}", done, of, ""))


def _add_impressions(
    degrees: Mapping[str, list[dict[str, int]]],
    tokens: Mapping[str, NDArray[np.float16]],
    parts: Parts,
    recipe: ReasoningRecipe,
) -> None:
    pooled = {name: np.stack([pool_tokens(rows) for rows in stored]) for name, stored in tokens.items()}
    learnt = fit_impressions(
        pooled["train"],
        parts.train.quality(),
        pooled["validation"],
        groups=parts.train.groups,
        folds=recipe.descriptions.folds,
        seed=recipe.seed,
    )
    for name, values in (("train", learnt.fitted), ("validation", learnt.others)):
        for row, more in zip(degrees[name], learnt.degrees(values), strict=True):
            row.update(more)


def _told_places(places: Mapping[str, str], recipe: ReasoningRecipe) -> dict[str, str]:
    return {name: place for name, place in places.items() if name in recipe.descriptions.placed}


def _pictures(part: Ratings, tokens: NDArray[np.float16] | None) -> Callable[[int], Picture]:
    if tokens is not None:
        return lambda image: StoredFeatures(np.asarray(tokens[image]))
    return lambda image: decode(part.images[image]).pixels


def _write(file: Path, values: Any) -> None:
    part = file.with_name(file.name + ".part")
    part.write_text(json.dumps(values, indent=1), encoding="utf-8")
    part.replace(file)
