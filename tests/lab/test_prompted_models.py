"""Models with two encoders and prompts, from ratings to assessments and to a file that scores alike."""

from __future__ import annotations

import copy
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

import foveal
from foveal.artifact.card import AspectSpec, PromptSpec
from foveal.artifact.file import read_artifact
from foveal.assessment import Assessment, Failure
from foveal.errors import (
    BackboneError,
    InvalidPromptError,
    MissingPartError,
    MissingPromptError,
    RatingsError,
)
from foveal.lab import export_trained
from foveal.lab.assess import assess
from foveal.lab.backbones import TextBackbone, load_backbone, load_text_backbone
from foveal.lab.export_trained import TOLERANCE, ExportError, export_model
from foveal.lab.trained import TrainedModel, TrainedModelError, load_trained
from foveal.lab.training.prompts import encoded, tokenised
from foveal.lab.training.recipe import RecipeError, recipe_from
from foveal.lab.training_run import TrainingRun, train
from foveal.ratings.table import Ratings
from tiny_backbones import TinyModel

# Making the model of several encoders takes seconds.
pytestmark = pytest.mark.slow

TRAINING = {"epochs": 1, "batch": 5, "losses": {"mse": 1.0, "spread": 0.1}}
PROMPTS = ("a cat", "a dog in the snow", "", "a blurry cat")
LONG = "a dog in the snow, and a cat in the snow, and a dog with a photo of a cat"
MANY = (
    "a cat",
    "A Dog in the SNOW",
    "",
    LONG,
    " \t",
    "\N{DOG FACE} caf\u00e9 xyzzy",
    "dog",
    "a good photo of a dog",
)


@pytest.fixture(scope="module")
def rated(rated_pictures: Ratings) -> Ratings:
    """Twenty pictures with prompts, one of them empty, and a second score."""
    few = rated_pictures.take(range(20))
    prompts = tuple(PROMPTS[index % len(PROMPTS)] for index in range(len(few)))
    both = {"quality": few.scores["quality"], "correspondence": few.scores["quality"][::-1].copy()}
    return replace(few, scores=both, prompts=prompts)


@pytest.fixture(scope="module")
def folders(tiny_backbone: Callable[[str], TinyModel]) -> dict[str, Path]:
    return {family: tiny_backbone(family).folder for family in ("clip", "clip-text", "clip-vision", "vit")}


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
    own: dict[str, Any] = {
        "backbone": folders["clip"],
        "fine_backbone": folders["vit"],
        "text_backbone": folders["clip"],
    }
    loaded = load_trained(run.folder, **own)
    few, prompts = rated.images[:3], ("a cat", "", "a dog")
    before, after = (assess(model, few, prompts=prompts) for model in (run.model, loaded))
    assert before == after
    for name, other in (
        ("backbone", "clip-vision"),
        ("fine_backbone", "clip-vision"),
        ("text_backbone", "clip-text"),
    ):
        with pytest.raises(
            TrainedModelError, match="its weights are not those that this model was trained on"
        ):
            load_trained(run.folder, **{**own, name: folders[other]})
        with pytest.raises(BackboneError, match="no folder lies there and no backbone has this name"):
            load_trained(run.folder, **{**own, name: None})  # a folder's name says nothing elsewhere


def test_aspects_that_need_a_prompt_are_never_left_out_in_silence(run: TrainingRun, rated: Ratings) -> None:
    few = rated.images[:2]
    with_prompt, without = assess(run.model, few, prompts=("a cat", ""))
    assert set(with_prompt.aspects) == {"correspondence"}
    assert not with_prompt.warnings
    assert not without.aspects
    assert without.warnings == ("no score for correspondence: that takes a prompt",)
    with pytest.raises(MissingPromptError, match="no prompt, and correspondence cannot be judged without"):
        assess(run.model, few)
    with pytest.raises(MissingPromptError, match="no prompt, and correspondence cannot be judged without"):
        assess(run.model, few, prompts=("a cat", None))


def test_prompts_are_one_for_each_image_or_one_for_all(run: TrainingRun, rated: Ratings) -> None:
    few = rated.images[:3]
    assert assess(run.model, few, prompts="a cat") == assess(run.model, few, prompts=["a cat"] * 3)
    assert assess(run.model, few, prompts=iter(["a cat"] * 3)) == assess(run.model, few, prompts="a cat")
    with pytest.raises(ValueError, match="there are 1 prompts for 3 images; give one for each"):
        assess(run.model, few, prompts=("a cat",))
    with pytest.raises(ValueError, match="there are more images than prompts; give one prompt for each"):
        assess(run.model, few, prompts=iter(["a cat"]))
    with pytest.raises(ValueError, match="there are more prompts than images; give one prompt for each"):
        assess(run.model, iter(few), prompts=["a cat"] * 4)
    with pytest.raises(InvalidPromptError, match=rf"{few[0].name}: its prompt is '3', expected text"):
        assess(run.model, few, prompts=[3] * 3)  # type: ignore[list-item]


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
    for prompts in (None, (" ",) * len(rated)):
        with pytest.raises(
            RatingsError, match=r"reads prompts, and the ratings have none; .*columns\.prompt"
        ):
            train(recipe_from(values(folders)), replace(rated, prompts=prompts), folder=tmp_path, cpu=True)


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


