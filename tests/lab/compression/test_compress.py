"""From a trained model to a small artifact: sizes, agreement, what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import foveal
from foveal.artifact.card import PromptSpec
from foveal.artifact.file import read_artifact, write_artifact
from foveal.evaluation.correlation import srcc
from foveal.lab.compression.compress import Compressed, CompressionConfig, CompressionError, Compressor
from foveal.lab.compression.data import rated_views
from foveal.lab.compression.finetune import FinetuneConfig
from foveal.lab.compression.rated_views import RatedViews
from foveal.lab.compression.refit import RefitConfig
from foveal.lab.compression.search import compress_to_drop, compress_to_size
from foveal.lab.compression.subject import Subject, subject_of_artifact, subject_of_model
from foveal.lab.trained import TrainedModel, load_trained
from foveal.lab.training.config import TrainingConfig
from foveal.lab.training.recipe import recipe_from
from foveal.lab.training_run import train
from foveal.ratings.table import Ratings

QUICK = CompressionConfig(
    calibration=8,
    sensitivity_images=4,
    refit=RefitConfig(TrainingConfig(epochs=3, batch=8, validation_batch=16)),
)


@pytest.fixture(scope="module")
def trained(
    tiny_vit: Path, rated_pictures: Ratings, tmp_path_factory: pytest.TempPathFactory
) -> TrainedModel:
    folder = tmp_path_factory.mktemp("to-compress")
    recipe = recipe_from(
        {
            "ratings": {"path": "", "low": 0, "high": 10},
            "backbone": {"name": str(tiny_vit)},
            "model": {"kind": "probe", "hidden": 16, "views": ["whole", "crop"], "layers": [1, 3]},
            "split": {"validation": 0.4},
            "training": {"epochs": 20, "batch": 8, "lr": 0.01},
            "card": {"name": "mine", "licence": "MIT"},
        }
    )
    run = train(recipe, rated_pictures, folder=folder, cache=folder / "c.sqlite", cpu=True)
    return load_trained(run.folder, backbone=tiny_vit)


@pytest.fixture(scope="module")
def subject(trained: TrainedModel) -> Subject:
    return subject_of_model(trained)


@pytest.fixture(scope="module")
def images(subject: Subject, rated_pictures: Ratings) -> tuple[RatedViews, RatedViews]:
    everything = rated_views(rated_pictures, subject.views, ("quality",))
    return everything.take(np.arange(24)), everything.take(np.arange(24, 40))


@pytest.fixture(scope="module")
def compressor(subject: Subject, images: tuple[RatedViews, RatedViews]) -> Compressor:
    return Compressor(subject, *images, QUICK)


@pytest.fixture(scope="module")
def fine(compressor: Compressor) -> Compressed:
    return compressor.at_bits(6.0)


@pytest.fixture(scope="module")
def coarse(compressor: Compressor) -> Compressed:
    return compressor.at_bits(2.0)


@pytest.mark.slow
def test_a_compressed_model_scores_like_the_original_and_is_small(
    fine: Compressed, subject: Subject, rated_pictures: Ratings, tmp_path: Path
) -> None:
    made = fine
    paths = tmp_path / "before", tmp_path / "after"
    write_artifact(paths[0], subject.original)
    write_artifact(paths[1], made.artifact, store_float16=True, compact=True)
    assert made.original_size == paths[0].stat().st_size
    assert made.size == paths[1].stat().st_size
    assert made.file_ratio == pytest.approx(paths[0].stat().st_size / paths[1].stat().st_size)
    before, after = (
        [foveal.load(path)(image).quality for image in rated_pictures.images[24:]] for path in paths
    )
    assert srcc(before, after) > 0.9
    # What it says of itself is what its file gives on the ground floor.
    assert made.srcc == pytest.approx(srcc(after, rated_pictures.quality()[24:]), abs=1e-9)
    assert read_artifact(paths[1]).card.measured["validation SRCC"] == pytest.approx(made.srcc, abs=1e-4)


@pytest.mark.slow
def test_levels_lie_in_the_file_as_they_were_chosen(coarse: Compressed, tmp_path: Path) -> None:
    made = coarse
    path = tmp_path / "small"
    write_artifact(path, made.artifact, store_float16=True, compact=True)
    stored = read_artifact(path).weights
    levels = sorted(
        stored[name].size for name in stored if stored[name].dtype == np.int8 and stored[name].ndim > 1
    )
    assert levels == sorted(item.levels.size for item in made.quantized.values())
    total = sum(item.levels.size for item in made.quantized.values())
    entropy = sum(item.entropy * item.levels.size for item in made.quantized.values()) / total
    assert made.bits == pytest.approx(entropy)
    assert made.paper_ratio == pytest.approx(32 / entropy)


@pytest.mark.slow
def test_fewer_bits_make_a_smaller_file_about_as_small_as_estimated(
    compressor: Compressor, coarse: Compressed, fine: Compressed
) -> None:
    assert coarse.size < fine.size
    assert compressor.estimate_size(2.0) == pytest.approx(coarse.size, rel=0.05)
    assert compressor.estimate_size(6.0) == pytest.approx(fine.size, rel=0.05)


@pytest.mark.slow
def test_the_largest_file_that_fits_is_made(compressor: Compressor) -> None:
    target = compressor.estimate_size(3.0)
    made = compress_to_size(compressor, target)
    assert 0.95 * target <= made.size <= target


@pytest.mark.slow
def test_a_size_below_what_is_not_compressed_is_refused(compressor: Compressor) -> None:
    with pytest.raises(
        CompressionError, match=r"mine@.*: cannot be made as small as 900 bytes; the smallest"
    ):
        compress_to_size(compressor, 900)


@pytest.mark.slow
def test_the_smallest_file_within_a_drop_is_found(compressor: Compressor) -> None:
    made = compress_to_drop(compressor, 0.1)
    assert made.drop is not None
    assert made.drop <= 0.1
    assert made.bits < 6
    assert made.original_srcc is not None
    assert made.drop == pytest.approx(made.original_srcc - made.srcc)


@pytest.mark.slow
def test_a_drop_that_nothing_keeps_is_refused(
    compressor: Compressor, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_bits = Compressor.at_bits
    monkeypatch.setattr(Compressor, "at_bits", lambda self, bits: replace(at_bits(self, bits), srcc=-1.0))
    with pytest.raises(
        CompressionError, match=r"falls by .*, more than 0.01; allow a larger drop, or fine-tune"
    ):
        compress_to_drop(compressor, 0.01)


@pytest.mark.slow
def test_a_drop_needs_ratings(subject: Subject, images: tuple[RatedViews, RatedViews]) -> None:
    unrated = RatedViews(images[0].images, subject.views)
    with pytest.raises(ValueError, match="needs ratings"):
        compress_to_drop(Compressor(subject, unrated, config=QUICK), 0.01)


@pytest.mark.slow
def test_without_ratings_the_head_stays(
    subject: Subject, images: tuple[RatedViews, RatedViews], rated_pictures: Ratings, tmp_path: Path
) -> None:
    unrated = RatedViews(images[0].images, subject.views)
    made = Compressor(subject, unrated, config=replace(QUICK, integer=False, head_step=0.05)).at_bits(6.5)
    assert made.srcc is None
    assert made.drop is None
    assert made.artifact.card.calibration == subject.card.calibration
    path = tmp_path / "small"
    write_artifact(path, made.artifact, store_float16=True, compact=True)
    write_artifact(tmp_path / "before", subject.original)
    before, after = (
        np.array([foveal.load(file)(image).quality for image in rated_pictures.images[:6]])
        for file in (tmp_path / "before", path)
    )
    assert np.abs(before - after).max() < 0.1


@pytest.mark.slow
def test_the_interval_is_calibrated_anew(
    compressor: Compressor, coarse: Compressed, images: tuple[RatedViews, RatedViews]
) -> None:
    calibration = coarse.artifact.card.calibration
    assert calibration.count == len(images[1])
    assert calibration.coverage == compressor.subject.card.calibration.coverage


@pytest.mark.slow
def test_an_artifact_is_compressed_as_it_is(
    subject: Subject, images: tuple[RatedViews, RatedViews], tmp_path: Path
) -> None:
    path = tmp_path / "mine"
    write_artifact(path, subject.original)
    found = subject_of_artifact(path)
    assert found.trained is None
    made = Compressor(found, *images, replace(QUICK, integer=False)).at_bits(6.5)
    assert made.file_ratio > 2
    assert made.drop is not None
    assert made.drop < 0.1


@pytest.mark.slow
def test_what_is_in_int8_already_keeps_its_activations(
    compressor: Compressor, images: tuple[RatedViews, RatedViews], tmp_path: Path
) -> None:
    path = tmp_path / "int8"
    write_artifact(path, compressor.at_bits(6.0).artifact, store_float16=True, compact=True)
    again = Compressor(subject_of_artifact(path), *images, QUICK).at_bits(3.0)
    count = again.artifact.graph.count(b"QuantizeLinear") - again.artifact.graph.count(b"DequantizeLinear")
    first = read_artifact(path).graph
    assert count == first.count(b"QuantizeLinear") - first.count(b"DequantizeLinear")
    assert again.size < path.stat().st_size


@pytest.mark.slow
def test_fine_tuning_is_part_of_it(subject: Subject, images: tuple[RatedViews, RatedViews]) -> None:
    plain = Compressor(subject, *images, QUICK).at_bits(1.5)
    tuned = Compressor(subject, *images, replace(QUICK, finetune=FinetuneConfig(epochs=2, batch=6))).at_bits(
        1.5
    )
    assert any(
        not np.array_equal(plain.quantized[name].levels, tuned.quantized[name].levels)
        for name in plain.quantized
    )
    assert tuned.size == pytest.approx(plain.size, rel=0.05)


@pytest.mark.slow
def test_a_model_without_a_head_apart_is_not_fine_tuned(
    subject: Subject, images: tuple[RatedViews, RatedViews], tmp_path: Path
) -> None:
    path = tmp_path / "mine"
    write_artifact(path, subject.original)
    config = replace(QUICK, finetune=FinetuneConfig())
    with pytest.raises(CompressionError, match="only models with a head of their own"):
        Compressor(subject_of_artifact(path), *images, config).at_bits(3.0)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("calibration", 1, "calibration is 1"),
        ("sensitivity_images", 0, "sensitivity_images is 0"),
        ("head_step", 0.0, "head_step is 0"),
        ("refit_images", -1, "refit_images is -1"),
        ("trust", 1.5, "trust is 1.5"),
    ],
)
def test_settings_are_checked(field: str, value: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CompressionConfig(**{field: value})


@pytest.mark.slow
def test_models_that_read_prompts_are_refused(
    subject: Subject, images: tuple[RatedViews, RatedViews]
) -> None:
    card = replace(subject.card, prompt=PromptSpec(8))
    reads = replace(subject, original=replace(subject.original, card=card, tokenizer=b"{}"))
    with pytest.raises(CompressionError, match="read prompts can only be coded without loss"):
        Compressor(reads, *images, QUICK)
