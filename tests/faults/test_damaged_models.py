"""Model files that are cut, altered or none: a clear error, and no output is touched."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

import foveal
from foveal.cli.run import run
from foveal.errors import ArtifactError, CorruptArtifactError, ForeignArtifactError
from foveal.weights import available

Damage = Callable[[bytes], bytes]


def flipped(content: bytes) -> bytes:
    altered = bytearray(content)
    altered[random.Random(3).randrange(len(content))] ^= 16
    return bytes(altered)


DAMAGES: dict[str, tuple[Damage, type[ArtifactError]]] = {
    "cut in half": (lambda content: content[: len(content) // 2], CorruptArtifactError),
    "one byte short": (lambda content: content[:-1], CorruptArtifactError),
    "one byte longer": (lambda content: content + b"\0", CorruptArtifactError),
    "a flipped bit": (flipped, CorruptArtifactError),
    "zeros at the end": (lambda content: content[:-4096] + b"\0" * 4096, CorruptArtifactError),
    "empty": (lambda content: b"", ForeignArtifactError),
    "a picture": (lambda content: b"\x89PNG\r\n\x1a\n" + content[-100:], ForeignArtifactError),
    "text": (lambda content: b"not a model\n", ForeignArtifactError),
    "a page of an error": (lambda content: b"<!DOCTYPE html><title>404</title>", ForeignArtifactError),
    "a pickle": (lambda content: b"\x80\x04\x95" + content[-64:], ForeignArtifactError),
    "a pointer of Git LFS": (
        lambda content: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
        ForeignArtifactError,
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_the_error_says_what_is_wrong_with_which_file(damage: str, tmp_path: Path) -> None:
    alter, kind = DAMAGES[damage]
    path = tmp_path / "model.foveal.safetensors"
    path.write_bytes(alter(available()[foveal.DEFAULT_MODEL].read_bytes()))
    with pytest.raises(kind, match=r"model\.foveal\.safetensors: "):
        foveal.load(path)


@pytest.mark.parametrize("damage", DAMAGES)
def test_no_output_is_touched(
    damage: str,
    tiny_model_path: Path,
    photo_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path, out = tmp_path / "model.foveal.safetensors", tmp_path / "out"
    path.write_bytes(DAMAGES[damage][0](tiny_model_path.read_bytes()))
    out.mkdir()
    before = {"x.csv": b"rows of an earlier run\n", "x.parquet": b"PAR1"}
    for name, content in before.items():
        (out / name).write_bytes(content)
    command = ["score", str(photo_folder), "--model", str(path), "--overwrite", "--out"]
    for name in ("x.csv", "x.parquet", "new.jsonl"):
        assert run([*command, f"{out}/{name}"]) == 2
        said = capsys.readouterr().err
        assert said.count("\n") == 1
        assert "model.foveal.safetensors: " in said
    assert {file.name: file.read_bytes() for file in out.iterdir()} == before


@pytest.mark.parametrize("kind", ["folder", "missing"])
def test_what_is_no_file(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "model"
    if kind == "folder":
        path.mkdir()
    assert run(["score", "x.jpg", "--model", str(path)]) == 2
    assert str(path) in capsys.readouterr().err
