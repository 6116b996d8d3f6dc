"""Trained models: saved, loaded bit for bit, described by a card, and refused when damaged or misplaced."""

from __future__ import annotations

import json
import shutil
import socket
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from huggingface_hub import ModelCard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import load, save_file
from torch import Tensor

from foveal.errors import BackboneError, FovealError, RatingsError
from foveal.lab import trained as module
from foveal.lab.assess import assess
from foveal.lab.backbones import load_backbone
from foveal.lab.models.base import Judgement
from foveal.lab.trained import CONFIG, WEIGHTS, TrainedModel, TrainedModelError, load_trained, model_card
from foveal.lab.training.checkpoint import CheckpointError
from foveal.lab.training.recipe import Recipe, recipe_from
from foveal.lab.training_run import MODEL, Telling, TrainingRun, train
from foveal.ratings.table import Ratings

PROBE = {"kind": "probe", "hidden": 6, "dropout": 0.1}
GLIA = {
    "kind": "glia",
    "width": 4,
    "heads": 2,
    "every": 2,
    "layers": [1, 3],
    "readout_width": 4,
    "dropout": 0.0,
}
LORA = {"kind": "lora", "rank": 2, "alpha": 8, "targets": ["q", "v"], "dropout": 0.1}
CARD = {
    "name": "mine",
    "version": "2.1",
    "licence": "CC-BY-4.0",
    "summary": "How my pictures look.",
    "training_data": "forty pictures",
}


def make_recipe(
    backbone: Path, model: dict[str, Any], *, tuning: dict[str, Any] | None = None, **tables: Any
) -> Recipe:
    values = {
        "ratings": {"path": "", "low": 1, "high": 5},
        "backbone": {"name": str(backbone), "tuning": tuning or {}},
        "model": model,
        "split": {"validation": 0.5},
        "training": {"epochs": 2, "batch": 10, "lr": 0.01, "losses": {"mse": 1.0, "spread": 0.2}},
        "card": CARD,
    }
    return recipe_from({**values, **tables})


def random_views() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(2)
    shape = (3, 112, 112, 3)
    return {
        name: torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
        for name in ("whole", "fragments")
    }


@pytest.fixture(scope="module")
def views() -> dict[str, Tensor]:
    return random_views()


@pytest.fixture(scope="module")
def twenty(rated_pictures: Ratings) -> Ratings:
    return rated_pictures.take(range(20))


@pytest.fixture(scope="module")
def run(tiny_vit: Path, rated_pictures: Ratings, tmp_path_factory: pytest.TempPathFactory) -> TrainingRun:
    """A trained probe. Nothing that trains or saves it may touch the network."""
    folder = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", _refuse)
        patch.setattr(TrainedModel, "push_to_hub", _refuse)
        return train(
            make_recipe(tiny_vit, PROBE), rated_pictures, folder=folder, cache=folder / "c.sqlite", cpu=True
        )


def _refuse(*_: object, **__: object) -> None:
    raise AssertionError("this touches the network")


@pytest.fixture
def saved(run: TrainingRun, tmp_path: Path) -> Path:
    """A copy of the saved model that a test may spoil."""
    shutil.copytree(run.folder, tmp_path / "model")
    return tmp_path / "model"


def read_state(folder: Path) -> dict[str, Tensor]:
    """Weights in memory of their own: those of ``load_file`` are the file's, which tests write over."""
    state: dict[str, Tensor] = load((folder / WEIGHTS).read_bytes())
    return state


def judge(model: TrainedModel, views: dict[str, Tensor]) -> Judgement:
    with torch.inference_mode():
        judged: Judgement = model(views)
    return judged


def same(one: Judgement, other: Judgement) -> bool:
    return torch.equal(one.quality, other.quality) and torch.equal(one.spread, other.spread)


# Saved and loaded.


