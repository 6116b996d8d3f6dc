"""The lab's face: what importing it takes, and an assessor that learns in three lines."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import foveal
import foveal.lab
from foveal.errors import BackboneError, ImageError, RatingsError
from foveal.lab import trainable
from foveal.lab.export_trained import Agreement
from foveal.lab.trainable import NotFittedError, TrainableAssessor
from foveal.lab.trained import TrainedModel
from foveal.lab.training.checkpoint import CheckpointError
from foveal.ratings.table import DatasetCard, Ratings
from foveal.strict import RecipeError

OPTIONS = {"hidden": 6, "dropout": 0.1, "layers": [1]}
TRAINING = {"epochs": 15, "batch": 10, "lr": 0.02, "losses": {"mse": 1.0, "plcc": 0.5, "spread": 0.1}}
CARD = {"name": "mine", "version": "3", "licence": "MIT"}


@pytest.fixture(scope="module", autouse=True)
def one_thread_from_the_start() -> None:
    """Also for what the module's fixtures train: equal bits are promised for equal numbers of threads."""
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Ratings:
    """Forty pictures that people like the more the brighter they are, 0 to 10."""
    folder = tmp_path_factory.mktemp("bright")
    generator = np.random.default_rng(3)
    levels = generator.permutation(np.linspace(30, 220, 40))
    paths = []
    for number, level in enumerate(levels):
        grain = generator.normal(0, 10, (120, 140, 3))
        paths.append(folder / f"picture {number}.png")
        Image.fromarray((level + grain).clip(0, 255).astype(np.uint8)).save(paths[-1])
    return Ratings(DatasetCard("bright", 0, 10), tuple(paths), {"quality": levels / 22})


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache") / "features.sqlite"


def make(backbone: Path, cache: Path, **changes: Any) -> TrainableAssessor:
    settings = {
        "options": OPTIONS,
        "training": TRAINING,
        "split": {"validation": 0.4},
        "card": CARD,
        "cache": cache,
        "cpu": True,
    }
    return TrainableAssessor(backbone, **{**settings, **changes})


@pytest.fixture(scope="module")
def fitted(tiny_vit: Path, cache: Path, pictures: Ratings) -> TrainableAssessor:
    return make(tiny_vit, cache).fit(pictures)


def test_it_learns_what_the_ratings_say(fitted: TrainableAssessor, pictures: Ratings) -> None:
    assert fitted.result_.validation["srcc"] > 0.9
    assert len(fitted.result_.epochs) == 15
    rows = fitted.predict(pictures.images)
    assert np.corrcoef([row.quality for row in rows], pictures.quality())[0, 1] > 0.9


def test_predictions_are_assessments(fitted: TrainableAssessor, pictures: Ratings) -> None:
    images: list[Any] = [pictures.images[0], pictures.images[1].read_bytes()]
    named, unnamed = fitted.predict(iter(images))
    assert isinstance(named, foveal.Assessment)
    assert named.source == str(images[0])
    assert named.model == unnamed.model == "mine@3"
    assert 1 <= named.interval.low <= named.quality <= named.interval.high <= 5
    assert named.interval.coverage == 0.9
    assert fitted.predict([]) == []
    with pytest.raises(ImageError, match=r"gone\.png"):
        fitted.predict([pictures.images[0], "gone.png"])


def test_a_prediction_does_not_depend_on_its_neighbours(fitted: TrainableAssessor, pictures: Ratings) -> None:
    images = pictures.images[:20]
    together = [row.quality for row in fitted.predict(images)]
    alone = [fitted.predict([image])[0].quality for image in images]
    assert together == pytest.approx(alone, abs=1e-5)
    assert [row.quality for row in fitted.predict(images[::-1])][::-1] == pytest.approx(together, abs=1e-5)


@pytest.mark.slow
def test_predictions_are_those_of_the_exported_artifact(
    fitted: TrainableAssessor, pictures: Ratings, tmp_path: Path
) -> None:
    path = tmp_path / "mine.foveal.safetensors"
    agreement = fitted.export(path)
    assert agreement.quality <= 1e-3
    assessor = foveal.load(path)
    assert assessor.card.licence == "MIT"
    images = pictures.images[:10]
    for image, expected in zip(images, fitted.predict(images), strict=True):
        row = assessor(image)
        assert row.quality == pytest.approx(expected.quality, abs=1e-3)
        assert row.interval.low == pytest.approx(expected.interval.low, abs=1e-3)
        assert row.interval.high == pytest.approx(expected.interval.high, abs=1e-3)


