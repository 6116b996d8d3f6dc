"""The whole way to the shipped compact assessor, stage by stage, from a recipe.

    python -m foveal.lab.training.compact_run recipes/foveal-compact.toml STAGE --biq2021 DIR --images DIR
        --photographs DIR --neighbours CSV --teacher DIR --work DIR

Stages, in order: ``views`` (cut views, the teacher's features), ``split`` (validation part and folds; the
one that the shipped assessor used lies beside the recipe), ``train`` (distillation), ``head`` (int8 trunk,
head, artifact), ``calibrate`` (the interval, on the validation part), ``test`` (the official test set, once).
Each writes into the work folder and reads what the one before it left; a killed ``train`` goes on from its
last checkpoint.
"""

from __future__ import annotations

import argparse
import json
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from foveal import load
from foveal.artifact.card import Card, SideRange, ViewSpec
from foveal.artifact.file import SUFFIX, read_artifact, write_artifact
from foveal.assessment import Assessment
from foveal.evaluation.conformal import calibration_factor
from foveal.evaluation.correlation import plcc, srcc
from foveal.evaluation.report import report
from foveal.imaging.decode import decode
from foveal.imaging.degradations import DEGRADATIONS
from foveal.imaging.views import Pixels, fragment_view, whole_view
from foveal.lab.export import to_artifact
from foveal.lab.models.compact import CompactConfig, CompactNet
from foveal.lab.training.bank import FOLDS, build_bank, gather_sources
from foveal.lab.training.compact_export import (
    INPUTS,
    assemble,
    assessor_rows,
    compute_features,
    export_trunk,
    fit_and_calibrate,
    head_data,
)
from foveal.lab.training.distill import DistillConfig, distill, load_network
from foveal.lab.training.head import HeadConfig
from foveal.lab.training.probe import ProbeConfig
from foveal.lab.training.teacher import TokenTeacher, cell_tokens, pool_tokens
from foveal.lab.training.view_store import (
    ViewPlan,
    iterate_views,
    open_pixels,
    read_plans,
    write_plans,
)
from foveal.ratings.biq2021 import read_biq2021, read_near_copies
from foveal.ratings.near_copies import near_copy_groups
from foveal.ratings.splits import grouped_split
from foveal.ratings.table import Ratings
from foveal.runtime import make_engine

RATED, FREE = "biq", "extra"
"""Collections by name, as they begin the name of a source."""


@dataclass(frozen=True)
class Places:
    """Where everything lies on this machine; a recipe never says."""

    biq2021: Path
    images: Path
    photographs: Path
    neighbours: Path
    teacher: Path
    work: Path

    @property
    def roots(self) -> dict[str, Path]:
        """Folder of each collection."""
        return {RATED: self.images, FREE: self.photographs}

    @property
    def store(self) -> Path:
        """Folder of the views."""
        return self.work / "store"


_PLACES = {
    "biq2021": "folder of the two tables of BIQ2021",
    "images": "folder of all its images",
    "photographs": "folder of the photographs without scores, as the recipe's patterns expect it",
    "neighbours": "table of test images and their nearest training images, for the clean part",
    "teacher": "folder of the frozen vision transformer",
    "work": "folder for everything that is made",
}


def plan_views(rated: Sequence[str], free: Sequence[str], recipe: dict[str, Any]) -> list[ViewPlan]:
    """All views to cut: two whole and three fragment draws of rated images, one of free ones, and series.

    A series is two degradations of a source, each mild and strong.
    """
    generator = np.random.default_rng(recipe["seed"])
    order = [f"{RATED}/{name}" for name in rated]
    generator.shuffle(order)
    in_series = sorted(set(generator.choice(order, recipe["rated_series"], replace=False)))
    draws = (("whole", 0), ("whole", 1), ("fragments", 0), ("fragments", 1), ("fragments", 2))
    plans = [ViewPlan(source, kind, draw) for source in order for kind, draw in draws]
    for name in free:
        source = f"{FREE}/{name}"
        plans += [ViewPlan(source, kind) for kind in ("whole", "fragments")]
        plans += _series(source, generator)
    for source in in_series:
        plans += _series(source, generator)
    return plans[: recipe["most_views"]]