def test_a_loaded_model_judges_to_the_last_bit_as_the_saved_one(
    run: TrainingRun, tiny_vit: Path, views: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket.socket, "connect", _refuse)
    expected = judge(run.model, views)
    assert expected.quality.std() > 0
    for backbone in (tiny_vit, str(tiny_vit), load_backbone(tiny_vit)):
        model = TrainedModel.from_pretrained(run.folder, backbone=backbone)
        assert not model.training
        assert same(judge(model, views), expected)
        assert json.dumps(asdict(model.record)) == json.dumps(asdict(run.model.record))
    assert same(judge(load_trained(run.folder, backbone=tiny_vit), views), expected)


def test_a_model_is_saved_again_as_it_was_loaded(run: TrainingRun, tiny_vit: Path, tmp_path: Path) -> None:
    TrainedModel.from_pretrained(run.folder, backbone=tiny_vit).save_pretrained(tmp_path / "again")
    for name in (CONFIG, WEIGHTS, "README.md"):
        assert (tmp_path / "again" / name).read_bytes() == (run.folder / name).read_bytes()


def test_only_what_was_trained_is_stored(run: TrainingRun) -> None:
    assert sorted(path.name for path in run.folder.iterdir()) == ["README.md", CONFIG, WEIGHTS]
    state = read_state(run.folder)
    assert all(name.startswith("probe.") for name in state)
    # Two views of one layer with two vectors of 24, then 6, then quality and spread; mean and deviation.
    assert sum(tensor.numel() for tensor in state.values()) == (96 + 1) * 6 + 2 * (6 + 1) + 2 * 96


def test_the_record_says_what_was_done(run: TrainingRun, tiny_vit: Path, rated_pictures: Ratings) -> None:
    record = run.model.record
    assert (record.kind, record.targets) == ("probe", ("quality",))
    assert (record.backbone.name, record.backbone.revision) == (tiny_vit.name, "")
    assert asdict(record.card) == CARD
    assert record.sides == (150, 150)
    assert record.validation == run.result.validation
    assert len(run.parts.validation) == 20
    calibration = record.calibration["quality"]
    assert (calibration.coverage, calibration.count) == (0.9, 20)
    # Split conformal: the factor's intervals hold exactly 19 of the 20 that it was found on, ceil(21 * .9).
    rated = run.parts.validation.quality()
    judged = [assess(run.model, [image])[0] for image in run.parts.validation.images]
    pairs = zip(judged, rated, strict=True)
    inside = [row.interval.low - 1e-4 <= score <= row.interval.high + 1e-4 for row, score in pairs]
    assert sum(inside) == 19
    own = [row.quality for row in judged]
    # Training saw features in half precision.
    np.testing.assert_allclose(run.validation_quality[:, 0], own, atol=0.01)


@pytest.mark.parametrize(
    "trained",
    [
        ({**PROBE, "layers": [3]}, LORA, ".lora_"),
        ({**PROBE, "layers": [3]}, {"kind": "last", "blocks": 1}, "backbone."),
        (GLIA, {"kind": "frozen"}, "adapters."),
        pytest.param((GLIA, LORA, ".lora_"), marks=pytest.mark.slow),
        pytest.param(
            ({**GLIA, "readout": "cls"}, {"kind": "last", "blocks": 1}, "gate."), marks=pytest.mark.slow
        ),
    ],
)
def test_what_is_tuned_comes_back_too(
    tiny_vit: Path, twenty: Ratings, tmp_path: Path, trained: tuple[dict[str, Any], dict[str, Any], str]
) -> None:
    views = random_views()
    model, tuning, stored = trained
    training = {"epochs": 1, "batch": 5, "lr": 0.02}
    recipe = make_recipe(tiny_vit, model, tuning=tuning, training=training)
    done = train(recipe, twenty, folder=tmp_path, cpu=True)
    assert any(stored in name for name in read_state(done.folder))
    loaded = load_trained(done.folder, backbone=tiny_vit)
    assert same(judge(loaded, views), judge(done.model, views))
    assert loaded.record.backbone.tuning.kind == tuning["kind"]
    # Without what was stored it is another model.
    state = read_state(done.folder)
    name = max(name for name in state if stored in name)
    state[name] += torch.randn(state[name].shape)
    save_file(state, done.folder / WEIGHTS)
    assert not same(judge(load_trained(done.folder, backbone=tiny_vit), views), judge(done.model, views))


