"""Backbones and trained models by name, fetched over HTTP from a stand-in for the Hugging Face Hub.

The stand-in has the Hub's addresses, headers, errors and file layout; the client is the real one. Within this
process its constants are patched, see ``hub_server``; the last test sets ``HF_ENDPOINT``, ``HF_HOME`` and
``HF_HUB_OFFLINE`` for processes of its own, as users do.
"""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="the lab needs its extra")
pytest.importorskip("transformers", reason="the lab needs its extra")

from hub_server import TOKEN, Fault, Hub  # noqa: E402
from torch import Tensor  # noqa: E402

from foveal.artifact.card import Calibration  # noqa: E402
from foveal.errors import (  # noqa: E402
    BackboneError,
    IncompleteBackboneError,
    UnknownBackboneError,
    UnsupportedArchitectureError,
)
from foveal.lab.backbones import KNOWN, VisionBackbone, load_backbone, load_text_backbone  # noqa: E402
from foveal.lab.backbones.source import SAFE_FILES  # noqa: E402
from foveal.lab.models.base import Judgement  # noqa: E402
from foveal.lab.models.probe import ProbeConfig, ProbeModel  # noqa: E402
from foveal.lab.trained import (  # noqa: E402
    Record,
    TrainedModel,
    TrainedModelError,
    load_trained,
    reference,
)
from foveal.lab.training.recipe import CardConfig  # noqa: E402