def _series(source: str, generator: np.random.Generator) -> list[ViewPlan]:
    plans = []
    for degradation in generator.choice(list(DEGRADATIONS), 2, replace=False):
        mild = generator.uniform(0.15, 0.5)
        strong = generator.uniform(mild + 0.25, 1.0)
        plans += [
            ViewPlan(source, kind, 0, str(degradation), round(float(severity), 3))
            for severity in (mild, strong)
            for kind in ("whole", "fragments")
        ]
    return plans


def find_photographs(folder: Path, patterns: Sequence[str]) -> list[str]:
    """Files of the free collections, pattern by pattern, sorted within each."""
    return [
        path.relative_to(folder).as_posix() for pattern in patterns for path in sorted(folder.glob(pattern))
    ]


def cut_views(places: Places, recipe: dict[str, Any], train: Ratings) -> None:
    """Stage ``views``: cut all planned views and let the teacher look at each."""
    free = find_photographs(places.photographs, recipe["photographs"])
    plans = plan_views(sorted(path.name for path in train.images), free, recipe)
    places.store.mkdir(parents=True, exist_ok=True)
    write_plans(places.store, plans)
    generator = np.random.default_rng(recipe["seed"] + 1)

    def some(count: int) -> Iterator[Pixels]:
        rows = np.sort(generator.choice(len(plans), count, replace=False))
        return iterate_views([plans[row] for row in rows], places.roots)

    teacher = TokenTeacher(places.teacher, calibration=list(some(recipe["calibration_views"])))
    cells = np.stack([cell_tokens(tokens) for tokens in teacher.tokens(some(recipe["basis_views"]))])
    mean, projection, spread = _token_basis(cells, len(teacher.layers), recipe["token_components"])
    np.savez(places.store / "basis.npz", mean=mean, projection=projection, spread=spread)
    pixels = open_pixels(places.store, len(plans))
    pooled = _create(
        places.store / "pooled.npy",
        (len(plans), len(teacher.layers), 2, cells.shape[-1] // len(teacher.layers)),
    )
    tokens_out = _create(places.store / "tokens.npy", (len(plans), *cells.shape[1:3], projection.shape[1]))

    def keep_views() -> Iterator[Pixels]:
        for row, view in enumerate(iterate_views(plans, places.roots)):
            pixels[row] = view
            yield view

    for row, tokens in enumerate(teacher.tokens(keep_views())):
        pooled[row] = pool_tokens(tokens)
        tokens_out[row] = (cell_tokens(tokens) - mean) @ projection


def _token_basis(
    cells: NDArray[np.float32], layers: int, components: int
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float64]]:
    """Principal components of cell tokens, every layer brought to the same variance first."""
    rows = cells.reshape(-1, cells.shape[-1]).astype(np.float64)
    mean = rows.mean(axis=0)
    centred = rows - mean
    width = rows.shape[1] // layers
    scale = np.sqrt((centred.reshape(-1, layers, width) ** 2).mean(axis=(0, 2))).repeat(width)
    centred /= scale
    values, vectors = np.linalg.eigh(centred.T @ centred / len(centred))
    values, vectors = values[::-1][:components], vectors[:, ::-1][:, :components]
    projection = vectors / scale[:, None]
    return mean.astype(np.float32), projection.astype(np.float32), np.sqrt(values)


def _create(path: Path, shape: tuple[int, ...]) -> NDArray[np.float16]:
    return np.lib.format.open_memmap(path, mode="w+", dtype=np.float16, shape=shape)


def make_split(places: Places, train: Ratings, recipe: dict[str, Any]) -> dict[str, Any]:
    """Hold out a validation part and fold the rest, near copies together (by the teacher's features)."""
    sources = gather_sources(read_plans(places.store))
    row = {name: rows[0] for name, rows in zip(sources.names, sources.whole, strict=True) if rows}
    names = sorted(path.name for path in train.images)
    pooled = np.load(places.store / "pooled.npy", mmap_mode="r")
    features = np.stack([pooled[row[f"{RATED}/{name}"]].astype(np.float32).ravel() for name in names])
    features = (features - features.mean(axis=0)) / (features.std(axis=0) + 1e-3)
    groups = near_copy_groups(names, features, recipe["near_copy"])
    group_of = dict(zip(names, groups, strict=True))
    share = recipe["validation"]
    kept, held_out = grouped_split(names, groups, (1 - share, share), recipe["seed"])
    folds = grouped_split(kept, [group_of[name] for name in kept], (1 / FOLDS,) * FOLDS, 0)
    return {"validation": held_out, "folds": folds}


