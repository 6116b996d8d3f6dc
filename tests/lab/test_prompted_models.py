"""Models with two encoders and prompts, from ratings to assessments."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from foveal.errors import MissingPromptError, RatingsError
from foveal.lab.assess import assess
from foveal.lab.backbones import load_text_backbone
from foveal.lab.trained import TrainedModelError, load_trained
from foveal.lab.training.prompts import encoded, tokenised
from foveal.lab.training.recipe import RecipeError, recipe_from
from foveal.lab.training_run import TrainingRun, train
from foveal.ratings.table import Ratings
from tiny_backbones import TinyModel

TRAINING = {"epochs": 1, "batch": 5, "losses": {"mse": 1.0, "spread": 0.1}}
PROMPTS = ("a cat", "a dog in the snow", "", "a blurry cat")


@pytest.fixture(scope="module")
def rated(rated_pictures: Ratings) -> Ratings:
    """Twenty pictures with prompts, one of them empty, and a second score."""
    few = rated_pictures.take(range(20))
    prompts = tuple(PROMPTS[index % len(PROMPTS)] for index in range(len(few)))
    both = {"quality": few.scores["quality"], "correspondence": few.scores["quality"][::-1].copy()}
    return replace(few, scores=both, prompts=prompts)


@pytest.fixture(scope="module")
def folders(tiny_backbone: Callable[[str], TinyModel]) -> dict[str, Path]:
    return {family: tiny_backbone(family).folder for family in ("clip", "clip-vision", "vit")}


def values(folders: dict[str, Path], **changes: Any) -> dict[str, Any]:
    tables: dict[str, Any] = {
        "ratings": {"path": "", "low": 1, "high": 5},
        "backbone": {"name": str(folders["clip"])},
        "fine_backbone": {"name": str(folders["vit"])},
        "text_backbone": {"name": str(folders["clip"])},
        "targets": ["quality", "correspondence"],
        "split": {"validation": 0.5},
        "model": {"kind": "mst-clipiqa", "prompt": True, "prompted": ["correspondence"], "levels": "learned"},
        "training": {
            "epochs": 1,
            "batch": 5,
            "losses": {"mse": 1.0, "spread": 0.1},
            "group_lr": {"alpha": 0.1},
        },
    }
    return {**tables, **changes}


@pytest.fixture(scope="module")
def run(folders: dict[str, Path], rated: Ratings, tmp_path_factory: pytest.TempPathFactory) -> TrainingRun:
    folder = tmp_path_factory.mktemp("prompted")
    return train(recipe_from(values(folders)), rated, folder=folder, cache=folder / "c.sqlite", cpu=True)


def test_a_saved_model_finds_its_three_encoders_again(
    run: TrainingRun, folders: dict[str, Path], rated: Ratings
) -> None:
    own = {"backbone": folders["clip"], "fine_backbone": folders["vit"], "text_backbone": folders["clip"]}
    loaded = load_trained(run.folder, **own)  # type: ignore[arg-type]
    few, prompts = rated.images[:3], ("a cat", "", "a dog")
    before, after = (assess(model, few, prompts=prompts) for model in (run.model, loaded))
    assert before == after
    for name in own:
        wrong = {**own, name: folders["clip-vision" if name != "text_backbone" else "clip"]}
        if name == "text_backbone":
            continue
        with pytest.raises(
            TrainedModelError, match="its weights are not those that this model was trained on"
        ):
            load_trained(run.folder, **wrong)  # type: ignore[arg-type]


def test_aspects_that_need_a_prompt_are_never_left_out_in_silence(run: TrainingRun, rated: Ratings) -> None:
    few = rated.images[:2]
    with_prompt, without = assess(run.model, few, prompts=("a cat", ""))
    assert set(with_prompt.aspects) == {"correspondence"}
    assert not with_prompt.warnings
    assert not without.aspects
    assert without.warnings == ("no score for correspondence: that takes a prompt",)
    with pytest.raises(MissingPromptError, match="no prompt, and correspondence cannot be judged without"):
        assess(run.model, few)
    with pytest.raises(ValueError, match="zip"):
        assess(run.model, few, prompts=("a cat",))


def test_quality_that_is_judged_without_the_prompt_does_not_change_with_it(
    run: TrainingRun, rated: Ratings
) -> None:
    few = rated.images[:1]
    scores = [assess(run.model, few, prompts=(prompt,))[0] for prompt in ("a cat", "a dog in the snow", "")]
    assert len({score.quality for score in scores}) == 1


def test_a_model_that_reads_no_prompts_refuses_them(
    folders: dict[str, Path], rated: Ratings, tmp_path: Path
) -> None:
    plain = values(
        folders, model={"kind": "mst-clipiqa", "levels": "learned"}, targets=["quality"], training=TRAINING
    )
    done = train(recipe_from(plain), rated, folder=tmp_path, cache=tmp_path / "c.sqlite", cpu=True)
    with pytest.raises(ValueError, match="reads no prompts: leave them out"):
        assess(done.model, rated.images[:1], prompts=("a cat",))


def test_ratings_without_prompts_are_refused(
    folders: dict[str, Path], rated: Ratings, tmp_path: Path
) -> None:
    with pytest.raises(RatingsError, match=r"reads prompts, and the ratings have none; .*columns\.prompt"):
        train(recipe_from(values(folders)), replace(rated, prompts=None), folder=tmp_path, cpu=True)


def test_a_text_encoder_is_never_tuned(folders: dict[str, Path]) -> None:
    tuned = {"name": str(folders["clip"]), "tuning": {"kind": "last", "blocks": 1}}
    with pytest.raises(RecipeError, match="text encoders stay frozen"):
        recipe_from(values(folders, text_backbone=tuned))


def test_each_distinct_prompt_is_encoded_once(run: TrainingRun, rated: Ratings) -> None:
    network = run.model.network
    tokens, features = tokenised(network, rated), encoded(network, rated)
    assert tokens is not None
    assert features is not None
    assert len(tokens.tensors["prompt_ids"]) == len(features.tensors["prompt_tokens"]) == len(PROMPTS)
    rows = tokens.rows(torch.arange(len(rated)))
    assert rows["prompt_mask"].any(dim=1).tolist() == [bool(prompt) for prompt in rated.prompts or ()]
    assert torch.equal(rows["prompt_ids"][0], rows["prompt_ids"][4])


def test_the_stored_tokenizer_reads_as_the_encoders_own(folders: dict[str, Path]) -> None:
    from tokenizers import Tokenizer

    text = load_text_backbone(folders["clip"])
    stored = Tokenizer.from_str(text.tokenizer_json().decode())
    prompts = ["a cat", "a dog in the snow, and a cat in the snow, and a dog with a photo of a cat"]
    for prompt in prompts:
        encoding, batch = stored.encode(prompt), text.tokenise(prompt)
        assert len(encoding.ids) == text.max_length
        length = int(batch.mask.sum())
        assert encoding.ids[:length] == batch.ids[0, :length].tolist()
        assert np.sum(encoding.attention_mask) == length
