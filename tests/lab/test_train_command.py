"""``foveal train``: from a table to a model that is exported and scores, and errors of one line."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from foveal.cli.run import run
from foveal.lab.trained import load_trained
from foveal.ratings.table import Ratings

RECIPE = """
[ratings]
path = "scores.csv"
low = 0
high = 10
[split]
validation = 0.4
[backbone]
name = "{backbone}"
[model]
kind = "probe"
hidden = 6
[training]
epochs = 2
batch = 10
[card]
name = "mine"
"""
Command = Callable[..., int]


@pytest.fixture(scope="module")
def place(tiny_vit: Path, rated_pictures: Ratings, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a recipe and its table of ratings."""
    folder = tmp_path_factory.mktemp("command")
    (folder / "recipe.toml").write_text(RECIPE.format(backbone=tiny_vit.as_posix()), encoding="utf-8")
    with (folder / "scores.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["image", "mos"])
        rows.writerows(zip(rated_pictures.images, rated_pictures.scores["quality"].tolist(), strict=True))
    return folder


@pytest.fixture
def command(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Run ``foveal train`` on the recipe, in an empty folder, with one cache of features for all tests."""
    monkeypatch.chdir(tmp_path)

    def train(*args: str, recipe: str | Path = place / "recipe.toml", out: str = "run") -> int:
        cache = ("--cache", str(place / "features.sqlite"))
        return run(["train", str(recipe), "--out", out, "--cpu", *cache, *args])

    return train


@pytest.fixture
def shown(capsys: pytest.CaptureFixture[str]) -> Callable[[], str]:
    """What was printed since it was asked last; nothing may be left on standard error."""

    def read() -> str:
        captured = capsys.readouterr()
        assert captured.err == ""
        return captured.out

    return read


def test_check_reads_everything_and_trains_nothing(
    command: Command, shown: Callable[[], str], tmp_path: Path
) -> None:
    assert command("--check") == 0
    # Two views of one layer of two vectors of 24: 97 x 6 hidden, 7 each for quality and spread. Frozen:
    # patches 18,456, CLS and positions 1,224, three blocks of 4,872, the last normalisation 48.
    assert shown() == (
        "trainable parameters: 596 (probe 596); frozen: 34,344\n"
        "images: 24 to train, 16 to validate, 0 kept for the report\n"
    )
    assert list(tmp_path.iterdir()) == []
    assert command("--check", "--set", "split.test=0.25", "--set", "model.hidden=0") == 0
    assert shown() == (
        "trainable parameters: 194 (probe 194); frozen: 34,344\n"
        "images: 18 to train, 12 to validate, 10 kept for the report\n"
    )


def test_train_says_what_came_of_it_and_goes_on_where_it_was(
    command: Command, shown: Callable[[], str], tmp_path: Path, tiny_vit: Path
) -> None:
    assert command() == 0
    first = shown().splitlines()
    assert first[0].startswith("trainable parameters: 596 ")
    assert first[2].startswith("best of 2 epochs: ")
    record = json.loads((tmp_path / "run" / "model" / "config.json").read_text(encoding="utf-8"))
    srcc = record["validation"]["srcc"]
    assert f"validation SRCC {srcc:.4f}, PLCC " in first[2]
    factor = record["calibration"]["quality"]["factor"]
    assert first[3] == f"quality: 90 % interval of {factor:.3f} x spread, calibrated on 16 images"
    assert first[4] == f"model: {Path('run') / 'model'}"
    assert load_trained(tmp_path / "run" / "model", backbone=tiny_vit).record.card.name == "mine"
    rows = list(csv.DictReader((tmp_path / "run" / "epochs.csv").open(encoding="utf-8")))
    assert len(rows) == 2

    assert command() == 0
    again = shown().splitlines()
    assert again[0] == "run: going on with the run that was begun there"
    assert again[1:] == first


def test_fields_are_set_from_the_command_line(
    command: Command, shown: Callable[[], str], place: Path, tmp_path: Path
) -> None:
    # Quotes may be left out; a path is one from here, where such a file is.
    (tmp_path / "mine.csv").write_bytes((place / "scores.csv").read_bytes())
    settings = ["training.epochs=1", "ratings.path=mine.csv", "model.views=['whole']", "card.licence=MIT"]
    assert command(*(word for setting in settings for word in ("--set", setting))) == 0
    assert "best of 1 epochs: 1;" in shown()
    record = json.loads((tmp_path / "run" / "model" / "config.json").read_text(encoding="utf-8"))
    assert (record["options"]["views"], record["card"]["licence"]) == (["whole"], "MIT")


def test_tensorboard_in_place_of_csv(command: Command, shown: Callable[[], str], tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    assert command("--log", "tensorboard", "--set", "training.epochs=1") == 0
    assert shown()
    assert list((tmp_path / "run" / "tensorboard").iterdir())
    assert not (tmp_path / "run" / "epochs.csv").exists()


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--set", "training.epoch=3"], "training.epoch: unknown field; did you mean 'epochs'?"),
        (["--set", "training.epochs=many"], "training.epochs: expected a whole number, found 'many'"),
        (["--set", "ratings.path=gone.csv"], "gone.csv"),
        (["--set", "ratings.high=2"], "scores: quality outside 0 to 2"),
        (["--set", "backbone.name=no-such-vit"], "no-such-vit: no folder lies there"),
        (["--set", "training.batch=30"], "24 training images do not fill one batch of 30"),
        (["--set", "model.layers=[9]"], "has 3 layers, not 9"),
        (["--set", "split.validation=0.1"], "the validation part cannot calibrate quality: 4 images"),
        (["--set", "training.group_lr={tail=1.0}"], "group_lr names 'tail'; groups are model"),
    ],
)
def test_errors_are_one_line_and_exit_code_2(
    command: Command, capsys: pytest.CaptureFixture[str], args: list[str], message: str
) -> None:
    assert command(*args) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("foveal: ")
    assert captured.err.count("\n") == 1
    assert message in captured.err
    assert "Traceback" not in captured.err


@pytest.mark.parametrize("args", [["--set", "model.layers=[9]"], ["--set", "split.validation=0.99"]])
def test_errors_of_a_check_are_one_line_too(
    command: Command, capsys: pytest.CaptureFixture[str], args: list[str]
) -> None:
    assert command("--check", *args) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_diverging_run_is_one_line(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("--set", "training.lr=1e30", "--set", "training.clip=0") == 2
    assert "the loss is" in capsys.readouterr().err


def test_another_recipe_in_the_same_folder_is_refused(
    command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("--set", "training.epochs=1") == 0
    capsys.readouterr()
    assert command("--set", "training.lr=0.5") == 2
    assert "this run has other settings or other data; name another folder" in capsys.readouterr().err
    assert command("--set", "model.layers=[1]") == 2
    assert "another model or backbone was trained here; name another folder" in capsys.readouterr().err


def test_wrong_usage_is_2(command: Command, capsys: pytest.CaptureFixture[str], place: Path) -> None:
    assert run(["train", str(place / "recipe.toml")]) == 2
    assert "--out" in capsys.readouterr().err
    assert command("--set", "training.epochs") == 2
    assert "'training.epochs' is not FIELD=VALUE" in capsys.readouterr().err
    assert command("--set", "=3") == 2
    assert command("--log", "paper") == 2
    capsys.readouterr()
    assert command(recipe="gone.toml") == 2
    assert capsys.readouterr().err == "foveal: gone.toml: there is no such file\n"
    broken = place / "broken.toml"
    broken.write_text("[ratings", encoding="utf-8")
    assert command(recipe=broken) == 2
    assert "broken.toml: cannot be read as TOML: " in capsys.readouterr().err


@pytest.mark.slow
def test_two_processes_write_one_model(place: Path, tmp_path: Path, tiny_vit: Path) -> None:
    """As the help has it: ``accelerate launch --num_processes 2 -m foveal train``, here on two CPUs."""
    launch = ["--cpu", "--num_processes", "2", "--num_machines", "1", "--main_process_port", "0"]
    launch += ["--mixed_precision", "no", "--dynamo_backend", "no", "-m", "foveal"]
    recipe, cache = str(place / "recipe.toml"), str(place / "two.sqlite")
    train = ["train", recipe, "--out", str(tmp_path / "run"), "--cpu", "--cache", cache]
    done = subprocess.run(
        [sys.executable, "-m", "accelerate.commands.launch", *launch, *train],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("best of 2 epochs") == 1
    assert load_trained(tmp_path / "run" / "model", backbone=tiny_vit).record.kind == "probe"
