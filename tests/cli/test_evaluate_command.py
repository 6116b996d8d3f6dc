"""``foveal evaluate``: its figures against SciPy's, its files, and what it refuses."""

from __future__ import annotations

import csv
import sys
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
from foveal.ratings.biq2021 import read_biq2021

Floats = NDArray[np.float64]
N = 40
NAMES = [f"{index:02d}.jpg" for index in range(N)]
RNG = np.random.default_rng(0)
MOS = RNG.uniform(0, 100, N).round(1)
QUALITY = 1 + MOS / 25 + RNG.normal(0, 0.5, N)
PARTS = ["train"] * 16 + ["val"] * 4 + ["test"] * 20


@dataclass
class Bench:
    """A folder with a table of forty empty image files, and the command run inside."""

    folder: Path
    capsys: pytest.CaptureFixture[str]

    def write(self, name: str, columns: Mapping[str, Sequence[object]]) -> str:
        with (self.folder / name).open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(columns)
            writer.writerows(zip(*columns.values(), strict=True))
        return name

    def scores(self, quality: Sequence[float] | Floats, name: str = "scores.csv", **columns: object) -> str:
        return self.write(name, {"image": NAMES, "quality": list(quality), **columns})

    def __call__(self, *args: str) -> tuple[int, str, str]:
        code = run(["evaluate", *args])
        shown = self.capsys.readouterr()
        return code, shown.out, shown.err

    def rows(self, path: str) -> list[dict[str, str]]:
        with (self.folder / path).open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Bench:
    monkeypatch.chdir(tmp_path)
    for name in NAMES:
        (tmp_path / name).touch()
    bench = Bench(tmp_path, capsys)
    subsets = ["day" if index % 2 else "night" for index in range(N)]
    groups = [f"scene {index // 2}" for index in range(N)]
    bench.write(
        "ratings.csv", {"image": NAMES, "mos": MOS, "part": PARTS, "subset": subsets, "scene": groups}
    )
    return bench


TABLE = ("ratings.csv", "--low", "0", "--high", "100")


def check_against_scipy(row: dict[str, str], quality: Floats, rated: Floats) -> None:
    assert int(row["n"]) == len(rated)
    assert float(row["srcc"]) == pytest.approx(stats.spearmanr(quality, rated).statistic, abs=1e-12)
    assert float(row["krcc"]) == pytest.approx(stats.kendalltau(quality, rated).statistic, abs=1e-12)
    assert float(row["plcc"]) == pytest.approx(stats.pearsonr(quality, rated).statistic, abs=1e-12)


def test_figures_equal_those_of_scipy(bench: Bench) -> None:
    code, out, err = bench(
        *TABLE, "--scores", bench.scores(QUALITY), "--column-subset", "subset", "--out", "report"
    )
    assert (code, err) == (0, "")
    figures = {row["part"]: row for row in bench.rows("report/report.csv")}
    assert list(figures) == ["all", "day", "night"]
    day = np.arange(N) % 2 == 1
    for part, chosen in (("all", np.ones(N, bool)), ("day", day), ("night", ~day)):
        check_against_scipy(figures[part], QUALITY[chosen], MOS[chosen])
        assert f"{float(figures[part]['srcc']):.3f}" in out
    assert "ratings: all 40 images" in out
    assert {path.name for path in (bench.folder / "report").iterdir()} == {
        "report.md", "report.csv", "scores.csv", "scatter.svg", "scatter-day.svg", "scatter-night.svg"
    }  # fmt: skip


def test_a_wrong_direction_is_negative(bench: Bench) -> None:
    scores = bench.scores(QUALITY)
    code, out, _ = bench(*TABLE, "--lower-is-better", "--scores", scores, "--out", "report")
    assert code == 0
    (figures,) = bench.rows("report/report.csv")
    check_against_scipy(figures, QUALITY, -MOS)
    for name in ("srcc", "krcc", "plcc", "plcc_4", "plcc_5"):
        assert float(figures[name]) < -0.5
    assert f"{float(figures['srcc']):.3f}" in out
    assert "SRCC -0." in (bench.folder / "report" / "scatter.svg").read_text()