Make = Callable[[str], Any]
TEXTS = ["a photo with good quality", "a blurry cat"]
WEIGHTS = "model.safetensors"
README = b"---\nlicense: cc-by-4.0\n---\n# A model\n"


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, home: Path) -> Iterator[Hub]:
    with Hub() as hub:
        hub.point_here(monkeypatch, home)
        yield hub


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client waits for longer and longer between attempts: up to 23 s, which are spared here."""
    monkeypatch.setattr(time, "sleep", lambda seconds: None)


def files_of(folder: Path, **more: bytes) -> dict[str, bytes]:
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    return {**files, "README.md": README, **more}


def changed(files: dict[str, bytes], factor: float = 2.0) -> dict[str, bytes]:
    """The same model with other weights."""
    from safetensors.torch import load, save

    state = {name: tensor * factor for name, tensor in load(files[WEIGHTS]).items()}
    return {**files, WEIGHTS: save(state, metadata={"format": "pt"})}


def sha256(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def look(backbone: VisionBackbone) -> Tensor:
    """Normalised tokens of a picture."""
    height, width = backbone.native_size
    picture = torch.arange(2 * height * width * 3).reshape(2, height, width, 3).remainder(251)
    with torch.inference_mode():
        return backbone.tokens(backbone.normalise(picture.to(torch.uint8)), [backbone.depth])[0]


def blobs(home: Path) -> list[Path]:
    """What lies in the cache of the client, not counting what it says about it."""
    return sorted(path for path in home.rglob("blobs/*") if path.is_file())


def assert_cache_is_whole(home: Path, files: dict[str, bytes]) -> None:
    """Whatever the cache has under a name is all of it, and right."""
    assert {path.read_bytes() for path in blobs(home)} <= set(files.values())


# By name and revision.


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("clip-base-32", "clip"),
        ("vit-base-16", "vit-classifier"),
        ("dinov2-small", "dinov2"),
        ("siglip2-base-16", "siglip"),
        ("siglip2-base-16-naflex", "siglip2"),
    ],
)
def test_a_known_name_is_what_its_pinned_commit_holds(
    hub: Hub, tiny_backbone: Make, name: str, family: str
) -> None:
    folder, known = tiny_backbone(family).folder, KNOWN[name]
    assert known.revision is not None
    hub.add(known.hub_id, files_of(folder), reference="refs/pr/1", commit=known.revision)
    hub.add(known.hub_id, changed(files_of(folder)))  # main has moved on

    fetched, expected = load_backbone(name), load_backbone(folder)
    torch.testing.assert_close(look(fetched), look(expected), rtol=0, atol=0)
    assert fetched.card.revision == known.revision
    assert fetched.card.licence == known.licence
    assert fetched.card.origin == f"https://huggingface.co/{known.hub_id}"
    assert fetched.preprocessing == expected.preprocessing

    if family in ("clip", "siglip", "siglip2"):
        before = len(hub.asked)
        texts, expected_texts = load_text_backbone(name), load_text_backbone(folder)
        torch.testing.assert_close(texts(TEXTS), expected_texts(TEXTS), rtol=0, atol=0)
        assert texts.logit_scale == expected_texts.logit_scale
        assert texts.card.revision == known.revision
        assert len(hub.asked) == before, "the files for texts came with the others"


def test_branches_tags_and_pull_requests(hub: Hub, tiny_backbone: Make) -> None:
    files = files_of(tiny_backbone("vit").folder)
    commits = {
        revision: hub.add("someone/vit", changed(files, factor), reference=revision)
        for factor, revision in enumerate(["main", "v1.0", "refs/pr/7"], 1)
    }
    seen: dict[str | None, Tensor] = {None: look(load_backbone("someone/vit"))}
    for revision, commit in commits.items():
        by_name = load_backbone("someone/vit", revision=revision)
        by_commit = load_backbone("someone/vit", revision=commit)
        assert by_name.card.revision == by_commit.card.revision == commit
        assert (by_name.card.licence, by_name.card.name) == ("cc-by-4.0", "someone/vit")
        seen[revision] = look(by_name)
        assert torch.equal(look(by_commit), seen[revision])
    assert torch.equal(seen[None], seen["main"])
    assert not torch.allclose(seen["main"], seen["v1.0"])
    assert not torch.allclose(seen["main"], seen["refs/pr/7"])


def test_weights_in_several_files(hub: Hub, tiny_backbone: Make, tmp_path: Path) -> None:
    tiny = tiny_backbone("dinov2")
    tiny.reference.save_pretrained(tmp_path / "shards", max_shard_size="30KB")
    shards = {path.name: path.read_bytes() for path in (tmp_path / "shards").iterdir()}
    assert len([name for name in shards if name.endswith(".safetensors")]) > 1
    whole = files_of(tiny.folder)
    del whole[WEIGHTS]
    hub.add("someone/large", {**whole, **shards})
    torch.testing.assert_close(look(load_backbone("someone/large")), look(load_backbone(tiny.folder)))


def test_the_licence_of_a_gated_model_has_to_be_accepted(
    hub: Hub, tiny_backbone: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DINOv3 is behind such a gate."""
    known = KNOWN["dinov3-small-16"]
    folder = tiny_backbone("dinov3").folder
    hub.add(known.hub_id, folder, commit=known.revision or "", gated=True)
    with pytest.raises(
        UnknownBackboneError,
        match=rf"accept its licence at https://huggingface\.co/{known.hub_id}, .*HF_TOKEN",
    ):
        load_backbone("dinov3-small-16")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert torch.equal(look(load_backbone("dinov3-small-16")), look(load_backbone(folder)))
    assert any(asked.token == f"Bearer {TOKEN}" for asked in hub.asked)
    assert not any(asked.token for asked in hub.asked if asked.path.startswith("/cdn/"))


# What is asked for.


def test_nothing_but_safe_files_is_fetched(hub: Hub, tiny_backbone: Make) -> None:
    unsafe = {
        "pytorch_model.bin": b"pickle",
        "tf_model.h5": b"h5",
        "modeling_clip.py": b"raise SystemExit",
        "training_args.bin": b"pickle",
        "onnx/config.json": b"{}",
    }
    files = files_of(tiny_backbone("clip").folder)
    hub.add("someone/clip", {**files, **unsafe})
    load_backbone("someone/clip")
    load_text_backbone("someone/clip")
    fetched = {path.rpartition("/")[2] for path in hub.paths() if "/resolve/" in path or "/cdn/" in path}
    assert fetched == {name for name in files if name != WEIGHTS} | {sha256(files[WEIGHTS])}
    assert not fetched & set(SAFE_FILES) - set(files)