def test_a_run_starts_from_the_weights_of_another_one(
    tiny_vit: Path, twenty: Ratings, tmp_path: Path
) -> None:
    """A readout is trained alone, and then with adapters; of these the readout is not at the beginning."""
    readout = make_recipe(tiny_vit, {**GLIA, "every": 0})
    first = train(readout, twenty, folder=tmp_path / "first", cache=tmp_path / "c.sqlite", cpu=True)
    still = {"epochs": 1, "batch": 10, "lr": 1e-12, "weight_decay": 0.0}
    recipe = make_recipe(tiny_vit, GLIA, start=str(first.folder), training=still)
    second = train(recipe, twenty, folder=tmp_path / "second", cpu=True)
    before, after = (one.model.network.trained_state() for one in (first, second))
    assert before.keys() < after.keys()
    for name, tensor in before.items():
        torch.testing.assert_close(after[name], tensor, atol=1e-6, rtol=0)
    with pytest.raises(CheckpointError, match="another model or backbone was trained here"):
        train(replace(recipe, start=None), twenty, folder=tmp_path / "second", cpu=True)


def test_a_run_does_not_start_from_what_does_not_fit(
    saved: Path, tiny_vit: Path, other_vit: Path, twenty: Ratings, tmp_path: Path
) -> None:
    def begin(backbone: Path, model: dict[str, Any], start: str) -> None:
        train(make_recipe(backbone, model, start=start), twenty, folder=tmp_path / "run", cpu=True)

    with pytest.raises(TrainedModelError, match=r"cannot start from it: .* unexpected"):
        begin(tiny_vit, GLIA, str(saved))
    with pytest.raises(TrainedModelError, match=r"was trained on .*, not on .*: cannot start from it"):
        begin(other_vit, PROBE, str(saved))
    with pytest.raises(TrainedModelError, match="there is no such file; give the folder of a trained model"):
        begin(tiny_vit, PROBE, str(tmp_path / "nothing"))


def test_half_precision_is_half_the_size(saved: Path, tiny_vit: Path, views: dict[str, Tensor]) -> None:
    before = load_trained(saved, backbone=tiny_vit)
    size = (saved / WEIGHTS).stat().st_size
    module.store_half(saved)
    assert (saved / WEIGHTS).stat().st_size < 0.65 * size
    after = load_trained(saved, backbone=tiny_vit)
    torch.testing.assert_close(judge(after, views).quality, judge(before, views).quality, atol=0.02, rtol=0)
    state = read_state(saved)
    save_file({name: tensor.float() * 1e9 for name, tensor in state.items()}, saved / WEIGHTS)
    with pytest.raises(TrainedModelError, match=r"model\.safetensors: probe\.\S+ does not fit into half"):
        module.store_half(saved)


# The card.


def front_matter(text: str) -> dict[str, Any]:
    """What the Hub reads off a card."""
    return {name: value for name, value in vars(ModelCard(text).data).items() if value is not None}


def test_the_card_says_licence_range_and_direction(run: TrainingRun) -> None:
    text = (run.folder / "README.md").read_text(encoding="utf-8")
    assert front_matter(text) == {
        "license": "cc-by-4.0",
        "library_name": "foveal",
        "pipeline_tag": "image-classification",
        "tags": ["image-quality-assessment", "iqa"],
    }
    assert "# mine 2.1" in text
    assert "How my pictures look." in text
    assert "quality, on 1 (bad) to 5 (excellent), higher is better" in text
    assert f"`{run.model.record.backbone.name}`, which is not included" in text
    assert "Trained on: forty pictures." in text
    assert f"SRCC {run.result.validation['srcc']:.3f}" in text
    assert 'load_trained("mine", backbone=' in text


def test_any_licence_makes_a_card_that_can_be_read(run: TrainingRun) -> None:
    for licence in ("mine: see LICENSE", "unstated", "# none", 'the "own" one', ""):
        record = replace(run.model.record, card=replace(run.model.record.card, licence=licence))
        assert front_matter(model_card(record, 7))["license"] == licence.lower()
        assert str(TrainedModel(run.model.network, record).generate_model_card()).startswith("---\n")


