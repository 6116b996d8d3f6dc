"""Fixtures for the lab: one thread, small networks, and a store of views with every role in it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import torch._dynamo  # the first optimizer would import it, which takes long: here no test's time runs
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import load_file, save_file

from foveal.imaging.views import SIDE
from foveal.lab.models.compact import CompactConfig
from foveal.lab.training.view_store import ViewPlan, open_pixels, write_plans
from foveal.ratings.table import DatasetCard, Ratings

COMPONENTS = 5


@pytest.fixture(scope="session", autouse=True)
def one_thread_from_the_start() -> None:
    """Fixtures of whole files are made before those of single tests: they have one thread, too.

    On small tensors more threads cost more than they give, and where other work runs, twenty times as much.
    """
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def one_thread(one_thread_from_the_start: None) -> Iterator[None]:
    """Sums in one order: equal runs give equal bits, and tests side by side do not fight for the CPUs."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def tiny_config() -> CompactConfig:
    """A network that trains in milliseconds."""
    return CompactConfig((8, 8, 16, 16), (1, 1, 1, 1), signature=12, hidden=8)


def _write_store(folder: Path, plans: list[ViewPlan], pooled: NDArray[np.floating]) -> None:
    generator = np.random.default_rng(5)
    spread = np.geomspace(3, 0.1, COMPONENTS)
    tokens = generator.normal(0, spread, (len(plans), 7, 7, COMPONENTS))
    folder.mkdir(parents=True, exist_ok=True)
    write_plans(folder, plans)
    np.save(folder / "pooled.npy", pooled.astype(np.float16))
    np.save(folder / "tokens.npy", tokens.astype(np.float16))
    np.savez(folder / "basis.npz", spread=spread)
    mapped = open_pixels(folder, len(plans))
    for row in range(len(plans)):
        mapped[row] = row % 256
    mapped.flush()


def _plan_source(source: str, *, rated: bool, series: bool) -> list[ViewPlan]:
    """The views that a store has of one source, as the recipe plans them."""
    draws = (("whole", 0), ("whole", 1), ("fragments", 0), ("fragments", 1), ("fragments", 2))
    plans = [ViewPlan(source, kind, draw) for kind, draw in (draws if rated else (draws[0], draws[2]))]
    if series:
        plans += [
            ViewPlan(source, kind, 0, degradation, severity)
            for degradation in ("blur", "noise")
            for severity in (0.3, 0.8)
            for kind in ("whole", "fragments")
        ]
    return plans


@pytest.fixture(scope="session")
def plan_source() -> Callable[..., list[ViewPlan]]:
    """Views of a source: ``plan_source(name, rated=..., series=...)``."""
    return _plan_source


@pytest.fixture(scope="session")
def write_store() -> Callable[..., None]:
    """Writes a store: ``write_store(folder, plans, pooled)``, pooled being (views, layers, 2, width).

    Tokens are random, with deviations that fall from 3 to 0.1; a view is filled with the number of its row.
    """
    return _write_store


def _save_vit(folder: Path, *, hidden: int, layers: int) -> None:
    from transformers import ViTConfig, ViTImageProcessor, ViTModel

    torch.manual_seed(0)
    config = ViTConfig(
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=2,
        intermediate_size=2 * hidden,
        image_size=SIDE,
        patch_size=16,
        initializer_range=0.2,  # large enough that layers and views differ
    )
    ViTModel(config, add_pooling_layer=False).save_pretrained(folder)
    means = {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.5, 0.4, 0.6]}
    ViTImageProcessor(size={"height": SIDE, "width": SIDE}, **means).save_pretrained(folder)


@pytest.fixture(scope="session")
def save_vit() -> Callable[..., None]:
    """Saves a random ViT in the layout of transformers: ``save_vit(folder, hidden=..., layers=...)``."""
    return _save_vit


@pytest.fixture(scope="session")
def tiny_vit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a random ViT as ``transformers`` saves it: 7 x 7 patches of 16 pixels, width 24, depth 3."""
    from transformers import ViTConfig, ViTModel

    folder = tmp_path_factory.mktemp("tiny-vit")
    torch.manual_seed(3)
    config = ViTConfig(
        hidden_size=24,
        num_hidden_layers=3,
        num_attention_heads=3,
        intermediate_size=48,
        image_size=112,
        patch_size=16,
    )
    ViTModel(config, add_pooling_layer=False).save_pretrained(folder)
    processor = {
        "image_processor_type": "ViTImageProcessor",
        "do_resize": True,
        "do_normalize": True,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "size": {"height": 112, "width": 112},
        "resample": 2,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(processor), encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def rated_pictures(tmp_path_factory: pytest.TempPathFactory) -> Ratings:
    """Forty pictures whose rating (0 to 10, higher is better) falls with their noise; on disk as PNG."""
    folder = tmp_path_factory.mktemp("rated")
    generator = np.random.default_rng(8)
    noise = generator.uniform(0, 60, 40)
    paths = []
    for number, deviation in enumerate(noise):
        down, right = np.mgrid[0:130, 0:150] / 60
        smooth = 128 + 60 * np.sin(3 * down + number)[..., None] * np.cos(2 * right[..., None] + np.arange(3))
        picture = np.clip(smooth + generator.normal(0, deviation, smooth.shape), 0, 255).astype(np.uint8)
        paths.append(folder / f"picture {number}.png")
        Image.fromarray(picture).save(paths[-1])
    card = DatasetCard("pictures", 0, 10)
    return Ratings(card=card, images=tuple(paths), scores={"quality": 10 - noise / 6})


@pytest.fixture(scope="session")
def other_vit(tiny_vit: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same network with one weight changed a little."""
    folder = tmp_path_factory.mktemp("other") / "vit"
    shutil.copytree(tiny_vit, folder)
    state = load_file(folder / "model.safetensors")
    name = next(name for name in sorted(state) if name.endswith("weight"))
    state[name] += 1e-3
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    return folder