def test_the_test_part_is_what_counts_where_there_is_one(bench: Bench) -> None:
    scores = bench.scores(QUALITY)
    parts = {(): slice(20, 40), ("--part", "all"): slice(0, 40), ("--part", "train"): slice(0, 16)}
    for number, (option, chosen) in enumerate(parts.items()):
        code, out, _ = bench(
            *TABLE, "--column-split", "part", *option, "--scores", scores, "--out", f"report{number}"
        )
        assert code == 0
        (figures,) = bench.rows(f"report{number}/report.csv")
        check_against_scipy(figures, QUALITY[chosen], MOS[chosen])
        assert ("part test, 20 images" in out) == (not option)


@pytest.mark.parametrize("kind", ["names", "neighbours"])
def test_the_clean_part(bench: Bench, kind: str) -> None:
    # Two of the training part are named too: they are not evaluated anyway.
    near = [0, 1, 25, 30, 31]
    if kind == "names":
        (bench.folder / "near.txt").write_text("\n".join(NAMES[index] for index in near))
    else:
        similarity = [0.9 if index not in near else 0.9001 for index in range(N)]
        bench.write("near.csv", {"test_image": NAMES, "similarity": similarity})
    path = "near.txt" if kind == "names" else "near.csv"
    code, _, _ = bench(
        *TABLE, "--column-split", "part", "--leave-out", path, "--scores", bench.scores(QUALITY), "--out", "r"
    )
    assert code == 0
    clean = [index for index in range(20, 40) if index not in near]
    figures = {row["part"]: row for row in bench.rows("r/report.csv")}
    check_against_scipy(figures["clean"], QUALITY[clean], MOS[clean])


def test_a_model_gives_what_it_gives_in_python(
    bench: Bench, tiny_model_path: Path, make_photo: Callable[..., NDArray[np.uint8]]
) -> None:
    names = [f"photo{seed}.png" for seed in range(8)]
    (bench.folder / "shots").mkdir()
    for seed, name in enumerate(names):
        Image.fromarray(make_photo(240, 260, seed)).save(bench.folder / "shots" / name)
    bench.write("mine.csv", {"file": names, "opinion": [1, 5, 2, 4, 3, 3.5, 2.5, 1.5]})
    table = ("mine.csv", "--low", "1", "--high", "5", "--column-image", "file", "--column-score", "opinion")
    model = ("--model", str(tiny_model_path))
    code, out, err = bench(*table, "--images", "shots", *model, "--out", "r")
    assert (code, err) == (0, "")
    assert "tiny@0.0.1" in out
    assert "Intervals: share of ratings inside" in out
    judge = foveal.load(tiny_model_path)
    for row in bench.rows("r/scores.csv"):
        assessment = judge(f"shots/{row['image']}")
        assert float(row["quality"]) == assessment.quality
        assert (float(row["low"]), float(row["high"])) == (assessment.interval.low, assessment.interval.high)

    # What it wrote, and what foveal score writes of the same folder, are as good as the model itself.
    (bench.folder / "r" / "scores.csv").rename(bench.folder / "kept.csv")
    assert run(["score", "shots", *model, "--out", "scored.csv"]) == 0
    bench.capsys.readouterr()
    first = {**bench.rows("r/report.csv")[0], "assessor": ""}
    for number, scores in enumerate(("kept.csv", "scored.csv")):
        assert bench(*table, "--images", "shots", "--scores", scores, "--out", f"again{number}")[0] == 0
        assert {**bench.rows(f"again{number}/report.csv")[0], "assessor": ""} == first


def test_several_assessors_are_tested_against_the_first(bench: Bench) -> None:
    ours = bench.scores(QUALITY, "ours.csv", low=[1] * N, high=[5] * N)
    theirs = bench.scores(20 * QUALITY + RNG.normal(0, 60, N), "theirs.csv")
    code, out, _ = bench(*TABLE, "--scores", ours, "--scores", theirs, "--out", "r")
    assert code == 0
    assert "Against ours.csv" in out
    srcc, plcc = bench.rows("r/comparison.csv")
    assert (srcc["assessor"], srcc["against"], srcc["figure"]) == ("theirs.csv", "ours.csv", "srcc")
    figures = bench.rows("r/report.csv")
    for row in (srcc, plcc):
        first, second = (float(one[row["figure"]]) for one in figures)
        assert float(row["difference"]) == pytest.approx(second - first)
        assert float(row["low_95"]) < float(row["difference"]) < float(row["high_95"]) < 0
        assert 0 < float(row["p_value"]) < 0.05
    assert [row["coverage"] for row in figures] == ["1.0", ""]


