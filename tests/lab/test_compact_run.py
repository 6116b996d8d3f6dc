"""A miniature of the whole way: every stage of a recipe, from images and ratings to a tested assessor."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

import foveal
from foveal.artifact import Artifact, read_artifact
from foveal.assessment import Assessment
from foveal.evaluation.correlation import srcc
from foveal.imaging.degradations import degrade
from foveal.lab.training import compact_run
from foveal.lab.training.view_store import open_pixels, read_plans
from foveal.ratings.biq2021 import read_biq2021
from foveal.ratings.table import Ratings

Pixels = NDArray[np.uint8]
STAGES = ("views", "split", "train", "head", "calibrate", "test")

RECIPE = """
[views]
seed = 3
rated_series = 6
# 44 rated images with 5 views, 4 free ones with 10, 6 series of 8: the store ends within the last one.
most_views = 306
calibration_views = 8
basis_views = 30
token_components = 12
photographs = ["one+set/*.png", "other+set/deeper/*.jpg"]

[split]
file = "miniature-split.json"
seed = 1
validation = 0.25
near_copy = 0.98

[probe]
hidden = 16
dropout = 0.1
epochs = 40
batch = 32

[network]
widths = [8, 8, 16, 16]
depths = [1, 1, 1, 1]

[distill]
steps = 40
decay_steps = 25
warmup_steps = 4
small_steps = 30
small_side = 96
rated = 8
unrated = 2
series = 2
log_every = 10
checkpoint_every = 20

[head]
signature = 16
hidden = 16
epochs = 60
batch = 32
series = 8

[int8]
seed = 5
images = 16