def test_what_is_cached_is_not_fetched_again(hub: Hub, home: Path, tiny_backbone: Make) -> None:
    files = files_of(tiny_backbone("clip").folder)
    commit = hub.add("someone/clip", files)
    expected = look(load_backbone("someone/clip"))
    fetched = hub.paths()
    assert len([path for path in fetched if path.startswith("/cdn/")]) == 1
    assert_cache_is_whole(home, files)

    hub.asked.clear()
    assert torch.equal(look(load_backbone("someone/clip", revision=commit)), expected)
    load_text_backbone("someone/clip", revision=commit)
    assert hub.asked == [], "a commit that is there needs no word with the Hub"
    load_backbone("someone/clip")
    assert hub.paths() == ["/api/models/someone/clip/revision/main"], "which commit is main?"
    assert hub.paths("HEAD") == []

    hub.stop()
    assert torch.equal(look(load_backbone("someone/clip", revision=commit)), expected)
    unpinned = load_backbone("someone/clip")
    assert torch.equal(look(unpinned), expected)
    assert unpinned.card.revision == commit


def test_a_new_commit_fetches_what_has_changed(hub: Hub, tiny_backbone: Make) -> None:
    files = files_of(tiny_backbone("vit").folder)
    hub.add("someone/vit", files)
    first = look(load_backbone("someone/vit"))
    later = changed(files)
    commit = hub.add("someone/vit", later)
    hub.asked.clear()
    backbone = load_backbone("someone/vit")
    assert backbone.card.revision == commit
    assert not torch.allclose(look(backbone), first)
    assert [path for path in hub.paths() if "/api/" not in path] == [f"/cdn/{sha256(later[WEIGHTS])}"]


# Without network.