def test_export_hands_on_what_it_is_told(
    fitted: TrainableAssessor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def record(model: TrainedModel, path: Path, **options: Any) -> Agreement:
        asked.append((model, path, options))
        return Agreement(6, 1e-7, 1e-7)

    monkeypatch.setattr(trainable, "export_model", record)
    path = tmp_path / "mine.foveal.safetensors"
    assert fitted.export(path, draws=3, store_float16=True) == Agreement(6, 1e-7, 1e-7)
    assert asked == [(fitted.model_, path, {"draws": 3, "store_float16": True})]


def test_before_fit_there_is_nothing_to_ask(tiny_vit: Path, cache: Path, tmp_path: Path) -> None:
    assessor = make(tiny_vit, cache)
    assert not hasattr(assessor, "model_")
    for ask in (lambda: assessor.predict([]), lambda: assessor.export(tmp_path / "x.foveal.safetensors")):
        with pytest.raises(NotFittedError, match=r"has learnt nothing yet: call fit\(ratings\) first"):
            ask()
    assert list(tmp_path.iterdir()) == []


def test_two_fits_with_one_seed_are_equal_and_with_another_are_not(
    fitted: TrainableAssessor, tiny_vit: Path, cache: Path, pictures: Ratings
) -> None:
    images = pictures.images[:5]
    again = make(tiny_vit, cache).fit(pictures)
    assert again.result_ == fitted.result_
    assert again.predict(images) == fitted.predict(images)
    other = make(tiny_vit, cache, training={**TRAINING, "seed": 1}).fit(pictures)
    assert other.predict(images) != fitted.predict(images)
    # Fitted again, it starts anew.
    assert other.fit(pictures).predict(images) != fitted.predict(images)
    assert again.fit(pictures).predict(images) == fitted.predict(images)


def test_a_mirrored_scale_teaches_the_same(
    fitted: TrainableAssessor, tiny_vit: Path, cache: Path, pictures: Ratings
) -> None:
    """The same opinions once more, as differences to a reference: 0 to 80, lower is better."""
    dmos = replace(
        pictures,
        card=DatasetCard("dmos", 0, 80, higher_is_better=False),
        scores={"quality": 80 - 8 * pictures.scores["quality"]},
    )
    mirrored = make(tiny_vit, cache).fit(dmos)
    expected = [row.quality for row in fitted.predict(pictures.images)]
    assert [row.quality for row in mirrored.predict(dmos.images)] == pytest.approx(expected, abs=1e-3)


def test_the_test_part_is_not_looked_at(
    tiny_vit: Path, cache: Path, pictures: Ratings, tmp_path: Path
) -> None:
    """Its images need not even be there."""
    gone = tuple(tmp_path / path.name if number < 8 else path for number, path in enumerate(pictures.images))
    for rest in ("train", ""):  # with a split, and with a test part alone
        split = ("test",) * 8 + (rest,) * 32
        ratings = replace(pictures, images=gone, split=split)
        assessor = make(tiny_vit, cache, split=None if rest else {"validation": 0.5})
        if rest:
            # By default a tenth validates; 4 images are too few for a 90 % interval.
            with pytest.raises(RatingsError, match="cannot calibrate quality: 3 images cannot guarantee"):
                assessor.fit(ratings)
            assessor = make(tiny_vit, cache, split={"kind": "given", "validation": 0.5})
        assert assessor.fit(ratings).result_.best >= 1
    with pytest.raises(ImageError, match=r"picture \d\.png"):
        make(tiny_vit, cache, split={"validation": 0.5}).fit(replace(pictures, images=gone))


def test_the_ratings_own_split_is_taken_where_they_have_one(
    tiny_vit: Path, cache: Path, pictures: Ratings
) -> None:
    split = ("train",) * 20 + ("validation",) * 11 + ("",) * 9
    assessor = make(tiny_vit, cache, split=None).fit(replace(pictures, split=split))
    assert assessor.model_.record.calibration["quality"].count == 11


def test_a_folder_keeps_the_run(tiny_vit: Path, cache: Path, pictures: Ratings, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    first = make(tiny_vit, cache, folder=folder).fit(pictures)
    assert sorted(path.name for path in folder.iterdir()) == [
        "checkpoint.pt",
        "epochs.csv",
        "model",
        "run.json",
        "steps.csv",
    ]
    loaded = TrainedModel.from_pretrained(folder / "model", backbone=tiny_vit)
    assert loaded.record.calibration == first.model_.record.calibration
    again = make(tiny_vit, cache, folder=folder).fit(pictures)
    assert again.predict(pictures.images[:3]) == first.predict(pictures.images[:3])
    with pytest.raises(CheckpointError, match="this run has other settings or other data"):
        make(tiny_vit, cache, folder=folder, training={**TRAINING, "lr": 0.5}).fit(pictures)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "vgg"}, "model.kind: 'vgg' is not one of 'glia', 'probe'"),
        ({"options": {"hiden": 3}}, "model.hiden: unknown field; did you mean 'hidden'"),
        ({"training": {"epochs": 0}}, "training: epochs is 0, expected 1 or more"),
        ({"training": {"losses": {"mse": "much"}}}, "training.losses.mse: expected a number, found 'much'"),
        ({"card": {"name": "No Spaces"}}, "card: name 'No Spaces' is not of lower-case letters"),
        ({"split": {"validation": 2}}, "split: validation is 2.0, expected above 0 and below 1"),
    ],
)
def test_settings_are_refused_when_they_are_given(
    tiny_vit: Path, cache: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(RecipeError, match=f"^{message}"):
        make(tiny_vit, cache, **changes)


def test_a_backbone_that_is_not_there_is_missed_when_it_is_needed(cache: Path, pictures: Ratings) -> None:
    with pytest.raises(BackboneError, match="no-such-vit: no folder lies there"):
        make(Path("no-such-vit"), cache).fit(pictures)


@pytest.mark.slow
def test_glia_learns_through_the_same_face(tiny_vit: Path, pictures: Ratings, tmp_path: Path) -> None:
    assessor = TrainableAssessor(
        tiny_vit,
        "glia",
        options={"width": 8, "heads": 2, "layers": [1, 2, 3], "readout_width": 8, "dropout": 0.0},
        training={"epochs": 12, "batch": 8, "lr": 5e-3, "losses": {"mse": 1.0, "plcc": 1.0}},
        split={"validation": 0.4},
        cpu=True,
    ).fit(pictures)
    assert assessor.result_.validation["srcc"] > 0.6
    images = pictures.images[:4]
    expected = assessor.predict(images, draws=2)
    assert expected != assessor.predict(images)
    assert assessor.export(tmp_path / "glia.foveal.safetensors", draws=2).quality <= 1e-3
    artifact = foveal.load(tmp_path / "glia.foveal.safetensors")
    for image, row in zip(images, expected, strict=True):
        assert artifact(image).quality == pytest.approx(row.quality, abs=1e-3)


# Importing the lab.


def start(script: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONWARNINGS"}
    return subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, env=environment
    )


def test_importing_the_lab_imports_nothing_heavy() -> None:
    heavy = ("torch", "transformers", "accelerate", "peft", "onnx", "huggingface_hub")
    done = start(f"import sys, foveal.lab; print([name for name in {heavy!r} if name in sys.modules])")
    assert (done.stdout.strip(), done.stderr) == ("[]", "")


@pytest.mark.parametrize("missing", ["torch", "transformers"])
@pytest.mark.parametrize("wanted", ["foveal.lab", "foveal.lab.trainable"])
def test_the_lab_without_torch_says_what_to_install(missing: str, wanted: str) -> None:
    done = start(
        f"import sys; sys.modules[{missing!r}] = None\n"
        "import foveal; from foveal.errors import MissingExtraError\n"
        f"try:\n    import {wanted}\n"
        "except MissingExtraError as error:\n    print(error)\n"
    )
    assert done.stdout == "the lab needs an optional dependency: pip install 'foveal[lab]'\n", done.stderr


@pytest.mark.parametrize("name", foveal.lab.__all__)
def test_what_the_lab_offers_can_be_called(name: str) -> None:
    assert callable(getattr(foveal.lab, name))


def test_what_the_lab_does_not_offer_is_an_attribute_error() -> None:
    assert foveal.lab.TrainableAssessor is TrainableAssessor
    with pytest.raises(AttributeError, match=r"module 'foveal\.lab' has no attribute 'TrainedModle'"):
        foveal.lab.TrainedModle  # noqa: B018