def train_network(places: Places, recipe: dict[str, Any], train: Ratings, split: dict[str, Any]) -> None:
    """Stage ``train``: distil, from the last checkpoint if there is one."""
    held_out = {f"{RATED}/{name}" for name in split["validation"]}
    folds = {f"{RATED}/{name}": number for number, fold in enumerate(split["folds"]) for name in fold}
    quality = rated_quality(train)
    bank, judged = build_bank(places.store, quality, folds, held_out, ProbeConfig(**recipe["probe"]))
    names = sorted(judged)
    teacher = srcc([judged[name] for name in names], [quality[name] for name in names])
    print(f"the teacher's probes on {len(names)} validation images: SRCC {teacher:.4f}")
    config = DistillConfig(**recipe["distill"])
    torch.manual_seed(config.seed)
    distill(CompactNet(network_config(recipe)), bank, config, places.work / "distill")


def make_artifact(places: Places, recipe: dict[str, Any], train: Ratings, split: dict[str, Any]) -> None:
    """Stage ``head``: int8 trunk, head on its features, calibration, artifact with validation figures."""
    quality = rated_quality(train)
    held_out = {f"{RATED}/{name}" for name in split["validation"]}
    sources = gather_sources(read_plans(places.store))
    _, seen = assessor_rows(sources, set(quality) - held_out)
    trunk, features = _trunk_features(places, recipe, seen)
    names, rows = assessor_rows(sources, held_out)
    rated = np.array([quality[name] for name in names], np.float32)
    data = head_data(sources, features, quality, held_out)
    head, calibration, predicted = fit_and_calibrate(data, HeadConfig(**recipe["head"]), (rows, rated))
    print(f"validation views of the store: SRCC {srcc(predicted, rated):.4f}")
    fields = dict(recipe["card"])
    card = Card(
        trained_on=SideRange(**fields.pop("trained_on")),
        views={name: ViewSpec(name) for name in INPUTS},
        calibration=calibration,
        **fields,
    )
    artifact = to_artifact(assemble(trunk, head), card)
    write_artifact(artifact_path(places, recipe), artifact, store_float16=True)


def calibrate(places: Places, recipe: dict[str, Any], train: Ratings, split: dict[str, Any]) -> None:
    """Stage ``calibrate``: the interval, from the validation files as the ground floor sees them."""
    path = artifact_path(places, recipe)
    artifact = read_artifact(path)
    engine = make_engine(artifact)
    file_of = {image.name: image for image in train.images}
    names = sorted(split["validation"])
    quality = rated_quality(train)
    rated = np.array([quality[f"{RATED}/{name}"] for name in names])
    outputs = [engine.run(_views(file_of[name])) for name in names]
    predicted, spread = (np.concatenate([output[key] for output in outputs]) for key in ("quality", "spread"))
    calibration = replace(
        artifact.card.calibration, factor=calibration_factor(predicted, spread, rated), count=len(rated)
    )
    measured = {
        "BIQ2021 validation SRCC": round(srcc(predicted, rated), 4),
        "BIQ2021 validation PLCC": round(plcc(predicted, rated), 4),
    }
    card = replace(artifact.card, calibration=calibration, measured=measured)
    write_artifact(path, replace(artifact, card=card), store_float16=True, compact=True)
    print(json.dumps(measured | {"factor": calibration.factor}))


def _views(image: Path) -> dict[str, Pixels]:
    pixels = decode(image).pixels
    return {"whole": whole_view(pixels)[None], "fragments": fragment_view(pixels)[None]}