def test_offline_mode_loads_what_is_cached(
    hub: Hub, tiny_backbone: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    commit = hub.add("someone/clip", files_of(tiny_backbone("clip").folder))
    hub.add("someone/vit", files_of(tiny_backbone("vit").folder))
    expected = look(load_backbone("someone/clip"))
    hub.asked.clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    for revision in (None, "main", commit):
        assert torch.equal(look(load_backbone("someone/clip", revision=revision)), expected)
    load_text_backbone("someone/clip")
    for name, revision in (("someone/vit", None), ("someone/clip", "v2"), ("vit-base-16", None)):
        with pytest.raises(
            UnknownBackboneError, match=rf"{name}: .*offline mode is on \(HF_HUB_OFFLINE\): unset it and load"
        ):
            load_backbone(name, revision=revision)
    assert hub.asked == []


@pytest.mark.usefixtures("no_waiting")
def test_a_hub_that_is_down(hub: Hub, tiny_backbone: Make) -> None:
    hub.add("someone/vit", files_of(tiny_backbone("vit").folder))
    hub.stop()
    with pytest.raises(UnknownBackboneError, match=r"someone/vit: .*refused.*; check the network.*try again"):
        load_backbone("someone/vit")
    hub.start()
    assert load_backbone("someone/vit").depth == 3


def test_an_address_that_is_no_hub(hub: Hub, tiny_backbone: Make) -> None:
    """A sign-in page of a hotel, or a wrong ``HF_ENDPOINT``."""
    hub.add("someone/vit", files_of(tiny_backbone("vit").folder))
    hub.fail("GET", "/revision/main", Fault(content=b"<html>Welcome!</html>"))
    with pytest.raises(UnknownBackboneError, match="check the network, and HF_ENDPOINT if you set it"):
        load_backbone("someone/vit")
    assert load_backbone("someone/vit").depth == 3


# Broken downloads.


@pytest.mark.slow
def test_a_connection_that_ends_early_is_taken_up_where_it_ended(
    hub: Hub, home: Path, tiny_backbone: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    folder = tiny_backbone("vit").folder
    files = files_of(folder)
    hub.add("someone/vit", files)
    hub.fail("GET", sha256(files[WEIGHTS]), Fault(sent=0.5))
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1024)  # not 10 MB, of which each is kept whole
    assert torch.equal(look(load_backbone("someone/vit")), look(load_backbone(folder)))
    starts = [asked.start for asked in hub.asked if asked.path.startswith("/cdn/")]
    assert starts == [0, len(files[WEIGHTS]) // 2 // 1024 * 1024]
    assert_cache_is_whole(home, files)


FAILURES = {
    "reset": (Fault(sent=0.5, reset=True), UnknownBackboneError, "check the network.*try again"),
    "out of order": (Fault(status=503), UnknownBackboneError, r"503.*check the network.*try again"),
    "too short": (Fault(content=b"half"), UnknownBackboneError, "should be of size .* but has size 4"),
    "too long": (Fault(content=b"x" * 500_000), UnknownBackboneError, "but has size 500000"),
    "other bytes": (None, IncompleteBackboneError, r"model\.safetensors came damaged: the SHA-256"),
}


@pytest.mark.parametrize("name", FAILURES)
@pytest.mark.usefixtures("no_waiting")
def test_a_broken_download_is_an_error_and_the_next_one_works(
    hub: Hub, home: Path, tiny_backbone: Make, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    from huggingface_hub import constants

    folder = tiny_backbone("vit").folder
    files = files_of(folder)
    commit = hub.add("someone/vit", files)
    fault, kind, message = FAILURES[name]
    other = files[WEIGHTS][:-40] + bytes(255 - byte for byte in files[WEIGHTS][-40:])  # ten numbers
    hub.fail("GET", sha256(files[WEIGHTS]), fault or Fault(content=other))
    with pytest.raises(kind, match=rf"^someone/vit: .*{message}"):
        load_backbone("someone/vit", revision=commit)
    assert_cache_is_whole(home, files)
    assert sha256(files[WEIGHTS]) not in {path.name for path in blobs(home)}

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UnknownBackboneError, match="offline"):
        load_backbone("someone/vit", revision=commit)  # half of a repository is none
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)

    assert torch.equal(look(load_backbone("someone/vit", revision=commit)), look(load_backbone(folder)))
    assert_cache_is_whole(home, files)


@pytest.mark.usefixtures("no_waiting")
def test_bytes_that_are_wrong_whenever_they_come(hub: Hub, home: Path, tiny_backbone: Make) -> None:
    """Beside another file that cannot be had at all: neither is kept."""
    files = files_of(tiny_backbone("clip").folder)
    hub.add("someone/clip", files)
    wrong = Fault(content=bytes(len(files[WEIGHTS])))
    hub.fail("GET", sha256(files[WEIGHTS]), wrong, wrong, wrong)
    for _ in range(2):
        with pytest.raises(IncompleteBackboneError, match=rf"HF_ENDPOINT is {hub.address}"):
            load_text_backbone("someone/clip")
    hub.fail("HEAD", "tokenizer.json", *[Fault(status=500)] * 20)
    with pytest.raises(BackboneError):
        load_text_backbone("someone/clip")
    assert_cache_is_whole(home, files)


@pytest.mark.parametrize(
    ("method", "ending"), [("GET", "/revision/main"), ("GET", "/tree"), ("HEAD", "config.json")]
)
@pytest.mark.usefixtures("no_waiting")
def test_a_hub_that_stumbles(hub: Hub, tiny_backbone: Make, method: str, ending: str) -> None:
    """The client tries again by itself, or the next attempt succeeds."""
    folder = tiny_backbone("vit").folder
    commit = hub.add("someone/vit", files_of(folder))
    place = f"/tree/{commit}" if ending == "/tree" else ending
    hub.fail(method, place, Fault(status=503))
    try:
        backbone = load_backbone("someone/vit")
    except BackboneError as error:
        assert re.search(r"^someone/vit: .*503.*try again", str(error))  # noqa: PT017
        backbone = load_backbone("someone/vit")
    assert torch.equal(look(backbone), look(load_backbone(folder)))


@pytest.mark.usefixtures("no_waiting")
def test_a_hub_that_hangs_up_without_a_word(hub: Hub, tiny_backbone: Make) -> None:
    hub.add("someone/vit", files_of(tiny_backbone("vit").folder))
    for _ in range(2):
        hub.fail("GET", "/revision/main", Fault(sent=0.0, reset=True))
        with pytest.raises(UnknownBackboneError, match="check the network"):
            load_backbone("someone/vit")
    assert load_backbone("someone/vit").depth == 3


# What is not there, and what must not be run.


def test_what_the_hub_does_not_have(hub: Hub, tiny_backbone: Make) -> None:
    hub.add("someone/vit", files_of(tiny_backbone("vit").folder))
    missing = "0" * 40
    for revision in ("v9", missing):
        with pytest.raises(
            UnknownBackboneError,
            match=rf"someone/vit at revision {revision} cannot be had.*check the revision",
        ):
            load_backbone("someone/vit", revision=revision)
    for unknown in (None, missing):
        with pytest.raises(UnknownBackboneError, match=r"someone/vti.*check the spelling; if it is private"):
            load_backbone("someone/vti", revision=unknown)


def test_a_repository_of_pickles_is_refused(hub: Hub, home: Path, tiny_backbone: Make) -> None:
    files = files_of(tiny_backbone("clip").folder)
    pickles = {**files, "pytorch_model.bin": files[WEIGHTS]}
    del pickles[WEIGHTS]
    hub.add("someone/clip", pickles)
    converted = hub.add("someone/clip", {**pickles, WEIGHTS: files[WEIGHTS]}, reference="refs/pr/3")
    hub.add("someone/clip", pickles)
    for load in (load_backbone, load_text_backbone):
        with pytest.raises(
            IncompleteBackboneError, match=r"no model\.safetensors.*pickles are never read.*refs/pr/NUMBER"
        ):
            load("someone/clip")
    assert not any(asked.path.endswith(".bin") or "/cdn/" in asked.path for asked in hub.asked)
    assert load_backbone("someone/clip", revision="refs/pr/3").card.revision == converted


def test_code_of_a_repository_is_neither_fetched_nor_run(
    hub: Hub, home: Path, tiny_backbone: Make, tmp_path: Path
) -> None:
    folder = tiny_backbone("clip").folder
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config["auto_map"] = {name: f"evil.{name}" for name in ("AutoConfig", "AutoModel", "AutoTokenizer")}
    tokenizer = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    tokenizer["auto_map"] = {"AutoTokenizer": ["evil.AutoTokenizer", None]}
    evil = {
        "evil.py": f"open({str(tmp_path / 'ran')!r}, 'w')\nraise SystemExit('ran')\n".encode(),
        "config.json": json.dumps(config).encode(),
        "tokenizer_config.json": json.dumps(tokenizer).encode(),
    }
    hub.add("someone/clip", {**files_of(folder), **evil})
    assert torch.equal(look(load_backbone("someone/clip")), look(load_backbone(folder)))
    assert torch.equal(load_text_backbone("someone/clip")(TEXTS), load_text_backbone(folder)(TEXTS))

    config["model_type"] = "evil"
    hub.add("someone/evil", {**files_of(folder), **evil, "config.json": json.dumps(config).encode()})
    with pytest.raises(UnsupportedArchitectureError, match=r"someone/evil: .*model_type 'evil'"):
        load_backbone("someone/evil")
    assert not any(asked.path.endswith(".py") for asked in hub.asked)
    assert not list(home.rglob("*.py"))
    assert not (tmp_path / "ran").exists()


# Trained models.


def save_assessor(backbone: VisionBackbone, name: str, folder: Path) -> TrainedModel:
    """A probe with random weights on a backbone, in a folder as the Hub would have it."""
    torch.manual_seed(5)
    config = ProbeConfig(layers=(1, 3), views=("whole",), hidden=4)
    network = ProbeModel(backbone, config)
    record = Record(
        kind="probe",
        options=asdict(config),
        targets=("quality",),
        backbone=reference(name, backbone),
        calibration={"quality": Calibration(coverage=0.9, factor=1.5, count=40)},
        card=CardConfig(name="mine", version="1.0", licence="CC-BY-4.0"),
    )
    model = TrainedModel(network, record)
    model.save_pretrained(folder)
    return model


def judge(model: TrainedModel) -> Tensor:
    side = model.network.views["whole"].side
    view = torch.arange(2 * side * side * 3).reshape(2, side, side, 3).remainder(253).to(torch.uint8)
    with torch.inference_mode():
        judged: Judgement = model({"whole": view})
    both: Tensor = torch.cat([judged.quality, judged.spread], dim=1)
    return both


@pytest.fixture
def assessor(hub: Hub, tiny_backbone: Make, tmp_path: Path) -> Tensor:
    """A trained model on the stand-in and the backbone below it; what it says of a picture."""
    hub.add("someone/vit", files_of(tiny_backbone("vit").folder))
    model = save_assessor(load_backbone("someone/vit"), "someone/vit", tmp_path / "saved")
    hub.add("someone/mine", tmp_path / "saved")
    return judge(model)


def test_a_trained_model_brings_its_backbone(
    hub: Hub, home: Path, assessor: Tensor, tiny_backbone: Make
) -> None:
    hub.add("someone/vit", changed(files_of(tiny_backbone("vit").folder)))  # main has moved on
    (home / "hub").rename(home / "elsewhere")
    hub.asked.clear()
    model = load_trained("someone/mine")
    assert torch.equal(judge(model), assessor)
    repositories = {"/".join(path.split("/")[1:3]) for path in hub.paths("HEAD")}
    assert repositories == {"someone/mine", "someone/vit"}
    assert torch.equal(judge(TrainedModel.from_pretrained("someone/mine", revision="main")), assessor)
    folder = tiny_backbone("vit").folder
    assert torch.equal(judge(load_trained("someone/mine", backbone=folder)), assessor)


def test_a_trained_model_refuses_other_weights_below_it(
    hub: Hub, assessor: Tensor, tiny_backbone: Make
) -> None:
    hub.add("other/vit", changed(files_of(tiny_backbone("vit").folder)))
    with pytest.raises(TrainedModelError, match="other/vit: its weights are not those"):
        load_trained("someone/mine", backbone=load_backbone("other/vit"))


def test_a_trained_model_offline(
    hub: Hub, assessor: Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    load_trained("someone/mine")
    hub.stop()
    assert torch.equal(judge(load_trained("someone/mine")), assessor)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert torch.equal(judge(load_trained("someone/mine")), assessor)
    with pytest.raises(TrainedModelError, match=r"someone/other: no such folder, and config\.json cannot be"):
        load_trained("someone/other")


def test_a_trained_model_whose_weights_break_off(
    hub: Hub, home: Path, assessor: Tensor, tmp_path: Path
) -> None:
    weights = (tmp_path / "saved" / WEIGHTS).read_bytes()
    hub.fail("GET", sha256(weights), Fault(sent=0.3), Fault(status=503))
    with pytest.raises(TrainedModelError, match=r"someone/mine: .*model\.safetensors cannot be had"):
        load_trained("someone/mine")
    assert sha256(weights) not in {path.name for path in blobs(home)}
    assert torch.equal(judge(load_trained("someone/mine")), assessor)


# As users point it there.

SCRIPT = """
import json, sys
from foveal.lab.backbones import load_backbone, load_text_backbone
from foveal.errors import BackboneError

backbone = load_backbone("clip-base-32")
result = {"revision": backbone.card.revision, "texts": load_text_backbone("clip-base-32")("a cat").tolist()}
try:
    load_backbone("vit-base-16")
except BackboneError as error:
    result["error"] = str(error)
print(json.dumps(result))
"""


@pytest.mark.slow
def test_environment_variables_point_a_process_there(hub: Hub, home: Path, tiny_backbone: Make) -> None:
    folder, known = tiny_backbone("clip").folder, KNOWN["clip-base-32"]
    hub.add(known.hub_id, folder, commit=known.revision or "")
    own = home / "of-a-process"

    def run(**variables: str) -> dict[str, Any]:
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT],
            env={**hub.environment(own), **variables},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return result

    online = run()
    assert online["revision"] == known.revision
    expected = load_text_backbone(folder)("a cat")
    torch.testing.assert_close(torch.tensor(online["texts"]), expected)
    assert "check the spelling" in online["error"]
    assert list(own.glob(f"hub/models--*/snapshots/{known.revision}/{WEIGHTS}"))

    hub.asked.clear()
    hub.stop()
    offline = run(HF_HUB_OFFLINE="1")
    assert offline["texts"] == online["texts"]
    assert "offline mode is on (HF_HUB_OFFLINE)" in offline["error"]
    assert hub.asked == []
