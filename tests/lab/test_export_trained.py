"""From trained models to artifacts: what they are fed with, that both score alike, what is not written."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import foveal
from foveal.artifact.card import Calibration, ViewSpec
from foveal.artifact.file import read_artifact
from foveal.assessor import cut_views
from foveal.errors import ArtifactError, ImageError
from foveal.imaging.decode import decode
from foveal.lab import export_trained
from foveal.lab.assess import assess
from foveal.lab.backbones import load_backbone
from foveal.lab.backbones.tuning import TuningMode, apply_tuning
from foveal.lab.export_trained import (
    TOLERANCE,
    ArtifactGraph,
    ExportError,
    artifact_views,
    export_model,
)
from foveal.lab.models.base import Backbones
from foveal.lab.models.registry import MODELS
from foveal.lab.trained import Record, TrainedModel, load_trained, reference
from foveal.lab.training.recipe import CardConfig
from foveal.ratings.table import Ratings
from foveal.runtime.convert import made_pictures
from foveal.runtime.select import make_engine

LORA = TuningMode("lora", rank=2, alpha=16.0, targets=("q", "v", "fc1"))
GLIA = {"width": 4, "heads": 2, "layers": (1, 3), "readout_width": 4}
FACTOR = 1.75
CARD = CardConfig("mine", "2.1", "MIT", "How my pictures look.", "forty pictures")


@pytest.fixture(scope="module")
def make_model(tiny_vit: Path) -> Callable[..., TrainedModel]:
    """Makes models as training leaves them, every weight moved from where it began."""

    def make(kind: str = "probe", tuning: TuningMode | None = None, **options: Any) -> TrainedModel:
        torch.manual_seed(4)
        backbone = load_backbone(tiny_vit)
        described = reference(str(tiny_vit), backbone, tuning)
        apply_tuning(backbone, tuning or TuningMode())
        config = MODELS[kind].config(**options)
        network = MODELS[kind].make(Backbones(backbone), config, ("quality",))
        with torch.no_grad():
            for parameter in network.trainable():
                parameter.add_(0.2 * torch.randn_like(parameter) / parameter.shape[-1] ** 0.5)
        record = Record(
            kind=kind,
            options=dataclasses.asdict(config),
            targets=("quality",),
            backbone=described,
            calibration={"quality": Calibration(coverage=0.9, factor=FACTOR, count=99)},
            card=CARD,
            sides=(200, 900),
            validation={"srcc": 0.5, "plcc": 0.25},
        )
        return TrainedModel(network, record)

    return make


@pytest.fixture(scope="module")
def images(rated_pictures: Ratings) -> list[Path]:
    return list(rated_pictures.images[:4])


@pytest.fixture(scope="module")
def probe(make_model: Callable[..., TrainedModel]) -> TrainedModel:
    """A probe that looks at fragments alone and at one layer, that its graph be small."""
    return make_model(hidden=6, layers=(1,), views=("fragments",))


@pytest.fixture(scope="module")
def exported(probe: TrainedModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its artifact with two draws of fragments, the one export that the quick tests pay for."""
    path = tmp_path_factory.mktemp("exported") / "mine.foveal.safetensors"
    agreement = export_model(probe, path, draws=2, measured={"my test SRCC": 0.75})
    assert agreement.images == 6
    assert agreement.quality <= TOLERANCE
    assert agreement.spread <= FACTOR * TOLERANCE
    return path


@pytest.mark.slow
def test_the_artifact_scores_as_the_mean_over_the_draws(
    probe: TrainedModel, exported: Path, images: list[Path]
) -> None:
    assessor = foveal.load(exported)
    expected = assess(probe, images, draws=2)
    once, second = assess(probe, images), assess(probe, images, draws=1)
    assert [row.quality for row in once] == [row.quality for row in second]
    assert max(abs(a.quality - b.quality) for a, b in zip(once, expected, strict=True)) > TOLERANCE
    for image, wanted in zip(images, expected, strict=True):
        row = assessor(image)
        assert row.quality == pytest.approx(wanted.quality, abs=TOLERANCE)
        assert row.interval.low == pytest.approx(wanted.interval.low, abs=FACTOR * TOLERANCE)
        assert row.interval.high == pytest.approx(wanted.interval.high, abs=FACTOR * TOLERANCE)
        assert row.interval.coverage == 0.9
        assert row.model == "mine@2.1"


