"""The teacher: the same tokens as transformers gives, in the order of the views."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from foveal.errors import IncompleteBackboneError, UnsupportedArchitectureError
from foveal.imaging.views import fragment_view, whole_view
from foveal.lab.training.teacher import TokenTeacher, cell_tokens, pool_tokens

LAYERS = (1, 3)
Pixels = NDArray[np.uint8]


@pytest.fixture(scope="module")
def views(make_photo: Callable[..., Pixels]) -> list[Pixels]:
    photos = [make_photo(seed=seed) for seed in range(6)]
    return [whole_view(photo) if i % 2 else fragment_view(photo) for i, photo in enumerate(photos)]


@pytest.fixture(scope="module")
def folder(save_vit: Callable[..., None], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("vit")
    save_vit(folder, hidden=32, layers=3)
    return folder


@pytest.fixture(scope="module")
def expected(folder: Path, views: list[Pixels]) -> NDArray[np.float32]:
    """Hidden states (views, layers, tokens, width) by transformers' own preprocessing and model."""
    from transformers import ViTImageProcessor, ViTModel

    processor = ViTImageProcessor.from_pretrained(folder)
    model = ViTModel.from_pretrained(folder, add_pooling_layer=False).eval()
    with torch.inference_mode():
        inputs = processor(images=views, return_tensors="pt")
        hidden = model(**inputs, output_hidden_states=True).hidden_states
    assert len(hidden) == 4  # the embedding and three layers
    return torch.stack([hidden[layer] for layer in LAYERS], dim=1).numpy()


def test_tokens_are_those_of_transformers_in_order(
    folder: Path, views: list[Pixels], expected: NDArray[np.float32]
) -> None:
    teacher = TokenTeacher(folder, LAYERS)
    assert teacher.layers == LAYERS
    tokens = np.stack(list(teacher.tokens(iter(views))))
    assert tokens.shape == (6, 2, 1 + 14 * 14, 32)
    assert tokens.dtype == np.float32
    np.testing.assert_allclose(tokens, expected, atol=1e-4)
    # Views differ by far more than the tolerance, so their order is proved.
    assert np.abs(expected[1:] - expected[:-1]).max(axis=(1, 2, 3)).min() > 0.1
    again = list(teacher.tokens(views[i % 6] for i in range(40)))  # it can be asked again, and for many
    assert len(again) == 40
    for i, one in enumerate(again):
        np.testing.assert_array_equal(one, tokens[i % 6])


def test_an_abandoned_stream_leaves_nothing_behind(folder: Path, views: list[Pixels]) -> None:
    teacher = TokenTeacher(folder, LAYERS)
    tokens = list(teacher.tokens(views))
    stream = teacher.tokens(views[::-1] * 5)
    next(stream)
    stream.close()
    for one, other in zip(teacher.tokens(views), tokens, strict=True):
        np.testing.assert_array_equal(one, other)


def test_layers_that_are_not_there(folder: Path) -> None:
    for layers in ((1, 4), (-1,), ()):
        with pytest.raises(ValueError, match=r"vit\d+: has layers 0 to 3, not \[.*\]"):
            TokenTeacher(folder, layers)


def test_a_second_token_before_the_patches(save_vit: Callable[..., None], tmp_path: Path) -> None:
    """DeiT's distillation token would be taken for a patch."""
    from transformers import DeiTConfig, DeiTModel

    save_vit(tmp_path, hidden=32, layers=1)  # for its preprocessing
    config = DeiTConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64)
    DeiTModel(config).save_pretrained(tmp_path)
    with pytest.raises(UnsupportedArchitectureError, match="a deit has 2 tokens before its patches"):
        TokenTeacher(tmp_path, (1,))


def test_a_folder_that_does_not_say_how_to_normalise(save_vit: Callable[..., None], tmp_path: Path) -> None:
    save_vit(tmp_path, hidden=32, layers=1)
    (tmp_path / "preprocessor_config.json").unlink()
    with pytest.raises(IncompleteBackboneError, match=r"preprocessor_config\.json: no such file"):
        TokenTeacher(tmp_path, (1,))


def test_int8_stays_close(folder: Path, views: list[Pixels], expected: NDArray[np.float32]) -> None:
    tokens = np.stack(list(TokenTeacher(folder, LAYERS, calibration=views).tokens(views)))
    assert tokens.shape == expected.shape
    error, variance = np.mean((tokens - expected) ** 2), expected.var()
    assert 0 < error < 0.05 * variance


def test_pooling_takes_the_first_token_and_the_mean_of_the_others() -> None:
    tokens = np.random.default_rng(0).normal(size=(3, 10, 4)).astype(np.float32)
    pooled = pool_tokens(tokens)
    assert pooled.shape == (3, 2, 4)
    for layer in range(3):
        for channel in range(4):
            assert pooled[layer, 0, channel] == tokens[layer, 0, channel]
            mean = sum(float(tokens[layer, token, channel]) for token in range(1, 10)) / 9
            assert pooled[layer, 1, channel] == pytest.approx(mean, abs=1e-6)


@pytest.mark.parametrize(("side", "grid"), [(14, 7), (6, 2), (4, 4)])
def test_cells_are_means_over_squares_of_patches(side: int, grid: int) -> None:
    tokens = np.random.default_rng(0).normal(size=(3, 1 + side * side, 2)).astype(np.float32)
    cells = cell_tokens(tokens, grid)
    assert cells.shape == (grid, grid, 6)
    step = side // grid
    for row in range(grid):
        for column in range(grid):
            for layer in range(3):
                inside = [
                    tokens[layer, 1 + down * side + right]
                    for down in range(row * step, (row + 1) * step)
                    for right in range(column * step, (column + 1) * step)
                ]
                found = cells[row, column, 2 * layer : 2 * layer + 2]
                np.testing.assert_allclose(found, np.mean(inside, axis=0), atol=1e-6)