def test_splits_keep_groups_together_and_give_a_summary(bench: Bench) -> None:
    table = (*TABLE, "--column-group", "scene", "--scores", bench.scores(QUALITY))
    code, out, _ = bench(*table, "--splits", "4", "--seed", "3", "--out", "r")
    assert code == 0
    splits = bench.rows("r/splits.csv")
    assert [row["n"] for row in splits] == ["8"] * 4
    assert splits[0]["origin"] == "ratings: seeded grouped split 3, test 0.2, validation 0.1"
    line = next(line for line in out.splitlines() if line.startswith("KRCC "))
    values = [float(row["krcc"]) for row in splits]
    cells = line.split()
    assert cells[1:4] == [f"{of:.3f}" for of in (np.median(values), np.mean(values), np.std(values, ddof=1))]
    assert cells[-2:] == [f"{min(values):.3f}", f"{max(values):.3f}"]
    # Forty scenes of one image each would be split otherwise.
    assert bench(*TABLE, *table[-2:], "--splits", "4", "--seed", "3", "--out", "s")[0] == 0
    assert [row["srcc"] for row in bench.rows("s/splits.csv")] != [row["srcc"] for row in splits]


def few(columns: Mapping[str, Sequence[object]], count: int) -> dict[str, Sequence[object]]:
    return {name: column[:count] for name, column in columns.items()}


def test_what_cannot_be_evaluated_is_one_clear_line(bench: Bench) -> None:
    whole: dict[str, Sequence[object]] = {"image": NAMES, "quality": QUALITY.tolist()}
    cases = {
        "whose quality is empty, NaN or infinite": {**whole, "quality": ["nan", *QUALITY[1:]]},
        "scores.csv: part 'all' of ratings: predicted scores are all 3": {**whole, "quality": [3.0] * N},
        "scores.csv: 1 rated image (39.jpg) without a score": few(whole, N - 1),
        "1 image (00.jpg) with more than one score": {**whole, "image": [NAMES[0], NAMES[0], *NAMES[2:]]},
        "1 image (x.jpg) not among those of ratings": {"image": [*NAMES, "x.jpg"], "quality": [*QUALITY, 1]},
    }
    for message, columns in cases.items():
        code, out, err = bench(*TABLE, "--scores", bench.write("scores.csv", columns))
        assert (code, out) == (2, "")
        assert message in err
        assert err.startswith("foveal: ")
        assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("mos", "message"),
    [
        ([50.0] * N, "all 40 ratings are 50: a correlation with a constant is undefined"),
        (MOS[:5].tolist(), "5 rated images are too few for correlations and fits; at least 6 are needed"),
        (["nan", *MOS[1:].tolist()], "score missing: 00.jpg"),
        ([101, *MOS[1:].tolist()], "quality outside 0 to 100: 00.jpg (101)"),
    ],
)
def test_ratings_that_cannot_be_used_are_refused_before_any_scoring(
    bench: Bench, mos: Sequence[object], message: str
) -> None:
    table = bench.write("bad.csv", {"image": NAMES[: len(mos)], "mos": mos})
    # The images are empty files: an attempt to score them would be the error instead.
    code, out, err = bench(table, "--low", "0", "--high", "100")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert message in err


