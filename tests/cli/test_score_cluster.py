"""``foveal score --engine ray`` without a cluster: what is refused, what is shown, how it ends."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from foveal.cli.run import run
from foveal.errors import OutputError
from foveal.pipeline.part_files import Part
from foveal.pipeline.receipts import Receipt, receipt_of
from foveal.pipeline.rows import Row

Cluster = Callable[..., None]


def receipt(*qualities: float | None, kept: bool = False, start: int = 0) -> Receipt:
    rows = tuple(
        Row(f"{start + n}.jpg", q, q, q, "m@1", error=None if q else "there is no such file")
        for n, q in enumerate(qualities)
    )
    return receipt_of(Part("id", "{}", rows), b"", kept=kept)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the command asks of a cluster; ``receipts`` and ``error`` say what that does."""
    seen: dict[str, Any] = {"receipts": [receipt(3.0)], "error": None}

    def score_dataset(inputs: Any, out: Any, **options: Any) -> None:
        seen.update(options, inputs=inputs, out=out)
        watcher = options["watcher"]
        watcher.planned(len(seen["receipts"]), sum(len(one.steps) for one in seen["receipts"]))
        for one in seen["receipts"]:
            watcher.received(one)
        if seen["error"] is not None:
            raise seen["error"]

    monkeypatch.setattr("foveal.pipeline.ray.score_dataset", score_dataset)
    return seen


def score(*args: str) -> int:
    return run(["score", *args, "--engine", "ray"])


def test_options_arrive(asked: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    more = (
        "--workers 7 --threads 3 --partition-size 9 --ray-address auto --max-pixels 5 --device cuda --resume"
    )
    assert score("s3://b/photos", "t.csv", "--out", "s3://b/out", "--no-prompt", *more.split()) == 0
    assert asked["inputs"] == ("s3://b/photos", "t.csv")
    assert (asked["out"], asked["address"], asked["partition_size"]) == ("s3://b/out", "auto", 9)
    fleet = asked["fleet"]
    assert (fleet.workers, fleet.threads, fleet.device, fleet.engine) == (7, 3, "cuda", "auto")
    assert (asked["limits"].max_pixels, asked["prompt"], asked["resume"], asked["overwrite"]) == (
        5,
        "",
        True,
        False,
    )


def test_defaults(asked: dict[str, Any]) -> None:
    assert score("photos", "--out", "out") == 0
    fleet = asked["fleet"]
    assert (fleet.workers, fleet.threads, asked["partition_size"], asked["prompt"]) == (None, 1, 1000, None)
    assert (asked["address"], asked["model"], asked["limits"]) == (None, None, None)


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ([], "needs --out"),
        (["--out", "out", "--json"], "--json does not go with"),
        (["--out", "out", "--below", "0"], "--below does not go with"),
        (["--out", "out", "--top", "3"], "--top does not go with"),
        (["--out", "out", "--report", "x.html"], "--report does not go with"),
        (["--out", "out", "--prompts", "x.csv"], "a table with both columns"),
        (["--out", "out", "--resume", "--overwrite"], "exclude each other"),
        (["--out", "out", "--workers", "0"], "--workers"),
        (["--out", "out", "--partition-size", "0"], "--partition-size"),
    ],
)
def test_what_does_not_go_together(
    asked: dict[str, Any], args: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert score("photos", *args) == 2
    assert said in capsys.readouterr().err
    assert "out" not in asked


@pytest.mark.parametrize("option", ["--workers=2", "--partition-size=2", "--ray-address=auto"])
def test_options_of_a_cluster_alone_say_so(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["score", "photos", option]) == 2
    assert f"{option.split('=', maxsplit=1)[0]} goes with --engine ray only" in capsys.readouterr().err


def test_a_folder_is_no_file_for_the_local_engine(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], tiny_model_path: Path
) -> None:
    (tmp_path / "out.csv").mkdir()
    assert run(["score", "x", "--model", str(tiny_model_path), "--out", str(tmp_path / "out.csv")]) == 2
    assert "is a folder; give the name of a file" in capsys.readouterr().err


def test_what_a_pipe_gets(asked: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    asked["receipts"] = [receipt(3.0, None, 4.0), receipt(*[None] * 14, 2.0, kept=True, start=3)]
    assert score("photos", "--out", "out") == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    lines = shown.err.splitlines()
    assert lines[0] == "foveal: 1.jpg: there is no such file"
    assert len(lines) == 10 + 2
    assert lines[-2] == "foveal: ... and 5 more failed; their rows say why"
    assert lines[-1] == "foveal: 3 scored, 15 failed, in 2 partitions, 1 of them from before: out"
    assert score("photos", "--out", "out", "--keep-going") == 0


class Terminal:
    """Standard output that says it is one."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def isatty(self) -> bool:
        return True

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def test_what_a_terminal_gets(
    asked: dict[str, Any], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the local engine shows it: worst, best, failures, figures and a histogram."""
    qualities = [1 + n / 10 for n in range(40)]
    asked["receipts"] = [receipt(*qualities[:20]), receipt(*qualities[20:], None, start=20)]
    monkeypatch.setattr(sys, "stdout", Terminal(sys.stdout))
    monkeypatch.setattr(sys, "stderr", Terminal(sys.stderr))
    monkeypatch.setenv("TERM", "dumb")
    assert score("photos", "--out", "out") == 1
    shown = capsys.readouterr()
    assert "Worst 5" in shown.out
    assert "Best 5" in shown.out
    best = shown.out.index("Best 5")
    assert shown.out.index(" 0.jpg") < best < shown.out.index(" 39.jpg")
    assert "failed 40.jpg: there is no such file" in shown.out
    assert "40 scored, 1 failed" in shown.out
    assert "mean 2.95, median 2.95, spread 1.15" in shown.out
    assert "4.5 - 5.0" in shown.out


def test_an_interruption_says_how_to_go_on(asked: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    asked["receipts"], asked["error"] = [receipt(3.0, 4.0)], KeyboardInterrupt()
    assert score("photos", "--out", "out") == 130
    said = "foveal: interrupted after 2 images; finished partitions are kept, add --resume to go on\n"
    assert capsys.readouterr().err.startswith(said)


def test_errors_are_one_line(asked: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    asked["receipts"], asked["error"] = [], OutputError("out: results are there already")
    assert score("photos", "--out", "out") == 2
    assert capsys.readouterr().err == "foveal: out: results are there already\n"


def test_without_ray_the_extra_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str], tiny_model_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    out = tmp_path / "out"
    assert score("photos", "--out", str(out), "--model", str(tiny_model_path)) == 2
    assert "pip install 'foveal[cluster]'" in capsys.readouterr().err
    assert not out.exists()
