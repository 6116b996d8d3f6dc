"""``foveal benchmark``: one file, one command, and what it says."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy import stats

import foveal
from foveal.cli.run import run

N = 36
MOS = np.random.default_rng(4).uniform(0, 100, N).round(1)
FILE = """
[run]
out = "results"
resamples = 100

[sets.mine]
path = "ratings.csv"
low = 0
high = 100
columns = { scores = { quality = "mos" }, split = "part", group = "scene" }
split = "official"

[sets.drawn]
path = "ratings.csv"
low = 0
high = 100
columns = { scores = { quality = "mos" }, group = "scene" }
split = "seeded"
splits = 2

[assessors.good]
scores = { mine = "good.csv", drawn = "good.csv" }

[assessors.turned]
scores = { mine = "turned.csv" }
column = "error"
lower_is_better = true
"""


@dataclass
class Command:
    """The command in a folder of its own."""

    folder: Path
    capsys: pytest.CaptureFixture[str]

    def __call__(self, *args: str) -> tuple[int, list[str], str]:
        code = run(["benchmark", "mine.toml", *args])
        shown = self.capsys.readouterr()
        return code, shown.out.splitlines(), shown.err

    def add(self, text: str) -> None:
        path = self.folder / "mine.toml"
        path.write_text(path.read_text(encoding="utf-8") + text, encoding="utf-8")

    def figure(self, assessor: str, name: str) -> float:
        with (self.folder / "results" / "results.csv").open(newline="", encoding="utf-8") as file:
            rows = [row for row in csv.DictReader(file) if (row["row"], row["set"]) == ("mean", name)]
        (value,) = [row["value"] for row in rows if (row["assessor"], row["figure"]) == (assessor, "srcc")]
        return float(value)


def write(path: Path, columns: Mapping[str, Sequence[object]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    monkeypatch.chdir(tmp_path)
    names = [f"{row:02}.png" for row in range(N)]
    generator = np.random.default_rng(5)
    for name in names:
        Image.fromarray(generator.integers(0, 256, (8, 8, 3), np.uint8)).save(tmp_path / name)
    write(
        tmp_path / "ratings.csv",
        {
            "image": names,
            "mos": MOS.tolist(),
            "part": ["train", "test"] * (N // 2),
            "scene": [f"s{row}" for row in range(N)],
        },
    )
    write(tmp_path / "good.csv", {"image": names, "quality": MOS.tolist()})
    write(tmp_path / "turned.csv", {"image": names, "error": (-MOS).tolist()})
    (tmp_path / "mine.toml").write_text(FILE, encoding="utf-8")
    return Command(tmp_path, capsys)


def test_the_whole_way(command: Command) -> None:
    code, lines, errors = command()
    assert code == 0
    assert errors == "reading mine\nreading drawn\n"
    assert lines[:5] == [
        "4 cells: 0 are stored, 4 to compute",
        "[1/4] good on mine, split 1: 18 of 18 images scored",
        # The same file is entered for both sets, and what it says of an image is known by then.
        "[2/4] good on drawn, split 1: 3 of 7 images scored",
        "[3/4] good on drawn, split 2: 2 of 7 images scored",
        "[4/4] turned on mine, split 1: 18 of 18 images scored",
    ]
    assert lines[-1] == f"report: {Path('results/report.html')} (1 line without figures: see there)"
    board = [line.split() for line in lines if line.startswith(("good ", "turned "))]
    assert [row[:2] for row in board] == [["good", "1.000"], ["turned", "1.000"], ["good", "1.000"]]
    there = {path.name for path in (command.folder / "results").iterdir()}
    assert there == {"cells", "draws", "gmad", "plots", "report.html", "report.md", "results.csv"}

    code, again, _ = command()
    assert (code, again[0]) == (0, "4 cells: 4 are stored, 0 to compute")
    assert again[1:] == lines[5:]


def test_a_dry_run_says_what_would_be_done_and_does_nothing(command: Command) -> None:
    before = sorted(command.folder.iterdir())
    code, lines, _ = command("--dry-run", "--only", "good")
    assert code == 0
    assert lines == [
        "3 cells: 0 are stored, 3 to compute",
        "line           cells  stored  to compute",
        "good on mine       1       0           1",
        "good on drawn      2       0           2",
        "refused: turned on drawn: there are no scores of this set",
    ]
    assert sorted(command.folder.iterdir()) == before
    command("--only", "good/mine")
    assert command("--dry-run")[1][:3] == [
        "4 cells: 1 are stored, 3 to compute",
        "line            cells  stored  to compute",
        "good on mine        1       1           0",
    ]


def test_a_model_gives_what_it_gives_in_python(
    command: Command, tiny_model_path: Path, make_photo: Callable[..., NDArray[np.uint8]]
) -> None:
    for row in range(N):
        Image.fromarray(make_photo(230, 240, row)).save(command.folder / f"{row:02}.png")
    command.add(f"[assessors.tiny]\nmodel = '{tiny_model_path}'\ntrained_on = ['drawn']\n")
    code, lines, _ = command("--only", "tiny/mine")
    assert code == 0
    assessor = foveal.load(tiny_model_path)
    rows = range(1, N, 2)
    scores = [assessor(command.folder / f"{row:02}.png").quality for row in rows]
    expected = stats.spearmanr(scores, MOS[1::2]).statistic
    assert command.figure("tiny", "mine") == pytest.approx(expected)
    # Both sets are the same pictures here.
    assert "warning: tiny, marked †: has seen drawn (as stated), which shares 36 images with mine" in lines


def test_warnings_of_splits_are_said(command: Command) -> None:
    command.add("[sets.torn]\npath='ratings.csv'\nlow=0\nhigh=100\nsplit='official'\n")
    command.add("columns={scores={quality='mos'}, split='part', group='part2'}\n")
    path = command.folder / "ratings.csv"
    lines = path.read_text(encoding="utf-8").splitlines()
    path.write_text("\n".join([f"{lines[0]},part2", *(f"{x},g{i // 4}" for i, x in enumerate(lines[1:]))]))
    code, shown, _ = command("--dry-run")
    assert code == 0
    assert any(line.startswith("warning: torn: the official split separates 9 groups (g0") for line in shown)
    assert "warning: torn: too few test images are clean for figures of their own" in shown


def test_failed_cells_are_said_and_the_exit_code_is_1(command: Command) -> None:
    path = command.folder / "turned.csv"
    path.write_text(re.sub("01.png,.*", "01.png,inf", path.read_text(encoding="utf-8")), encoding="utf-8")
    code, lines, _ = command()
    assert code == 1
    assert any(line.startswith("[4/4] turned on mine, split 1: failed: ") for line in lines)
    assert lines[-1].endswith("(2 lines without figures: see there)")


def test_an_interruption_keeps_what_is_done(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    from foveal.evaluation.benchmark.store import Store

    keep = Store.keep
    kept: list[str] = []

    def interrupted(self: Store, judge: str, *args: object) -> None:
        if len(kept) == 2:
            raise KeyboardInterrupt
        kept.append(judge)
        keep(self, judge, *args)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(Store, "keep", interrupted)
        code, _, errors = command()
    assert code == 130
    assert "foveal: interrupted; finished cells are stored, run again to go on\n" in errors
    assert command()[1][0] == "4 cells: 2 are stored, 2 to compute"


@pytest.mark.parametrize(
    ("change", "args", "message"),
    [
        (("[run]", "[runs]"), [], "mine.toml: runs: unknown table"),
        (('split = "seeded"', 'split = "random"'), [], "mine.toml: sets.drawn.split: 'random' is not one of"),
        (('path = "ratings.csv"', 'path = "gone.csv"'), [], "sets.mine: gone.csv: there is no such file"),
        (("", ""), ["--only", "best"], "best: fits nothing to compute; there is good/mine, good/drawn"),
        (('out = "results"', ""), [], "run.out: name a folder for the results, here or with --out"),
        (("", ""), ["--out", "."], ".: holds other files than those of a benchmark; choose a new folder"),
        (("good.csv", "no.csv"), [], "no.csv: cannot be read (No such file or directory)"),
    ],
)
def test_errors_are_one_line_and_exit_code_2(
    command: Command, change: tuple[str, str], args: list[str], message: str
) -> None:
    text = (command.folder / "mine.toml").read_text(encoding="utf-8")
    (command.folder / "mine.toml").write_text(text.replace(*change), encoding="utf-8")
    code, _, errors = command(*args)
    assert code == 2
    (line,) = [line for line in errors.splitlines() if not line.startswith("reading ")]
    assert line.startswith(f"foveal: {message}")


def test_out_takes_the_place_of_the_one_in_the_file(command: Command) -> None:
    assert command("--out", "elsewhere")[0] == 0
    assert (command.folder / "elsewhere" / "report.html").is_file()
    assert not (command.folder / "results").exists()
