"""The public face: what an import costs, what ships, and how a model is found."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import foveal
from foveal import weights
from foveal.artifact import Artifact, read_artifact, write_artifact
from foveal.errors import ArtifactError, ForeignArtifactError, UnknownModelError

HEAVY = [
    "torch",
    "transformers",
    "onnx",
    "scipy",
    "pyarrow",
    "onnxruntime",
    "matplotlib",
    "openpyxl",
    "nncf",
    "sklearn",
    "pandas",
]


def run_python(code: str, *arguments: str | Path) -> str:
    """Run code in a fresh interpreter that sees this one's packages; what it prints."""
    code = f"import sys; sys.path[:] = {sys.path!r}\n{code}"
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
def picture(tmp_path: Path, photo: NDArray[np.uint8]) -> Path:
    from PIL import Image

    path = tmp_path / "p.png"
    Image.fromarray(photo).save(path)
    return path


def test_scoring_imports_nothing_heavy(tiny_model_path: Path, picture: Path) -> None:
    code = f"""
import foveal
print(foveal.load(sys.argv[1])(sys.argv[2]).quality)
print(sorted(set({HEAVY}) & set(sys.modules)))
"""
    quality, heavy = run_python(code, tiny_model_path, picture).splitlines()
    assert heavy == "[]"
    assert float(quality) == foveal.load(tiny_model_path, threads=1)(picture).quality


def test_import_alone_loads_next_to_nothing() -> None:
    modules = [*HEAVY, "numpy", "PIL", "openvino", "rich", "safetensors"]
    assert run_python(f"import foveal; print(sorted(set({modules}) & set(sys.modules)))") == "[]"


def test_no_network_is_touched(tiny_model_path: Path, picture: Path) -> None:
    code = """
import socket
class NoSocket(socket.socket):
    def __init__(self, *arguments, **keywords):
        raise AssertionError("a socket was opened")
socket.socket = NoSocket
socket.create_connection = socket.getaddrinfo = NoSocket
import foveal
print(len(list(foveal.load(sys.argv[1]).stream([sys.argv[2]] * 3))))
"""
    assert run_python(code, tiny_model_path, picture) == "3"


def test_public_names_exist() -> None:
    for name in foveal.__all__:
        assert getattr(foveal, name) is not None
    assert set(foveal.__all__) <= set(dir(foveal))
    with pytest.raises(AttributeError, match="nonsense"):
        _ = foveal.nonsense


def test_load_takes_paths(tiny_model_path: Path) -> None:
    for path in (tiny_model_path, str(tiny_model_path)):
        assert foveal.load(path).card.model == "tiny@0.0.1"


@pytest.mark.parametrize(
    "name", ["nonsense", "no/such/file.safetensors", "small.foveal.safetensors", "x" * 5000]
)
def test_unknown_models_say_what_there_is(name: str, tiny_artifact: Artifact, shipped: Path) -> None:
    write_artifact(shipped / "small.foveal.safetensors", tiny_artifact)
    with pytest.raises(UnknownModelError, match=rf"{name}: neither a shipped assessor \(small\)"):
        foveal.load(name)


def test_a_folder_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="is not a file"):
        foveal.load(tmp_path)


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of our own in place of the shipped assessors."""
    folder = tmp_path / "shipped"
    folder.mkdir()
    monkeypatch.setattr(weights, "_FOLDER", folder)
    foveal._default.cache_clear()
    return folder


def test_shipped_assessors_are_found_by_name(
    tiny_artifact: Artifact, shipped: Path, photo: NDArray[np.uint8]
) -> None:
    assert weights.available() == {}
    for name in ("zeta", foveal.DEFAULT_MODEL):
        write_artifact(shipped / f"{name}.foveal.safetensors", tiny_artifact)
    (shipped / "notes.txt").write_text("not a model", encoding="utf-8")
    assert list(weights.available()) == ["foveal-compact", "zeta"]
    assert foveal.load("zeta")(photo) == foveal.score(photo)
    assert foveal._default() is foveal._default()
    foveal._default.cache_clear()


def test_every_shipped_assessor_is_sound() -> None:
    for name, path in weights.available().items():
        card = read_artifact(path).card
        assert card.name == name
        assert card.licence == "Apache-2.0"


def test_a_file_of_another_kind(picture: Path) -> None:
    with pytest.raises(ForeignArtifactError, match=r"p\.png: not a Foveal model file"):
        foveal.load(picture)