def test_images_that_cannot_be_judged_are_named(bench: Bench, tiny_model_path: Path) -> None:
    code, out, err = bench(*TABLE, "--model", str(tiny_model_path))
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert (
        "tiny@0.0.1 cannot judge 40 images (00.jpg, 01.jpg, 02.jpg, ...), the first because: 00.jpg: " in err
    )


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["ratings.csv"], "state what the ratings mean: --low and --high"),
        (["ratings.csv", "--low", "0"], "state what the ratings mean"),
        ([".", "--dataset", "biq2021", "--low", "0"], "scale and columns of biq2021 are known"),
        ([".", "--dataset", "biq2021", "--column-split", "x"], "scale and columns of biq2021 are known"),
        ([".", "--dataset", "nobody"], "nobody"),
        (["ratings.csv", "--low", "5", "--high", "1"], "a scale from 5"),
        (["gone.csv", "--low", "0", "--high", "1"], "gone.csv: there is no such file"),
        ([*TABLE, "--part", "test"], "ratings has no part 'test'; there is no split"),
        ([*TABLE, "--column-score", "beauty"], "no column 'beauty'"),
        ([*TABLE, "--leave-out", "gone.txt"], "gone.txt: there is no such file"),
        ([*TABLE, "--leave-out", "strange.txt"], "1 name (strange.jpg) not in the table"),
        (
            [*TABLE, "--column-split", "part", "--leave-out", "train.txt"],
            "train.txt: none of its 1 images is among the 20 evaluated",
        ),
        ([*TABLE, "--model", "no-such-model"], "no-such-model: neither a shipped assessor"),
        ([*TABLE, "--out", "."], "exists already and is not empty"),
        ([*TABLE, "--splits", "1"], "--splits"),
        ([*TABLE, "--scores", "scores.csv", "--scores", "scores.csv"], "same label"),
        ([*TABLE, "--scores", "scores.csv", "--splits", "9", "--column-group", "mos2"], "no column 'mos2'"),
    ],
)
def test_what_cannot_be_done_is_said_without_a_traceback(bench: Bench, args: list[str], message: str) -> None:
    bench.scores(QUALITY)
    (bench.folder / "strange.txt").write_text("strange.jpg\n")
    (bench.folder / "train.txt").write_text("03.jpg\n")
    code, out, err = bench(*args)
    assert (code, out) == (2, "")
    assert message in err
    assert "Traceback" not in err


@pytest.mark.parametrize("module", ["scipy.stats", "matplotlib.backends.backend_svg"])
def test_a_missing_extra_is_named_before_any_scoring(
    bench: Bench, module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    code, out, err = bench(*TABLE, "--out", "r")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "pip install 'foveal[evaluation]'" in err


def test_too_few_images_for_splits_name_the_split(bench: Bench) -> None:
    table = (*TABLE, "--column-split", "part", "--scores", bench.scores(QUALITY))
    code, _, err = bench(*table, "--splits", "2")
    assert (code, err.count("\n")) == (2, 1)
    assert "seeded grouped split 0, test 0.2, validation 0.1: 4 points cannot determine 4 parameters" in err


def test_missing_images_stop_it_unless_they_may_be_dropped(bench: Bench) -> None:
    (bench.folder / NAMES[5]).unlink()
    there = [index for index in range(N) if index != 5]
    scores = bench.write("some.csv", {"image": [NAMES[i] for i in there], "quality": QUALITY[there]})
    code, _, err = bench(*TABLE, "--scores", scores)
    assert code == 2
    assert "1 image (05.jpg) of 40 missing" in err
    (bench.folder / "near.txt").write_text("05.jpg\n06.jpg\n")
    code, out, _ = bench(
        *TABLE, "--scores", scores, "--drop-missing", "--leave-out", "near.txt", "--out", "r"
    )
    assert code == 0
    assert "all 39 images (those not on disk left out)" in out
    assert [row["n"] for row in bench.rows("r/report.csv")] == ["39", "38"]


@pytest.mark.slow
def test_the_official_split_of_biq2021_its_clean_part_and_its_subsets(
    bench: Bench, shared_folder: Path
) -> None:
    folder = shared_folder / "data" / "BIQ2021"
    if not folder.is_dir():
        pytest.skip("BIQ2021 is not there")
    ratings = read_biq2021(folder, missing="drop").part("test")
    if len(ratings) < 2000:
        pytest.skip("not all test images are there")
    rated = ratings.quality()
    made = rated + np.random.default_rng(0).normal(0, 0.5, len(rated))
    scores = bench.write("made.csv", {"image": ratings.names, "quality": made})
    code, out, _ = bench(
        str(folder), "--dataset", "biq2021", "--drop-missing", "--scores", scores,
        "--leave-out", str(folder / "test-neighbours.csv"), "--splits", "10", "--out", "r",
    )  # fmt: skip
    assert code == 0
    figures = {row["part"]: row for row in bench.rows("r/report.csv")}
    assert {part: row["n"] for part, row in figures.items()} == {
        "all": "2000", "clean": "1718", "ss01": "335", "ss02": "344", "ss03": "1321"
    }  # fmt: skip
    check_against_scipy(figures["all"], made, rated)
    subset = np.array(ratings.subsets) == "ss02"
    check_against_scipy(figures["ss02"], made[subset], rated[subset])
    assert len(bench.rows("r/splits.csv")) == 10
    assert "part test, 2,000 images" in out