# What is tuned.


@pytest.mark.parametrize(
    "tuning",
    [
        {"kind": "last", "blocks": 1},
        pytest.param({"kind": "lora", "rank": 2, "alpha": 4, "targets": ["q", "v"]}, marks=pytest.mark.slow),
    ],
)
def test_an_encoder_is_tuned_beside_prompts(
    folders: dict[str, Path], rated: Ratings, tmp_path: Path, tuning: dict[str, Any]
) -> None:
    """Then images are cut and prompts tokenised anew each step, and the tuned weights are stored."""
    tables = values(folders, backbone={"name": str(folders["clip"]), "tuning": tuning})
    before = load_backbone(folders["clip"]).state_dict()
    done = train(recipe_from(tables), rated, folder=tmp_path, cpu=True)
    network = done.model.network
    assert network.frozen_head() is None
    stored = {name for name in network.trained_state() if "backbone." in name}
    assert stored
    assert all(name.startswith("backbone.") for name in stored)  # neither the fine stream nor the text
    if tuning["kind"] == "last":
        tensors = network.state_dict()
        moved = {name for name in before if not torch.equal(tensors[f"backbone.{name}"], before[name])}
        assert {f"backbone.{name}" for name in moved} == stored
    loaded = load_trained(
        done.folder,
        backbone=folders["clip"],
        fine_backbone=folders["vit"],
        text_backbone=folders["clip"],
    )
    few = rated.images[:3]
    assert assess(loaded, few, prompts=PROMPTS[:3]) == assess(done.model, few, prompts=PROMPTS[:3])


# Tokenizers.


@pytest.fixture(scope="module")
def text(folders: dict[str, Path]) -> TextBackbone:
    return load_text_backbone(folders["clip"])


def same_tokens(text: TextBackbone, prompt: str) -> None:
    """The stored tokenizer gives the encoder's own ids and mask, filled up to the full length."""
    encoding = Tokenizer.from_str(text.tokenizer_json().decode()).encode(prompt)
    batch = text.tokenise(prompt)
    ids, mask = batch.ids[0].tolist(), batch.mask[0].int().tolist()
    assert len(encoding.ids) == len(encoding.attention_mask) == text.max_length
    assert encoding.ids[: len(ids)] == ids
    assert encoding.attention_mask == mask + [0] * (text.max_length - len(mask))


@settings(max_examples=60, deadline=None)
@given(prompt=st.text(st.characters(exclude_categories=["Cs"]), max_size=60))
@example(prompt="")
@example(prompt="a dog in the snow, and a cat in the snow, and a dog with a photo of a cat")
@example(prompt="<|startoftext|> a cat <|endoftext|> a dog")
@example(prompt="  A  CAT\n\tİ ß Σ \N{DOG FACE}\N{VARIATION SELECTOR-16}e\u0301 ")
def test_the_stored_tokenizer_reads_as_the_encoder_s_own(prompt: str, text: TextBackbone) -> None:
    same_tokens(text, prompt)


@pytest.mark.parametrize("family", ["siglip", "siglip2"])
def test_the_stored_tokenizer_reads_as_siglip_s_own(
    tiny_backbone: Callable[[str], TinyModel], family: str
) -> None:
    text = load_text_backbone(tiny_backbone(family).folder)
    for prompt in ("", "a cat", "A Blurry CAT, and a dog", LONG, "\N{DOG FACE} \u00c9"):
        same_tokens(text, prompt)


def test_the_stored_tokenizer_cuts_where_the_encoder_s_own_does(folders: dict[str, Path]) -> None:
    text = load_text_backbone(folders["clip"])
    right = text.tokenise(LONG).ids
    text._tokenizer.truncation_side = "left"
    assert not torch.equal(text.tokenise(LONG).ids, right)
    same_tokens(text, LONG)