def test_the_interval_is_the_calibrated_one(exported: Path, images: list[Path]) -> None:
    assessor = foveal.load(exported)
    for image in images:
        views = cut_views(decode(image).pixels, assessor.card.views)
        outputs = assessor.engine.run({name: view[None] for name, view in views.items()})
        quality, reach = float(outputs["quality"][0]), FACTOR * float(outputs["spread"][0])
        row = assessor(image)
        assert row.interval.low == pytest.approx(max(1, quality - reach), abs=1e-6)
        assert row.interval.high == pytest.approx(min(5, quality + reach), abs=1e-6)


def test_the_card_of_the_artifact(exported: Path) -> None:
    card = read_artifact(exported).card
    assert (card.name, card.version, card.licence) == ("mine", "2.1", "MIT")
    assert (card.summary, card.training_data) == ("How my pictures look.", "forty pictures")
    assert card.measured == {"validation SRCC": 0.5, "validation PLCC": 0.25, "my test SRCC": 0.75}
    assert card.calibration == Calibration(coverage=0.9, factor=FACTOR, count=99)
    assert card.trained_on is not None
    assert (card.trained_on.min_side, card.trained_on.max_side) == (200, 900)
    assert (card.range, card.direction) == ((1, 5), "higher is better")
    assert card.views == {
        "fragments": ViewSpec("fragments", 112, 0),
        "fragments_1": ViewSpec("fragments", 112, 1),
    }


def test_several_draws_are_inputs_of_their_own() -> None:
    views = {"whole": ViewSpec("whole", 112), "fragments": ViewSpec("fragments", 112, 5)}
    assert artifact_views(views) == views
    three = artifact_views(views, 3)
    assert {name: spec.draw for name, spec in three.items()} == {
        "whole": 0,
        "fragments": 5,
        "fragments_1": 6,
        "fragments_2": 7,
    }
    with pytest.raises(ValueError, match="draws is 0, expected 1 or more"):
        artifact_views(views, 0)
    with pytest.raises(
        ValueError, match="this model sees no fragments: there is nothing to draw several times"
    ):
        artifact_views({"whole": ViewSpec("whole", 112)}, 2)


@pytest.fixture
def export_again(
    exported: Path, probe: TrainedModel, images: list[Path], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Any]:
    """Exports the same model without the seconds that ONNX takes."""
    graph = read_artifact(exported).model_bytes()
    monkeypatch.setattr(export_trained, "to_onnx", lambda *_: graph)
    return lambda path, **options: export_model(probe, path, draws=2, **{"images": images, **options})


def test_equal_exports_are_equal_files(
    export_again: Callable[..., Any], exported: Path, tmp_path: Path, images: list[Path]
) -> None:
    path = tmp_path / "again.foveal.safetensors"
    agreement = export_again(path, measured={"my test SRCC": 0.75})
    assert agreement.images == len(images)
    assert agreement.quality <= TOLERANCE
    assert path.read_bytes() == exported.read_bytes()


def test_half_precision_in_the_file_is_half_its_size(
    export_again: Callable[..., Any], exported: Path, tmp_path: Path
) -> None:
    path = tmp_path / "half.foveal.safetensors"
    agreement = export_again(path, store_float16=True, tolerance=0.02)
    assert 0 < agreement.quality <= 0.02
    graph = len(read_artifact(exported).graph)
    assert path.stat().st_size - graph < 0.6 * (exported.stat().st_size - graph)


