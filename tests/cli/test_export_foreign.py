"""``foveal export --onnx`` and ``--openvino``: files for other runtimes, checked before they are there."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray

import foveal
import foveal.weights
from foveal.artifact import Artifact, read_artifact, write_artifact
from foveal.artifact.card import Card
from foveal.assessor import cut_views
from foveal.cli.run import run
from foveal.imaging.decode import decode
from foveal.runtime import convert
from foveal.runtime.convert import CARD_KEY, CONTRACT_KEY, contract, made_pictures, write_onnx, write_openvino
from foveal.runtime.openvino_engine import import_openvino
from foveal.runtime.select import make_engine
from prompt_models import make_artifact


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def batch(card: Card, pictures: list[NDArray[np.uint8]]) -> dict[str, NDArray[np.uint8]]:
    """Views of several pictures, cut as the contract says."""
    cut = [cut_views(decode(picture).pixels, card.views) for picture in pictures]
    return {name: np.stack([views[name] for views in cut]) for name in card.views}


def test_onnx_holds_all_that_another_program_needs(tiny_model_path: Path, tiny_artifact: Artifact) -> None:
    """Whole batches through ONNX Runtime, with views cut by the card that is in the file."""
    assert run(["export", str(tiny_model_path), "--onnx", "tiny.onnx"]) == 0
    model = onnx.load("tiny.onnx")
    onnx.checker.check_model(model, full_check=True)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    card = Card.from_json(metadata[CARD_KEY])
    assert card == tiny_artifact.card
    assert model.doc_string == contract(card)

    session = onnxruntime.InferenceSession("tiny.onnx", providers=["CPUExecutionProvider"])
    views = batch(card, list(made_pictures(seed=5)))
    quality, spread = session.run(["quality", "spread"], views)
    own = make_engine(tiny_artifact, engine="onnxruntime", threads=1).run(views)
    np.testing.assert_allclose(quality, own["quality"], atol=1e-5)
    np.testing.assert_allclose(spread, own["spread"], atol=1e-5)
    assert np.ptp(quality) > 0.01


def test_openvino_files_hold_the_same(tiny_model_path: Path, tiny_artifact: Artifact) -> None:
    assert run(["export", str(tiny_model_path), "--openvino", "tiny.xml"]) == 0
    assert sorted(path.name for path in Path().iterdir()) == ["tiny.bin", "tiny.xml"]
    core = import_openvino().Core()
    model = core.read_model("tiny.xml")
    card = Card.from_json(model.get_rt_info([CARD_KEY]).astype(str))
    assert card == tiny_artifact.card
    assert model.get_rt_info([CONTRACT_KEY]).astype(str) == contract(card)
    # Weights were not halved.
    types = {str(op.get_element_type()) for op in model.get_ops() if op.get_type_name() == "Constant"}
    assert not any("f16" in name for name in types)

    views = batch(card, list(made_pictures(seed=5)))
    compiled = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    own = make_engine(tiny_artifact, engine="openvino", threads=1).run(views)
    np.testing.assert_allclose(compiled(views)["quality"], own["quality"], atol=1e-5)


def test_what_is_printed(tiny_model_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Sizes, differences, and the contract once."""
    assert run(["export", str(tiny_model_path), "--onnx", "a.onnx", "--openvino", "a.xml"]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    number = r"\d\.\de[-+]\d\d"
    found = rf"quality {number}, other outputs {number}(; {number} from Foveal's default engine)?\n"
    assert re.match(
        rf"a\.onnx: 0\.0 MB; largest difference from the artifact:\n"
        rf"  in OpenVINO on 6 images: {found}"
        rf"  in ONNX Runtime on 6 images: {found}"
        rf"a\.xml: 0\.0 MB; largest difference from the artifact:\n"
        rf"  in OpenVINO on 6 images: {found}"
        r"tiny@0\.0\.1: A random network for tests\.\nInputs:\n",
        captured.out,
    )
    for part in (
        "whole: uint8 (images, 224, 224, 3), RGB: the whole image resized",
        "fragments: uint8 (images, 224, 224, 3), RGB: 7 x 7 crops",
        "quality: 1 (bad) to 5 (excellent)",
        "the 90% interval is quality -/+ 1.5 * spread",
        "Views must be cut as Foveal cuts them",
    ):
        assert captured.out.count(part) == 1


@pytest.mark.slow
def test_a_shipped_assessor_by_its_name(capsys: pytest.CaptureFixture[str]) -> None:
    """It multiplies integers: each runtime must agree with itself, though their roundings differ."""
    assert run(["export", foveal.DEFAULT_MODEL, "--onnx", "c.onnx", "--openvino", "c.xml"]) == 0
    assert capsys.readouterr().out.count("quality 0.0e+00") == 3
    weights = read_artifact(foveal.weights.available()[foveal.DEFAULT_MODEL]).weights.values()
    in_float = sum(4 * value.size for value in weights)
    assert Path("c.bin").stat().st_size < in_float / 3  # weights are still integers


def test_pictures_of_ones_own_are_compared(
    tiny_model_path: Path, photo_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pictures = [str(photo_folder / name) for name in ("a.jpg", "b.png")]
    checks = [word for path in pictures for word in ("--check", path)]
    assert run(["export", str(tiny_model_path), "--openvino", "t.xml", *checks]) == 0
    assert "in OpenVINO on 2 images" in capsys.readouterr().out
    broken = str(photo_folder / "broken.jpg")
    assert run(["export", str(tiny_model_path), "--onnx", "t.onnx", "--check", broken]) == 2
    assert "broken.jpg" in capsys.readouterr().err
    assert not Path("t.onnx").exists()


def test_models_that_read_prompts(capsys: pytest.CaptureFixture[str]) -> None:
    artifact = make_artifact()
    write_artifact("p.foveal.safetensors", artifact)
    assert run(["export", "p.foveal.safetensors", "--onnx", "p.onnx", "--openvino", "p.xml"]) == 0
    shown = capsys.readouterr().out
    assert "prompt_ids: int64 (images, 8): tokens of the prompt" in shown
    assert "correspondence: an aspect, on the same scale" in shown
    inputs = {port.name for port in onnxruntime.InferenceSession("p.onnx").get_inputs()}
    assert {"prompt_ids", "prompt_mask"} < inputs


def test_no_torch_is_needed(tiny_model_path: Path) -> None:
    """Nor onnx: in a fresh interpreter where neither can be imported."""
    code = (
        f"import sys; sys.path[:] = {sys.path!r}\n"
        "for name in ('torch', 'transformers', 'onnx', 'nncf'): sys.modules[name] = None\n"
        "from foveal.cli.run import run\n"
        "sys.exit(run(['export', sys.argv[1], '--onnx', 'n.onnx', '--openvino', 'n.xml']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tiny_model_path)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert Path("n.onnx").is_file()


def test_without_onnx_runtime_openvino_alone_checks(
    tiny_model_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "onnxruntime" else found(name)
    )
    assert run(["export", str(tiny_model_path), "--onnx", "tiny.onnx"]) == 0
    shown = capsys.readouterr().out
    assert "ONNX Runtime is not installed here: checked with OpenVINO alone" in shown
    assert "in ONNX Runtime" not in shown


@pytest.fixture
def altered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files that are written come back with another head."""
    detach = convert.detach_initializers

    def other(model: bytes) -> tuple[bytes, dict[str, Any]]:
        graph, weights = detach(model)
        return graph, {**weights, "head.weight": weights["head.weight"] * 1.5}

    monkeypatch.setattr(convert, "detach_initializers", other)


@pytest.mark.usefixtures("altered")
def test_a_file_that_scores_differently_is_not_written(
    tiny_model_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("tiny.onnx").write_bytes(b"what was there before")
    assert run(["export", str(tiny_model_path), "--onnx", "tiny.onnx"]) == 2
    captured = capsys.readouterr()
    assert re.fullmatch(
        r"foveal: tiny\.onnx: in OpenVINO its outputs differ from the artifact's by up to \d\.\d+, "
        r"more than 0\.001; it was not written\n",
        captured.err,
    )
    assert Path("tiny.onnx").read_bytes() == b"what was there before"
    assert [path.name for path in Path().iterdir()] == ["tiny.onnx"]
    assert run(["export", str(tiny_model_path), "--onnx", "tiny.onnx", "--tolerance", "9"]) == 0


def refusal(capsys: pytest.CaptureFixture[str], *args: str) -> str:
    """The one line of a refused command; nothing was written."""
    before = sorted(Path().rglob("*"))
    assert run(["export", *args]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert sorted(Path().rglob("*")) == before
    return captured.err


def test_what_cannot_be_exported(tiny_model_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = str(tiny_model_path)
    assert "give ARTIFACT, --onnx FILE or --openvino FILE" in refusal(capsys, file)
    assert "is a model file already" in refusal(capsys, file, "copy", "--onnx", "a.onnx")
    for option in (["--half"], ["--draws", "2"], ["--backbone", "x"]):
        line = refusal(capsys, file, "--onnx", "a.onnx", *option)
        assert f"{option[0]} is for trained models, but this is a model file" in line
    assert "ends in .xml" in refusal(capsys, file, "--openvino", "a.onnx")
    for option in (["--onnx", "gone/a.onnx"], ["--openvino", "gone/a.xml"]):
        assert f"foveal: {option[1]}: cannot be written" in refusal(capsys, file, *option)
    Path("notes.txt").write_text("no model\n", encoding="utf-8")
    assert "notes.txt" in refusal(capsys, "notes.txt", "--onnx", "a.onnx")


def test_no_images_to_compare_on(tiny_artifact: Artifact) -> None:
    for write, name in ((write_onnx, "a.onnx"), (write_openvino, "a.xml")):
        with pytest.raises(convert.ConversionError, match="no image to compare scores on"):
            write(tiny_artifact, name, images=[])
    assert not list(Path().iterdir())


def test_a_model_that_is_nowhere(capsys: pytest.CaptureFixture[str]) -> None:
    line = refusal(capsys, "nowhere", "--onnx", "a.onnx")
    assert "nowhere: neither a shipped model (" in line
    assert f"nor is it a model file or a shipped assessor ({foveal.DEFAULT_MODEL}" in line


def test_trained_models_need_the_lab(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "foveal.lab.export_trained", None)
    assert "pip install 'foveal[lab]'" in refusal(capsys, "trained", "a.foveal.safetensors")


def test_a_trained_model_goes_all_the_way(
    tiny_artifact: Artifact, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its artifact is kept where one was asked for, and is what the other files are made of."""
    import foveal.lab.export_trained
    import foveal.lab.trained
    from foveal.lab.export_trained import Agreement

    class Trained:
        class network:  # noqa: N801 - stands for an attribute
            targets = ("quality",)

    def write(model: object, path: str, **options: object) -> Agreement:
        assert options["draws"] == 2
        write_artifact(path, tiny_artifact)
        return Agreement(6, 1e-6, 2e-6)

    monkeypatch.setattr(foveal.lab.trained, "load_trained", lambda name, **options: Trained())
    monkeypatch.setattr(foveal.lab.export_trained, "export_model", write)
    assert run(["export", "mine", "--draws", "2", "--onnx", "a.onnx"]) == 0
    assert capsys.readouterr().out.startswith("a.onnx: ")
    assert [path.name for path in Path().iterdir()] == ["a.onnx"]
    assert run(["export", "mine", "a.foveal.safetensors", "--draws", "2", "--openvino", "a.xml"]) == 0
    first, second, *_ = capsys.readouterr().out.splitlines()
    assert first.startswith("a.foveal.safetensors: ")
    assert first.endswith("on 6 images: quality 1.0e-06, half width of the interval 2.0e-06")
    assert second.startswith("a.xml: ")
    entries = {entry.key: entry.value for entry in onnx.load("a.onnx").metadata_props}
    assert json.loads(entries[CARD_KEY])["name"] == "tiny"