def test_a_tokenizer_that_cannot_be_stored_is_an_error(
    run: TrainingRun, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As of the first SigLIP, whose tokenizer is of sentencepiece; found before the seconds of an export."""
    text = run.model.network.text
    assert text is not None
    monkeypatch.setattr(text, "_tokenizer", object())
    monkeypatch.setattr(export_trained, "to_onnx", None)
    with pytest.raises(MissingPartError, match=r"not of the tokenizers library.*; take a CLIP or SigLIP 2"):
        export_model(run.model, tmp_path / "mine.foveal.safetensors")
    assert list(tmp_path.iterdir()) == []


# As a file.


def moved(model: TrainedModel) -> TrainedModel:
    """A copy whose every trained weight is elsewhere, so that nothing is still 0 or the same for all."""
    model = copy.deepcopy(model)
    torch.manual_seed(7)
    with torch.no_grad():
        for parameter in model.network.trainable():
            parameter.add_(0.3 * torch.randn_like(parameter) / max(parameter.shape[-1:], default=1) ** 0.5)
        for name, parameter in model.network.named_parameters():
            if name.rpartition(".")[2] == "alpha":
                parameter.fill_(1.0)
            elif name.endswith("w_o.bias"):  # of the authors' head, which starts below the scale
                parameter.fill_(3.0)
    return model


@pytest.fixture(scope="module")
def trained(run: TrainingRun) -> TrainedModel:
    return moved(run.model)


@pytest.fixture(scope="module")
def exported(trained: TrainedModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its artifact: the one export that the quick tests pay for."""
    path = tmp_path_factory.mktemp("exported") / "mine.foveal.safetensors"
    agreement = export_model(trained, path)
    assert agreement.images == 6
    assert max(agreement.quality, agreement.aspects, agreement.spread) <= TOLERANCE
    return path


def differences(
    expected: Sequence[Assessment], rows: Iterable[Assessment | Failure]
) -> Iterator[tuple[str, float]]:
    """By how much two rows of assessments differ, score by score; they are of the same images and aspects."""
    for row, wanted in zip(rows, expected, strict=True):
        assert isinstance(row, Assessment)
        assert row.source == wanted.source
        assert row.aspects.keys() == wanted.aspects.keys()
        yield "quality", abs(row.quality - wanted.quality)
        yield "low", abs(row.interval.low - wanted.interval.low)
        for name, score in row.aspects.items():
            yield name, abs(score - wanted.aspects[name])


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_the_file_judges_each_prompt_as_the_model_does(
    trained: TrainedModel, exported: Path, rated: Ratings, engine: str
) -> None:
    few = rated.images[: len(MANY)]
    assessor = foveal.load(exported, engine=engine)
    expected = assess(trained, few, prompts=MANY)
    together = list(assessor.stream(few, prompts=MANY))
    alone = [assessor(image, prompt=prompt) for image, prompt in zip(few, MANY, strict=True)]
    for rows in (together, alone):
        assert max(difference for _, difference in differences(expected, rows)) <= TOLERANCE
    # Of one image too, scores differ from prompt to prompt: it is not all the same to the file.
    same_image = [assessor(few[0], prompt=prompt) for prompt in MANY if prompt.strip()]
    expected = assess(
        trained, few[:1] * len(same_image), prompts=[prompt for prompt in MANY if prompt.strip()]
    )
    assert max(difference for _, difference in differences(expected, same_image)) <= TOLERANCE
    assert np.ptp([row.aspects["correspondence"] for row in same_image]) > 50 * TOLERANCE
    assert len({row.quality for row in same_image}) == 1


def test_the_file_says_what_it_left_out_and_cut(exported: Path, rated: Ratings) -> None:
    assessor = foveal.load(exported)
    image = rated.images[0]
    assert not assessor(image, prompt="a cat").warnings
    for blank in ("", " \n"):
        row = assessor(image, prompt=blank)
        assert not row.aspects
        assert row.warnings == ("no score for correspondence: that takes a prompt",)
    cut = assessor(image, prompt=LONG)
    assert cut.warnings == ("prompt cut: it has more than the 12 tokens that the model reads",)
    assert cut.aspects == assessor(image, prompt=f"{LONG} and much more of it").aspects
    with pytest.raises(MissingPromptError, match="no prompt, and correspondence cannot be judged without"):
        assessor(image)


def test_the_file_holds_both_image_encoders_the_text_encoder_and_its_tokenizer(
    trained: TrainedModel, exported: Path, rated: Ratings, tmp_path: Path
) -> None:
    """A process that has neither torch nor the folders scores with it."""
    artifact = read_artifact(exported)
    assert set(artifact.card.views) == {"coarse", "fine"}
    assert artifact.card.aspects == {"correspondence": AspectSpec(needs_prompt=True)}
    assert artifact.card.prompt == PromptSpec(12)
    assert artifact.tokenizer == trained.network.text.tokenizer_json()  # type: ignore[union-attr]
    shutil.copy(exported, tmp_path / "only.foveal.safetensors")
    shutil.copy(rated.images[0], tmp_path / "a.png")
    code = (
        "import sys, foveal; sys.modules['torch'] = sys.modules['transformers'] = None;"
        "row = foveal.load('only.foveal.safetensors')('a.png', prompt='a cat');"
        "print(row.quality, row.aspects['correspondence'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True, timeout=100
    )
    (expected,) = assess(trained, rated.images[:1], prompts="a cat")
    quality, correspondence = map(float, done.stdout.split())
    assert quality == pytest.approx(expected.quality, abs=TOLERANCE)
    assert correspondence == pytest.approx(expected.aspects["correspondence"], abs=TOLERANCE)


MST = {"kind": "mst-clipiqa", "levels": "learned"}


@pytest.mark.slow
@pytest.mark.parametrize(
    "case",
    [
        # (model, image encoder, fine one, text encoder, targets)
        ({"kind": "regressor"}, "clip", None, None, ("quality", "clarity")),
        ({"kind": "regressor", "view": "crop", "hidden": 5}, "siglip", None, None, ("quality",)),
        ({"kind": "clip-iqa"}, "clip", None, "clip", ("quality", "sharpness")),
        ({"kind": "clip-iqa", "positions": False, "side": 48}, "clip", None, "clip", ("quality",)),
        ({**MST, "prompt": True}, "clip", "vit", "clip", ("quality", "correspondence", "authenticity")),
        (
            {**MST, "prompt": True, "fine_view": "crop"},
            "siglip",
            None,
            "siglip",
            ("quality", "correspondence"),
        ),
        ({**MST, "prompt": True, "needs_prompt": []}, "deit", "dinov3", "siglip2", ("quality",)),
        (
            {**MST, "prompt": True, "features": "layers", "layers": [1, 3], "fusion": "concat", "width": 16},
            "dinov2",
            "clip",
            "clip-text",
            ("quality", "correspondence"),
        ),
        ({**MST, "levels": "text", "fusion": "coarse"}, "clip", None, "clip", ("quality",)),
        ({**MST, "levels": "auto", "prompt": True, "compat": "authors"}, "vit", "dino", "clip", ("quality",)),
    ],
)
def test_every_kind_of_model_on_any_encoders_scores_alike_as_a_file(
    tiny_backbone: Callable[[str], TinyModel],
    rated: Ratings,
    tmp_path: Path,
    case: tuple[dict[str, Any], str, str | None, str | None, tuple[str, ...]],
) -> None:
    model, vision, fine, words, targets = case
    column = rated.scores["quality"]
    encoders = {"backbone": vision, "fine_backbone": fine, "text_backbone": words}
    done = train(
        recipe_from(
            {
                "ratings": {"path": "", "low": 1, "high": 5},
                "split": {"validation": 0.5},
                "targets": targets,
                "model": model,
                "training": TRAINING,
                **{
                    name: {"name": str(tiny_backbone(family).folder)}
                    for name, family in encoders.items()
                    if family is not None
                },
            }
        ),
        replace(rated, scores=dict.fromkeys(targets, column)),
        folder=tmp_path / "run",
        cache=tmp_path / "c.sqlite",
        cpu=True,
    )
    trained = done.model if model["kind"] == "clip-iqa" else moved(done.model)
    path = tmp_path / "mine.foveal.safetensors"
    agreement = export_model(trained, path)
    assert max(agreement.quality, agreement.aspects) <= TOLERANCE
    prompts = MANY if trained.network.text is not None else None
    few = rated.images[: len(MANY)]
    expected = assess(trained, few, prompts=prompts)
    for engine in ("openvino", "onnxruntime"):
        rows = foveal.load(path, engine=engine).stream(few, prompts=prompts)
        assert max(difference for _, difference in differences(expected, rows)) <= 2 * TOLERANCE
    assert np.ptp([row.quality for row in expected]) > 5 * TOLERANCE
    assert set(read_artifact(path).card.aspects) == set(targets[1:])


@pytest.mark.slow
def test_a_backbone_that_cannot_be_a_graph_is_an_error_and_no_file(
    tiny_backbone: Callable[[str], TinyModel], rated: Ratings, tmp_path: Path
) -> None:
    """The SigLIP 2 of any shape steps through the pictures of a batch one by one."""
    tables = {
        "ratings": {"path": "", "low": 1, "high": 5},
        "split": {"validation": 0.5},
        "backbone": {"name": str(tiny_backbone("siglip2").folder)},
        "model": {"kind": "regressor", "hidden": 4},
        "training": TRAINING,
    }
    done = train(recipe_from(tables), rated, folder=tmp_path / "run", cache=tmp_path / "c.sqlite", cpu=True)
    path = tmp_path / "mine.foveal.safetensors"
    with pytest.raises(ExportError, match=r"torch cannot write this model as a graph \(.+\); .*another back"):
        export_model(done.model, path)
    assert not path.exists()