[card]
name = "miniature"
version = "0.1"
licence = "Apache-2.0"
summary = "A miniature."
training_data = "made up"
trained_on = { min_side = 96, max_side = 256 }
recipe = "miniature.toml"
created = "2025-01-01"
"""


@dataclass
class Run:
    """A finished miniature run."""

    recipe: Path
    options: list[str]
    ratings: Ratings
    work: Path
    before_test: Artifact


def write_table(path: Path, rows: list[tuple[str, float]]) -> None:
    lines = ["Image Name,MOS,,", *(f"{name},{mos:.4f},," for name, mos in rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def make_collections(folder: Path, make_photo: Callable[..., Pixels]) -> dict[str, bytes]:
    """A miniature BIQ2021 whose scores fall with damage, and free photographs; returns the test images.

    In place of the test images lies rubbish: a stage that opens one fails.
    """
    generator = np.random.default_rng(0)
    (folder / "images").mkdir(parents=True)
    rows, test_images = [], {}
    for number in range(60):
        severity = float(generator.uniform(0, 1))
        height, width = generator.integers(96, 257, 2)
        kind = ("blur", "noise", "contrast-loss")[number % 3]
        picture = Image.fromarray(degrade(make_photo(height, width, seed=number), kind, severity))
        name = f"ss0{1 + number % 2} ({number}).jpg"
        picture.save(folder / "images" / name, quality=92)
        rows.append((name, float(np.clip(1 - severity + generator.normal(0, 0.05), 0, 1))))
        if number >= 44:
            test_images[name] = (folder / "images" / name).read_bytes()
            (folder / "images" / name).write_bytes(b"not before the end")
    write_table(folder / "Train (Images and MOS).csv", rows[:44])
    write_table(folder / "Test (Images and MOS).csv", rows[44:])
    near = [f"{name},{rows[0][0]},{0.95 if i < 3 else 0.4}" for i, (name, _) in enumerate(rows[44:])]
    table = ["test_image,nearest_training_image,similarity", *near]
    (folder / "neighbours.csv").write_text("\n".join(table) + "\n", encoding="utf-8")
    for number, name in enumerate(["one+set/a.png", "one+set/b.png", "one+set/c.png"]):
        (folder / "free" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(make_photo(300, 700, seed=100 + number)).save(folder / "free" / name)
    (folder / "free" / "other+set" / "deeper").mkdir(parents=True)
    Image.fromarray(make_photo(200, 150, seed=110)).save(folder / "free" / "other+set" / "deeper" / "d.jpg")
    return test_images


@pytest.fixture(scope="module")
def run(
    tmp_path_factory: pytest.TempPathFactory,
    make_photo: Callable[..., Pixels],
    save_vit: Callable[..., None],
) -> Iterator[Run]:
    folder = tmp_path_factory.mktemp("miniature")
    test_images = make_collections(folder, make_photo)
    save_vit(folder / "teacher", hidden=8, layers=12)
    recipe, work = folder / "recipe" / "miniature.toml", folder / "work"
    recipe.parent.mkdir()
    recipe.write_text(RECIPE, encoding="utf-8")
    places = {
        "biq2021": folder, "images": folder / "images", "photographs": folder / "free",
        "neighbours": folder / "neighbours.csv", "teacher": folder / "teacher", "work": work,
    }  # fmt: skip
    options = [part for name, place in places.items() for part in (f"--{name}", str(place))]
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        # Compiling takes a minute and changes nothing that is tested here.
        patch.setattr(torch, "compile", lambda module: module)
        for stage in STAGES[:-1]:
            compact_run.main([str(recipe), stage, *options])
        before = read_artifact(work / "miniature.foveal.safetensors")
        for name, content in test_images.items():
            (folder / "images" / name).write_bytes(content)
        compact_run.main([str(recipe), "test", *options])
        yield Run(recipe, options, read_biq2021(folder, images=folder / "images"), work, before)


slow = pytest.mark.slow
patient = pytest.mark.timeout(1200)


@slow
@patient
def test_the_store_holds_training_images_and_free_ones_only(run: Run) -> None:
    plans = read_plans(run.work / "store")
    assert len(plans) == 306
    seen = {plan.source for plan in plans}
    train = {f"biq/{path.name}" for path in run.ratings.part("train").images}
    test = {f"biq/{path.name}" for path in run.ratings.part("test").images}
    assert len(train) == 44
    assert seen.isdisjoint(test)
    free = {"one+set/a.png", "one+set/b.png", "one+set/c.png", "other+set/deeper/d.jpg"}
    assert seen == train | {f"extra/{name}" for name in free}
    pixels = open_pixels(run.work / "store")
    assert pixels.shape == (306, 224, 224, 3)
    assert min(int(np.ptp(pixels[row])) for row in range(306)) > 0  # every row was written
    for name, shape in {"pooled": (306, 6, 2, 8), "tokens": (306, 7, 7, 12)}.items():
        array = np.load(run.work / "store" / f"{name}.npy")
        assert array.shape == shape
        assert np.isfinite(array).all()
        assert array.reshape(306, -1).std(axis=1).min() > 0


@slow
@patient
def test_tokens_have_the_spread_that_the_store_states(run: Run) -> None:
    tokens = np.load(run.work / "store" / "tokens.npy").astype(np.float64).reshape(-1, 12)
    spread = np.load(run.work / "store" / "basis.npz")["spread"]
    assert (np.diff(spread) <= 0).all()
    # The basis saw 30 of the views: its deviations hold for the others, roughly.
    np.testing.assert_allclose(np.sqrt((tokens**2).mean(axis=0)), spread, rtol=0.6)


@slow
@patient
def test_the_split_covers_the_training_part_once(run: Run) -> None:
    split = json.loads((run.recipe.parent / "miniature-split.json").read_text(encoding="utf-8"))
    parts = [split["validation"], *split["folds"]]
    assert sorted(name for part in parts for name in part) == sorted(
        path.name for path in run.ratings.part("train").images
    )
    assert 9 <= len(split["validation"]) <= 13


@slow
@patient
def test_the_artifact_judges_images(run: Run) -> None:
    assessor = foveal.load(run.work / "miniature.foveal.safetensors", threads=1)
    rows = [row for row in assessor.stream(run.ratings.images) if isinstance(row, Assessment)]
    assert len(rows) == 60
    assert all(1 <= row.interval.low <= row.quality <= row.interval.high <= 5 for row in rows)
    assert all(row.warnings == () for row in rows)
    quality = [row.quality for row in rows]
    assert np.ptp(quality) > 0.3
    # Forty steps and forty images suffice to see damage: the stages hand each other the right things.
    assert srcc(quality[:44], run.ratings.part("train").quality()) > 0.4


@slow
@patient
def test_the_card_has_the_figures_that_were_measured(run: Run) -> None:
    path = run.work / "miniature.foveal.safetensors"
    card, test = read_artifact(path).card, run.ratings.part("test")
    assert set(card.measured) == {
        f"BIQ2021 {part} {figure}"
        for part in ("validation", "official test", "clean part")
        for figure in ("SRCC", "PLCC")
    }
    rows = [row for row in foveal.load(path).stream(test.images) if isinstance(row, Assessment)]
    quality = np.array([row.quality for row in rows])
    assert card.measured["BIQ2021 official test SRCC"] == pytest.approx(
        srcc(quality, test.quality()), abs=1e-4
    )
    assert card.measured["BIQ2021 clean part SRCC"] == pytest.approx(
        srcc(quality[3:], test.quality()[3:]), abs=1e-4
    )
    inside = [
        row.interval.low <= rated <= row.interval.high
        for row, rated in zip(rows, test.quality(), strict=True)
    ]
    assert card.calibration.measured_coverage == pytest.approx(np.mean(inside), abs=1e-4)
    assert card.trained_on is not None
    assert (card.trained_on.min_side, card.trained_on.max_side) == (96, 256)


@slow
@patient
def test_the_interval_covers_the_validation_part(run: Run) -> None:
    split = json.loads((run.recipe.parent / "miniature-split.json").read_text(encoding="utf-8"))
    train = run.ratings.part("train")
    part = train.take(train.indices(split["validation"]))
    assessor = foveal.load(run.work / "miniature.foveal.safetensors")
    rows = [row for row in assessor.stream(part.images) if isinstance(row, Assessment)]
    inside = [
        row.interval.low - 1e-6 <= rated <= row.interval.high + 1e-6
        for row, rated in zip(rows, part.quality(), strict=True)
    ]
    assert np.mean(inside) >= 0.9
    assert assessor.card.calibration.count == len(rows)
    assert assessor.card.measured["BIQ2021 validation SRCC"] == pytest.approx(
        srcc([row.quality for row in rows], part.quality()), abs=1e-4
    )


@slow
@patient
def test_the_test_stage_changes_the_card_alone(run: Run) -> None:
    after = read_artifact(run.work / "miniature.foveal.safetensors")
    assert after.graph == run.before_test.graph
    assert after.weights.keys() == run.before_test.weights.keys()
    for name, value in after.weights.items():
        np.testing.assert_array_equal(value, run.before_test.weights[name])
    assert run.before_test.card.calibration.measured_coverage is None
    assert set(run.before_test.card.measured) < set(after.card.measured)
    assert after.card.calibration.factor == run.before_test.card.calibration.factor


@slow
@patient
def test_the_head_stage_gives_the_same_artifact_again(run: Run, tmp_path: Path) -> None:
    path = run.work / "miniature.foveal.safetensors"
    kept = path.read_bytes()
    try:
        compact_run.main([str(run.recipe), "head", *run.options])
        again = read_artifact(path)
    finally:
        path.write_bytes(kept)
    for name, value in again.weights.items():
        np.testing.assert_array_equal(value, run.before_test.weights[name])


@slow
@patient
def test_features_of_an_older_network_are_not_taken_for_this_one(run: Run) -> None:
    path, features = run.work / "miniature.foveal.safetensors", run.work / "features.npy"
    kept, right = path.read_bytes(), features.read_bytes()
    trained = (run.work / "distill" / "checkpoint.pt").stat().st_mtime
    try:
        np.save(features, np.zeros((306, 80), np.float32))
        os.utime(features, (trained - 60, trained - 60))
        compact_run.main([str(run.recipe), "head", *run.options])
        again = features.read_bytes()
    finally:
        path.write_bytes(kept)
        features.write_bytes(right)
    assert again == right


def test_an_unknown_stage_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        compact_run.main([str(tmp_path / "recipe.toml"), "polish"])
    assert "'polish'" in capsys.readouterr().err