def _trunk_features(
    places: Places, recipe: dict[str, Any], seen: Sequence[tuple[int, int]]
) -> tuple[bytes, NDArray[np.float32]]:
    """The int8 trunk and its features of every view; made once, so that heads can be tried in seconds."""
    trunk_path, features_path = places.work / "trunk.onnx", places.work / "features.npy"
    trained = (places.work / "distill" / "checkpoint.pt").stat().st_mtime
    if not features_path.exists() or features_path.stat().st_mtime < trained:
        network = CompactNet(network_config(recipe))
        load_network(places.work / "distill", network)
        pixels = open_pixels(places.store)
        generator = np.random.default_rng(recipe["int8"]["seed"])
        chosen = generator.choice(len(seen), recipe["int8"]["images"], replace=False)
        trunk_path.write_bytes(export_trunk(network, pixels, [seen[i] for i in sorted(chosen)]))
        width = 2 * sum(network.config.widths[1:])
        np.save(features_path, compute_features(trunk_path.read_bytes(), pixels, width))
    return trunk_path.read_bytes(), np.load(features_path)


def test_artifact(places: Places, recipe: dict[str, Any], test: Ratings) -> None:
    """Stage ``test``: the official test set, once; its figures go into the card."""
    path = artifact_path(places, recipe)
    assessor = load(path)
    rows = [row for row in assessor.stream(test.images) if isinstance(row, Assessment)]
    quality = test.quality()
    figures = report(test, [row.quality for row in rows], leave_out=read_near_copies(places.neighbours))
    inside = [row.interval.low <= q <= row.interval.high for row, q in zip(rows, quality, strict=True)]
    print(figures.to_markdown())
    measured = dict(assessor.card.measured)
    for part, label in (("all", "official test"), ("clean", "clean part")):
        measured[f"BIQ2021 {label} SRCC"] = round(figures[part].srcc.value, 4)
        measured[f"BIQ2021 {label} PLCC"] = round(figures[part].plcc.value, 4)
    calibration = replace(assessor.card.calibration, measured_coverage=round(float(np.mean(inside)), 4))
    artifact = read_artifact(path)
    card = replace(artifact.card, measured=measured, calibration=calibration)
    write_artifact(path, replace(artifact, card=card), store_float16=True, compact=True)
    print(f"coverage of the {calibration.coverage:.0%} interval: {np.mean(inside):.4f}")


def artifact_path(places: Places, recipe: dict[str, Any]) -> Path:
    """Where the finished assessor goes."""
    return places.work / f"{recipe['card']['name']}{SUFFIX}"


def network_config(recipe: dict[str, Any]) -> CompactConfig:
    """Shape of the network from the recipe's table."""
    shape: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in recipe["network"].items()
    }
    return CompactConfig(**shape)


def rated_quality(train: Ratings) -> dict[str, float]:
    """Quality on 1-5 by source."""
    scores = train.quality()
    return {f"{RATED}/{path.name}": float(score) for path, score in zip(train.images, scores, strict=True)}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one stage of a recipe."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("recipe", type=Path)
    parser.add_argument("stage", choices=("views", "split", "train", "head", "calibrate", "test"))
    for place, what in _PLACES.items():
        parser.add_argument(f"--{place}", type=Path, required=True, help=what)
    options = vars(parser.parse_args(arguments))
    recipe_path, stage = options.pop("recipe"), options.pop("stage")
    recipe = tomllib.loads(recipe_path.read_text(encoding="utf-8"))
    places = Places(**options)
    ratings = read_biq2021(places.biq2021, images=places.images)
    train = ratings.part("train")
    split_path = recipe_path.parent / recipe["split"]["file"]
    if stage == "views":
        cut_views(places, recipe["views"], train)
    elif stage == "split":
        split_path.write_text(
            json.dumps(make_split(places, train, recipe["split"]), indent=0), encoding="utf-8"
        )
    elif stage == "test":
        test_artifact(places, recipe, ratings.part("test"))
    else:
        split = json.loads(split_path.read_text(encoding="utf-8"))
        stages = {"train": train_network, "head": make_artifact, "calibrate": calibrate}
        stages[stage](places, recipe, train, split)


if __name__ == "__main__":
    main()