# Damaged, foreign, misplaced.


def test_a_backbone_of_other_weights_is_refused(saved: Path, tiny_vit: Path, tmp_path: Path) -> None:
    other = load_backbone(tiny_vit)
    with torch.no_grad():
        next(other.blocks.parameters()).view(-1)[0] += 1e-4
    with pytest.raises(TrainedModelError, match="its weights are not those that this model was trained on"):
        load_trained(saved, backbone=other)
    with pytest.raises(BackboneError, match="no folder lies there and no backbone has this name"):
        load_trained(saved)  # the folder's name alone says nothing elsewhere
    with pytest.raises(BackboneError, match="nowhere"):
        load_trained(saved, backbone=tmp_path / "nowhere")


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=40)
@given(share=st.floats(0, 1))
def test_a_cut_config_is_refused(
    share: float, run: TrainingRun, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("cut")
    content = (run.folder / CONFIG).read_bytes().rstrip()
    (folder / CONFIG).write_bytes(content[: min(int(share * len(content)), len(content) - 1)])
    with pytest.raises(TrainedModelError, match=r"config\.json: cannot be read as JSON"):
        TrainedModel.from_pretrained(folder)


def spoil(folder: Path, place: str, value: object) -> None:
    """Put a value into the record at a dotted place."""
    record = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    table = record
    *where, last = place.split(".")
    for name in where:
        table = table[name]
    table[last] = value
    (folder / CONFIG).write_text(json.dumps(record), encoding="utf-8")


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        ("format", 2, r"config\.json: not a model of Foveal, or one of a newer version"),
        ("format", None, "not a model of Foveal, or one of a newer version"),
        ("later_field", 1, "later_field: unknown field"),
        ("kind", "vgg", "model 'vgg' is not known here; known are glia, probe"),
        ("kind", 3, r"config\.json: kind: expected text, found 3"),
        ("options.hiddn", 3, "options.hiddn: unknown field; did you mean 'hidden'"),
        ("options.layers", [7], "has 3 layers, not 7"),
        ("options.dropout", 1.0, "dropout is 1.0, expected 0 to below 1"),
        ("targets", [], r"targets are \[\], expected 'quality' first"),
        ("targets", ["quality", "clarity"], "calibration is of .*, expected of each target"),
        ("calibration", {}, r"calibration is of \[\], expected of each target"),
        ("calibration.quality.factor", -1, "calibration factor is -1.0"),
        ("calibration.quality.factor", float("nan"), "calibration factor is nan"),
        ("sides", [100], r"sides are \[100\], expected the shortest and the longest"),
        ("card.name", "My Model", "card: name 'My Model' is not of lower-case letters"),
        ("backbone", None, "backbone: expected a table, found None"),
        ("backbone.fingerprint", "0", "its weights are not those that this model was trained on"),
        ("backbone.tuning", {"kind": "last", "blocks": 9}, "has 3 blocks: cannot set the last 9 free"),
        (
            "backbone.attention",
            "someone/kernel",
            "backbone.attention: 'someone/kernel' is not one of 'sdpa', 'eager'",
        ),
    ],
)
def test_records_that_cannot_be_are_refused(
    saved: Path, tiny_vit: Path, place: str, value: object, message: str
) -> None:
    spoil(saved, place, value)
    with pytest.raises(TrainedModelError, match=message):
        load_trained(saved, backbone=tiny_vit)


@pytest.mark.parametrize("content", ["[1]", "3", "null", "{}", '{"format": "x"}', "[" * 100_000, "\xff"])
def test_other_json_is_no_model(saved: Path, tiny_vit: Path, content: str) -> None:
    (saved / CONFIG).write_bytes(content.encode("latin-1"))
    with pytest.raises(TrainedModelError, match=r"config\.json: "):
        load_trained(saved, backbone=tiny_vit)


def test_missing_files_are_named(saved: Path, tiny_vit: Path) -> None:
    (saved / WEIGHTS).unlink()
    with pytest.raises(TrainedModelError, match=r"model\.safetensors: missing, not a safetensors file, or"):
        load_trained(saved, backbone=tiny_vit)
    (saved / CONFIG).unlink()
    with pytest.raises(TrainedModelError, match=r"config\.json: there is no such file; give the folder of a"):
        load_trained(saved, backbone=tiny_vit)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.999])
