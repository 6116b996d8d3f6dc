"""Pictures are prepared as the model's own processor does it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the lab needs its extra")
transformers = pytest.importorskip("transformers", reason="the lab needs its extra")

from foveal.errors import IncompleteBackboneError  # noqa: E402
from foveal.lab.backbones import load_backbone  # noqa: E402
from foveal.lab.backbones.preprocessing import Preprocessing, read_preprocessing  # noqa: E402

NATIVE = (32, 32)
NORMALISED = {"image_mean": [0.4, 0.5, 0.6], "image_std": [0.2, 0.25, 0.3]}

Make = Callable[[str], Any]


def read(folder: Path, content: dict[str, Any], name: str = "preprocessor_config.json") -> Preprocessing:
    (folder / name).write_text(json.dumps(content), encoding="utf-8")
    return read_preprocessing(folder, NATIVE)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("ViTImageProcessorPil", {"size": {"height": 24, "width": 32}, **NORMALISED}),
        ("CLIPImageProcessorPil", {"size": {"shortest_edge": 40}, "crop_size": 32}),
        ("BitImageProcessorPil", {"size": {"shortest_edge": 30}, "crop_size": {"height": 20, "width": 28}}),
        ("DeiTImageProcessorPil", {"size": 36, "crop_size": 32}),
        ("SiglipImageProcessorPil", {"size": {"height": 32, "width": 32}, "resample": 2}),
    ],
)
@pytest.mark.parametrize("shape", [(60, 91), (77, 45), (20, 33)])
def test_views_equal_those_of_the_processor(
    tmp_path: Path, make_photo: Callable[..., Any], name: str, options: dict[str, Any], shape: tuple[int, int]
) -> None:
    processor = getattr(transformers, name)(**options)
    processor.save_pretrained(tmp_path)
    photo = make_photo(*shape)
    expected = processor(photo, return_tensors="np")["pixel_values"][0]

    preprocessing = read_preprocessing(tmp_path, NATIVE)
    view = preprocessing.view(photo)
    assert view.dtype == np.uint8
    assert view.shape[:2] == preprocessing.crop == expected.shape[1:]
    normalised = (view * preprocessing.rescale - preprocessing.mean) / preprocessing.std
    np.testing.assert_allclose(normalised.transpose(2, 0, 1), expected, atol=1e-5)


def test_backbone_normalises_as_its_processor(tiny_backbone: Make, make_photo: Callable[..., Any]) -> None:
    backbone = load_backbone(tiny_backbone("vit").folder)
    views = np.stack([make_photo(32, 32, seed) for seed in range(2)])
    processor = transformers.ViTImageProcessorPil(size={"height": 32, "width": 32}, **NORMALISED)
    expected = processor(list(views), return_tensors="pt")["pixel_values"]
    torch.testing.assert_close(backbone.normalise(views), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(backbone.normalise(torch.from_numpy(views)), backbone.normalise(views))
    with pytest.raises(ValueError, match="views must be"):
        backbone.normalise(views[0])


def test_old_processor_files(tmp_path: Path) -> None:
    """Files of the first releases give sizes as plain numbers and name feature extractors."""
    clip = {
        "feature_extractor_type": "CLIPFeatureExtractor",
        "size": 28,
        "crop_size": 24,
        "do_center_crop": True,
    }
    assert read(tmp_path, {**clip, **NORMALISED}) == Preprocessing(
        (0.4, 0.5, 0.6), (0.2, 0.25, 0.3), 28, (24, 24), resample=3
    )
    vit = read(tmp_path, {"feature_extractor_type": "ViTFeatureExtractor", "size": 24, **NORMALISED})
    assert (vit.resize, vit.crop, vit.resample) == ((24, 24), (24, 24), 2)


def test_processor_for_any_shape_and_without_resize(tmp_path: Path) -> None:
    naflex = {"image_processor_type": "Siglip2ImageProcessor", "max_num_patches": 256, "patch_size": 16}
    assert read(tmp_path, {**naflex, **NORMALISED}).crop == (256, 256)
    assert read(tmp_path, {"do_resize": False, "size": 99, **NORMALISED}).crop == NATIVE


def test_switches(tmp_path: Path) -> None:
    plain = read(tmp_path, {"do_normalize": False, "do_rescale": False, "size": 24})
    assert (plain.mean, plain.std, plain.rescale) == ((0, 0, 0), (1, 1, 1), 1)


def test_combined_processor_file_wins(tmp_path: Path) -> None:
    read(tmp_path, {"size": 24, **NORMALISED})
    combined = {"processor_class": "CLIPProcessor", "image_processor": {"size": 48, **NORMALISED}}
    assert read(tmp_path, combined, "processor_config.json").crop == (48, 48)
    assert read(tmp_path, {"processor_class": "CLIPProcessor"}, "processor_config.json").crop == (24, 24)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({"size": 24, "image_std": [1, 1, 1]}, "image_mean"),
        ({"size": 24, "image_mean": [0.5], "image_std": [1, 1, 1]}, "not enough values"),
        ({"size": {"longest_edge": 24}, **NORMALISED}, "height"),
        ({"size": 0, **NORMALISED}, "0 pixels"),
        ({"size": 24, "crop_size": 32, "do_center_crop": True, **NORMALISED}, "larger than"),
    ],
)
def test_senseless_processor_files(tmp_path: Path, content: dict[str, Any], reason: str) -> None:
    with pytest.raises(IncompleteBackboneError, match=rf"preprocessor_config\.json.*{reason}"):
        read(tmp_path, content)


def test_normalisation_is_never_guessed(tiny_backbone: Make, tmp_path: Path) -> None:
    for name in ("config.json", "model.safetensors"):
        shutil.copy(tiny_backbone("vit").folder / name, tmp_path)
    with pytest.raises(IncompleteBackboneError, match="must not be guessed"):
        load_backbone(tmp_path)