def test_scores_that_differ_leave_no_file_and_an_old_one_as_it_was(
    export_again: Callable[..., Any], probe: TrainedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "mine.foveal.safetensors"
    with pytest.raises(
        ExportError, match=r"mine\.foveal\.safetensors: .* differ .* by up to 0\.\d+, more than"
    ):
        export_again(path, store_float16=True, tolerance=1e-9)
    assert list(tmp_path.iterdir()) == []
    path.write_text("the old one", encoding="utf-8")
    bias = probe.network.get_parameter("probe.head.quality.bias")
    with monkeypatch.context() as patch:
        patch.setattr(bias, "data", bias.data + 0.002)
        with pytest.raises(ExportError, match=r"by up to 0\.00200, more than 0\.001; it was not written"):
            export_again(path)
    assert path.read_text(encoding="utf-8") == "the old one"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["quality", "spread"])
def test_a_score_that_is_no_number_is_not_agreement(
    export_again: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    class Broken:
        """Gives NaN for the last picture."""

        def __init__(self, artifact: Any) -> None:
            self.engine = make_engine(artifact)
            self.left = 4

        def run(self, views: Mapping[str, Any]) -> dict[str, Any]:
            self.left -= 1
            outputs = self.engine.run(views)
            return outputs if self.left else {**outputs, name: np.full(1, np.nan, np.float32)}

    monkeypatch.setattr(export_trained, "make_engine", Broken)
    with pytest.raises(ExportError, match="it was not written"):
        export_again(tmp_path / "mine.foveal.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_images_that_cannot_be_compared_on_are_an_error(
    export_again: Callable[..., Any], tmp_path: Path
) -> None:
    path = tmp_path / "mine.foveal.safetensors"
    with pytest.raises(ExportError, match="there is no image to compare scores on"):
        export_again(path, images=[])
    with pytest.raises(ImageError, match=r"gone\.png"):
        export_again(path, images=[tmp_path / "gone.png"])
    with pytest.raises(ArtifactError, match="cannot be written"):
        export_again(tmp_path / "no" / "folder" / "mine.foveal.safetensors")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_pictures_to_compare_on_are_of_many_kinds_and_always_the_same() -> None:
    pictures = list(made_pictures())
    assert len({picture.shape for picture in pictures}) == 6
    assert all(np.array_equal(a, b) for a, b in zip(pictures, made_pictures(), strict=True))
    grain = [np.abs(np.diff(picture.astype(int), axis=1)).mean() for picture in pictures]
    assert max(grain) > 2 * min(grain)
    assert any(min(picture.shape[:2]) < 224 for picture in pictures)


def test_exporting_leaves_the_model_as_it_is(
    make_model: Callable[..., TrainedModel],
    tiny_vit: Path,
    tmp_path: Path,
    images: list[Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A model with low-rank updates can be saved, exported and trained on after it has been exported."""
    model = make_model(tuning=LORA, hidden=6)
    before = [row.quality for row in assess(model, images)]
    seen: list[ArtifactGraph] = []

    def stop(graph: ArtifactGraph, *_: object) -> bytes:
        seen.append(graph)
        raise ExportError("far enough")

    monkeypatch.setattr(export_trained, "to_onnx", stop)
    with pytest.raises(ExportError, match="far enough"):
        export_model(model, tmp_path / "mine.foveal.safetensors")
    assert [row.quality for row in assess(model, images)] == before
    assert (
        model.network.trainable_count() == sum(p.numel() for p in model.parameters() if p.requires_grad) > 500
    )
    model.save_pretrained(tmp_path / "saved")
    loaded = load_trained(tmp_path / "saved", backbone=tiny_vit)
    assert [row.quality for row in assess(loaded, images)] == before
    # What went into the export has the updates in its weights and attention written out, and scores the same.
    (graph,) = seen
    names = [name for name, _ in graph.named_parameters()]
    assert not any("lora" in name for name in names)
    assert graph.model.network.backbone.core.config._attn_implementation == "eager"  # type: ignore[union-attr]
    plain = [row.quality for row in assess(graph.model, images)]
    assert plain == pytest.approx(before, abs=1e-5)
    without = make_model(hidden=6)
    without.network.load_trained_state(
        {name: value for name, value in model.network.trained_state().items() if "lora" not in name}
    )
    moved = [abs(a.quality - b) for a, b in zip(assess(without, images), before, strict=True)]
    assert max(moved) > 1e-3  # the updates matter


@pytest.mark.slow
@pytest.mark.parametrize(
    "case",
    [
        ("probe", None, 1, {"hidden": 0, "views": ("whole",)}),
        ("probe", LORA, 2, {"hidden": 6, "views": ("whole", "fragments", "crop"), "layers": (1, 3)}),
        ("probe", TuningMode("last", blocks=2), 1, {"hidden": 6}),
        ("glia", None, 3, {**GLIA, "readout": "layers"}),
        ("glia", None, 2, {**GLIA, "readout": "cls"}),
        ("glia", LORA, 1, {**GLIA, "readout": "layers", "direction": "to-global", "fusion": "global"}),
        ("glia", None, 1, {**GLIA, "streams": "local"}),
    ],
)
def test_every_kind_of_model_scores_alike_as_an_artifact(
    make_model: Callable[..., TrainedModel],
    images: list[Path],
    tmp_path: Path,
    case: tuple[str, TuningMode | None, int, dict[str, Any]],
) -> None:
    kind, tuning, draws, options = case
    model = make_model(kind, tuning, **options)
    path = tmp_path / "mine.foveal.safetensors"
    agreement = export_model(model, path, draws=draws)
    assert agreement.quality <= 1e-3
    assert agreement.spread <= FACTOR * 1e-3
    for engine in ("openvino", "onnxruntime"):
        assessor = foveal.load(path, engine=engine)
        rows = list(assessor.stream(images))
        for row, expected in zip(rows, assess(model, images, draws=draws), strict=True):
            assert isinstance(row, foveal.Assessment)
            assert row.quality == pytest.approx(expected.quality, abs=1e-3)
            assert row.interval.low == pytest.approx(expected.interval.low, abs=2e-3)
            assert row.interval.high == pytest.approx(expected.interval.high, abs=2e-3)
            assert (row.quality_map is None) == (expected.quality_map is None) == (not model.network.has_map)
            if row.quality_map is not None:
                assert expected.quality_map is not None
                assert np.abs(row.quality_map - expected.quality_map).max() < 2e-3
        assert len({round(row.quality, 3) for row in rows if isinstance(row, foveal.Assessment)}) > 1


def test_a_graph_of_several_draws_is_the_mean_of_each(
    make_model: Callable[..., TrainedModel], images: list[Path]
) -> None:
    model = make_model("glia", **GLIA)
    graph = ArtifactGraph(model, 3).eval()
    pixels = decode(images[0]).pixels
    views = cut_views(pixels, graph.views)
    assert list(views) == ["whole", "fragments", "fragments_1", "fragments_2"]

    def tensor(name: str) -> Tensor:
        return torch.from_numpy(views[name].copy())[None]

    with torch.inference_mode():
        quality, spread, cells = graph(*map(tensor, views))
        each = [
            model.network.local_quality({"whole": tensor("whole"), "fragments": tensor(name)})
            for name in ("fragments", "fragments_1", "fragments_2")
        ]
    assert cells.shape == (1, 7, 7)
    for got, singles in (
        (quality, [judged.quality[:, 0] for judged, _ in each]),
        (spread, [judged.spread[:, 0] for judged, _ in each]),
        (cells, [local for _, local in each]),
    ):
        torch.testing.assert_close(got, torch.stack(singles).mean(dim=0))
    assert torch.stack([judged.quality[:, 0] for judged, _ in each]).std() > 0