def test_cut_weights_are_refused(saved: Path, tiny_vit: Path, share: float) -> None:
    content = (saved / WEIGHTS).read_bytes()
    (saved / WEIGHTS).write_bytes(content[: int(share * len(content))])
    with pytest.raises(
        TrainedModelError, match=r"model\.safetensors: missing, not a safetensors file, or damaged"
    ):
        load_trained(saved, backbone=tiny_vit)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: {"odd": torch.ones(1), **state}, "weights do not fit ProbeModel: odd unexpected"),
        (lambda state: {k: v for k, v in state.items() if k != "probe.mean"}, "probe.mean missing"),
        (
            lambda state: {**state, "probe.mean": torch.ones(3)},
            r"probe.mean has shape \(3,\), expected \(96,\)",
        ),
    ],
)
def test_weights_of_another_model_are_refused(
    saved: Path, tiny_vit: Path, change: Callable[[dict[str, Tensor]], dict[str, Tensor]], message: str
) -> None:
    save_file(change(read_state(saved)), saved / WEIGHTS)
    with pytest.raises(TrainedModelError, match=rf"model\.safetensors: .*{message}"):
        load_trained(saved, backbone=tiny_vit)


def test_a_pickle_is_not_read_in_place_of_the_weights(saved: Path, tiny_vit: Path) -> None:
    torch.save(read_state(saved), saved / WEIGHTS)
    with pytest.raises(TrainedModelError, match="not a safetensors file"):
        load_trained(saved, backbone=tiny_vit)


