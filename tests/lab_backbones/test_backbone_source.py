"""Where backbones come from: folders offline, the Hub by name only, safe files alone."""

from __future__ import annotations

import fnmatch
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="the lab needs its extra")
pytest.importorskip("transformers", reason="the lab needs its extra")

from safetensors.torch import load_file, save_file  # noqa: E402

from foveal.errors import (  # noqa: E402
    BackboneError,
    IncompleteBackboneError,
    MissingPartError,
    UnknownBackboneError,
    UnsafeWeightsError,
    UnsupportedArchitectureError,
)
from foveal.lab.backbones import KNOWN, load_backbone, load_text_backbone  # noqa: E402

Make = Callable[[str], Any]
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def vit_folder(tiny_backbone: Make, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_backbone("vit").folder, tmp_path / "vit"))


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tiny_backbone: Make, tmp_path: Path) -> list[dict[str, Any]]:
    """A Hub that has a CLIP for every name, under one commit; records what it was asked for."""
    import huggingface_hub

    asked: list[dict[str, Any]] = []

    def snapshot_download(repo_id: str, *, revision: str | None, allow_patterns: list[str]) -> str:
        asked.append({"id": repo_id, "revision": revision, "patterns": allow_patterns})
        folder = tmp_path / "snapshots" / (revision or COMMIT)
        shutil.copytree(tiny_backbone("clip").folder, folder, dirs_exist_ok=True)
        (folder / "README.md").write_text('---\ntags: [x]\nlicense: "mit"\n---\n# CLIP\n', encoding="utf-8")
        return str(folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    return asked


@pytest.mark.usefixtures("no_network")
def test_folders_touch_no_network(tiny_backbone: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    def refuse(*arguments: object, **options: object) -> None:
        raise AssertionError("asked the Hub for a folder")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)
    folder = tiny_backbone("clip").folder
    load_backbone(folder)
    load_backbone(str(folder))
    load_text_backbone(folder)


def test_known_name_is_pinned(hub: list[dict[str, Any]]) -> None:
    card = load_backbone("clip-base-32").card
    known = KNOWN["clip-base-32"]
    assert [(call["id"], call["revision"]) for call in hub] == [(known.hub_id, known.revision)]
    assert (card.licence, card.revision) == ("MIT", known.revision)
    assert card.origin == "https://huggingface.co/openai/clip-vit-base-patch32"
    assert card.paper == "https://arxiv.org/abs/2103.00020"
    load_backbone(known.hub_id)
    assert hub[-1]["revision"] == known.revision, "the full id means the same weights"
    load_backbone("clip-base-32", revision=COMMIT)
    assert hub[-1]["revision"] == COMMIT


def test_hub_id_records_its_commit_and_licence(hub: list[dict[str, Any]]) -> None:
    card = load_text_backbone("someone/some.clip_1").card
    assert hub[0]["revision"] is None
    assert (card.revision, card.licence) == (COMMIT, "mit")


def test_only_safe_files_are_fetched(hub: list[dict[str, Any]]) -> None:
    load_backbone("someone/clip")

    def fetched(name: str) -> bool:
        return any(fnmatch.fnmatch(name, pattern) for pattern in hub[0]["patterns"])

    for name in ("pytorch_model.bin", "model.pt", "modeling_clip.py", "tokenizer.py", "tf_model.h5", "x.pkl"):
        assert not fetched(name), name
    for name in ("config.json", "model.safetensors", "model-00001-of-00002.safetensors", "tokenizer.json"):
        assert fetched(name), name


def test_hub_that_cannot_be_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    def fail(*arguments: object, **options: object) -> None:
        raise ConnectionError("no route")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    with pytest.raises(UnknownBackboneError, match=r"google/vit-base-patch16-224 at revision 3f49.*no route"):
        load_backbone("vit-base-16")


@pytest.mark.usefixtures("no_network")
def test_names_that_mean_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models").mkdir()
    for name in ("no-such-name", "./no/such", "/no/such/folder", "a/b/c", "models/vit-tinny", Path("a/b")):
        with pytest.raises(UnknownBackboneError, match=r"no folder lies there.*clip-base-32"):
            load_backbone(name)


def test_a_folder_has_no_revision(vit_folder: Path) -> None:
    with pytest.raises(UnknownBackboneError, match="no revision"):
        load_backbone(vit_folder, revision="main")


@pytest.mark.parametrize("known", KNOWN.values(), ids=KNOWN.keys())
def test_table_is_complete(known: Any) -> None:
    assert re.fullmatch(r"[\w-]+/[\w.-]+", known.hub_id)
    assert known.licence
    assert re.fullmatch(r"\d{4}\.\d{5}", known.paper)
    assert known.revision is None or re.fullmatch("[0-9a-f]{40}", known.revision)


def test_pickles_are_refused(vit_folder: Path) -> None:
    (vit_folder / "model.safetensors").unlink()
    torch.save({"x": torch.zeros(1)}, vit_folder / "pytorch_model.bin")
    with pytest.raises(UnsafeWeightsError, match=r"pytorch_model\.bin.*may run code"):
        load_backbone(vit_folder)


def test_a_pickle_beside_safe_weights_is_not_read(vit_folder: Path) -> None:
    (vit_folder / "pytorch_model.bin").write_bytes(b"not a pickle")
    assert load_backbone(vit_folder).depth == 3


def test_remote_code_is_not_run(vit_folder: Path) -> None:
    config = json.loads((vit_folder / "config.json").read_text(encoding="utf-8"))
    (vit_folder / "evil.py").write_text("raise SystemExit('ran')", encoding="utf-8")
    config["auto_map"] = {"AutoConfig": "evil.Config", "AutoModel": "evil.Model"}
    (vit_folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    assert load_backbone(vit_folder).depth == 3
    config["model_type"] = "evil"
    (vit_folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(UnsupportedArchitectureError, match="model_type 'evil'; known are vit, deit"):
        load_backbone(vit_folder)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("config.json", None, "no such file; it says which model"),
        ("config.json", "{", "cannot be read as JSON"),
        ("config.json", "[]", "holds no JSON object"),
        ("model.safetensors", None, r"no model\.safetensors"),
        ("model.safetensors", "cut", "cannot be loaded"),
    ],
)
def test_missing_and_broken_files(vit_folder: Path, name: str, content: str | None, reason: str) -> None:
    (vit_folder / name).unlink()
    if content is not None:
        (vit_folder / name).write_text(content, encoding="utf-8")
    with pytest.raises(IncompleteBackboneError, match=reason):
        load_backbone(vit_folder)


def test_missing_weight_is_not_made_up(vit_folder: Path) -> None:
    """Transformers would fill the gap with random numbers and say so in a log."""
    weights = load_file(vit_folder / "model.safetensors")
    name = next(name for name in weights if "fc1.weight" in name or "intermediate.dense.weight" in name)
    del weights[name]
    save_file(weights, vit_folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(IncompleteBackboneError, match="1 weights of a ViTModel are not in its files"):
        load_backbone(vit_folder)


def test_weights_of_another_shape(vit_folder: Path) -> None:
    config = json.loads((vit_folder / "config.json").read_text(encoding="utf-8"))
    config["intermediate_size"] = 40
    (vit_folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(IncompleteBackboneError, match="do not fit"):
        load_backbone(vit_folder)


def test_text_encoder_alone_has_no_image_encoder(tiny_backbone: Make) -> None:
    with pytest.raises(MissingPartError, match="has no image encoder"):
        load_backbone(tiny_backbone("clip-text").folder)


def test_loading_is_silent(vit_folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    load_backbone(vit_folder)
    assert capfd.readouterr() == ("", "")


def test_errors_share_a_base() -> None:
    for error in (IncompleteBackboneError, MissingPartError, UnknownBackboneError, UnsafeWeightsError):
        assert issubclass(error, BackboneError)