@pytest.mark.parametrize("load", [load_trained, TrainedModel.from_pretrained])
def test_a_mistyped_path_does_not_reach_the_network(
    run: TrainingRun, load: Callable[[str], TrainedModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "hf_hub_download", _refuse)
    monkeypatch.setattr(socket.socket, "connect", _refuse)
    monkeypatch.chdir(run.folder.parent)
    (run.folder.parent / "runs").mkdir(exist_ok=True)
    for place in (str(run.folder.parent / "modle"), "modle", "runs/modle", "a/b/c"):
        with pytest.raises(TrainedModelError, match=f"^{place}: "):
            load(place)


def test_a_hub_id_is_fetched_file_by_file(
    run: TrainingRun, tiny_vit: Path, views: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def download(repo: str, name: str, **hub: Any) -> str:
        asked.append((repo, name, hub))
        return str(run.folder / name)

    monkeypatch.setattr(module, "hf_hub_download", download)
    model = TrainedModel.from_pretrained("someone/model", backbone=tiny_vit, revision="abc", token=False)
    assert same(judge(model, views), judge(run.model, views))
    options = {"revision": "abc", "token": False}
    assert asked == [("someone/model", CONFIG, options), ("someone/model", WEIGHTS, options)]

    def fail(*_: object, **__: object) -> str:
        raise OSError("offline")

    monkeypatch.setattr(module, "hf_hub_download", fail)
    with pytest.raises(
        TrainedModelError, match=r"someone/model: no such folder, and config\.json cannot be had"
    ):
        load_trained("someone/model", backbone=tiny_vit)


def test_a_model_trained_on_a_commit_of_the_hub_loads_with_a_folder(
    saved: Path, tiny_vit: Path, run: TrainingRun, views: dict[str, Tensor]
) -> None:
    """A folder has no revision; the weights' fingerprint is what counts."""
    spoil(saved, "backbone.revision", "0123abc")
    spoil(saved, "backbone.name", "someone/vit")
    model = load_trained(saved, backbone=tiny_vit)
    assert same(judge(model, views), judge(run.model, views))
    assert model.record.backbone.revision == "0123abc"


# The run around it.


def test_a_finished_run_is_given_again_with_the_card_of_today(
    run: TrainingRun, tiny_vit: Path, rated_pictures: Ratings, tmp_path: Path, views: dict[str, Tensor]
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(run.folder.parent, folder)
    recipe = make_recipe(tiny_vit, PROBE, card={**CARD, "licence": "MIT"})
    steps: list[int] = []
    telling = Telling(step=lambda step, *_: steps.append(step))
    again = train(recipe, rated_pictures, folder=folder, cache=folder / "c.sqlite", cpu=True, telling=telling)
    assert steps == []
    assert again.result == run.result
    assert same(judge(again.model, views), judge(run.model, views))
    assert "license: mit\n" in (folder / MODEL / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("model", [{**PROBE, "layers": [3]}, {**PROBE, "views": ["whole", "crop"]}])
def test_a_folder_does_not_go_on_with_another_model_of_the_same_shape(
    run: TrainingRun, tiny_vit: Path, rated_pictures: Ratings, tmp_path: Path, model: dict[str, Any]
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(run.folder.parent, folder)
    with pytest.raises(CheckpointError, match=r"run\.json: another model or backbone was trained here; name"):
        train(
            make_recipe(tiny_vit, model), rated_pictures, folder=folder, cache=folder / "c.sqlite", cpu=True
        )


def test_what_would_fail_after_the_training_fails_before_it(
    tiny_vit: Path, rated_pictures: Ratings, tmp_path: Path
) -> None:
    telling = Telling(step=_refuse)
    recipe = make_recipe(tiny_vit, PROBE, split={"validation": 0.15})
    with pytest.raises(RatingsError, match="the validation part cannot calibrate quality: 6 images cannot"):
        train(recipe, rated_pictures, folder=tmp_path, cache=tmp_path / "c.sqlite", cpu=True, telling=telling)
    broken = tmp_path / "broken.png"
    broken.write_bytes(rated_pictures.images[0].read_bytes()[:2000])
    images = (broken, *rated_pictures.images[1:])
    with pytest.raises(FovealError, match=r"broken\.png"):
        train(
            # A change of mind is free where nothing has been trained yet.
            make_recipe(tiny_vit, {**PROBE, "hidden": 5}),
            replace(rated_pictures, images=images),
            folder=tmp_path,
            cache=tmp_path / "c.sqlite",
            cpu=True,
            telling=telling,
        )


def test_images_that_pillow_alone_cannot_open_can_be_learnt_from(
    tiny_vit: Path, twenty: Ratings, tmp_path: Path
) -> None:
    heif = pytest.importorskip("pillow_heif")
    heic = tmp_path / "long.heic"
    with Image.open(twenty.images[0]) as picture:
        heif.from_pillow(picture.resize((256, 64))).save(heic)
    ratings = replace(twenty, images=(heic, *twenty.images[1:]), split=("train",) * 8 + ("validation",) * 12)
    recipe = make_recipe(tiny_vit, PROBE, training={"epochs": 1, "batch": 5}, split={"kind": "given"})
    done = train(recipe, ratings, folder=tmp_path / "run", cache=tmp_path / "c.sqlite", cpu=True)
    assert done.model.record.sides == (150, 256)


def test_two_targets_are_learnt_side_by_side(
    tiny_vit: Path, rated_pictures: Ratings, views: dict[str, Tensor], tmp_path: Path
) -> None:
    quality = rated_pictures.scores["quality"]
    clarity = np.where(np.arange(40) % 4 == 0, np.nan, 10 - quality)
    ratings = replace(rated_pictures, scores={"quality": quality, "clarity": clarity})
    recipe = make_recipe(tiny_vit, PROBE, targets=["quality", "clarity"])
    done = train(recipe, ratings, folder=tmp_path, cache=tmp_path / "c.sqlite", cpu=True)
    assert set(done.model.record.calibration) == {"quality", "clarity"}
    assert done.model.record.calibration["clarity"].count < 20
    assert judge(done.model, views).quality.shape == (3, 2)
    loaded = load_trained(done.folder, backbone=tiny_vit)
    assert same(judge(loaded, views), judge(done.model, views))
    with pytest.raises(RatingsError, match="pictures has no score 'clarity'"):
        train(recipe, rated_pictures, folder=tmp_path / "b", cache=tmp_path / "c.sqlite", cpu=True)
