"""``foveal ratings audit``: how a table is named, what is printed and written, what is refused."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from foveal.cli.ratings_audit import audit
from foveal.cli.run import run
from foveal.errors import FovealError
from foveal.evaluation.leave_out import read_leave_out
from foveal.ratings.splits import Split, write_split

NAMES = [f"{index}.png" for index in range(8)]
SAME = {4: 0, 5: 1}
"""Images that show the same as another: the first with the same bytes, the second at another size."""
PARTS = ["train"] * 4 + ["test"] * 4
SCENES = ["s0", "s1", "s2", "s3", "s4", "s5", "s2", "s7"]


def picture(seed: int) -> Image.Image:
    rng = np.random.default_rng(seed)
    total = np.zeros((90, 120, 3))
    for cells in (3, 6, 12, 24):
        field = Image.fromarray(rng.integers(0, 256, (cells, cells, 3), np.uint8))
        total += np.asarray(field.resize((120, 90), Image.Resampling.BICUBIC), np.float64) / cells
    return Image.fromarray((255 * (total - total.min()) / np.ptp(total)).astype(np.uint8))


@dataclass
class Bench:
    """A folder with eight images and their table, and the command run inside."""

    folder: Path

    def __call__(self, *args: str) -> Result:
        return CliRunner().invoke(audit, args)

    def write(self, name: str, columns: Mapping[str, Sequence[object]]) -> str:
        with (self.folder / name).open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(columns)
            writer.writerows(zip(*columns.values(), strict=True))
        return name

    def rows(self, path: str) -> list[dict[str, str]]:
        with (self.folder / path).open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.chdir(tmp_path)
    for index, name in enumerate(NAMES):
        one = picture(SAME.get(index, index))
        (one.resize((100, 75)) if index == 5 else one).save(name)
    bench = Bench(tmp_path)
    mos = [10, 20, 30, 40, 55, 65, 75, 95]
    bench.write("ratings.csv", {"image": NAMES, "mos": mos, "part": PARTS, "scene": SCENES, "told": NAMES})
    return bench


TABLE = ("ratings.csv", "--column-split", "part")


def test_leaks_are_counted_and_written(bench: Bench) -> None:
    result = bench(*TABLE, "--column-group", "scene", "--low", "0", "--high", "100", "--out", "audit")
    assert (result.exit_code, result.stderr) == (0, "")
    assert "ratings: train 4, test 4" in result.output
    assert "Images of part test that share something with an earlier part: 3." in result.output
    assert {path.name for path in Path("audit").iterdir()} == {
        "audit.md", "summary.csv", "findings.csv", "leave-out-test.csv"
    }  # fmt: skip
    found = [(row["kind"], row["image_a"], row["image_b"]) for row in bench.rows("audit/findings.csv")]
    assert found == [
        ("group", "2.png", "6.png"),
        ("duplicate", "0.png", "4.png"),
        ("near copy", "1.png", "5.png"),
    ]
    counts = {row["kind"]: row["findings"] for row in bench.rows("audit/summary.csv")}
    assert counts == {"group": "1", "duplicate": "1", "near copy": "1", "mirror image": "0", "any": "3"}


def test_the_list_is_one_that_evaluate_takes(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    bench(*TABLE, "--out", "audit")
    assert read_leave_out("audit/leave-out-test.csv") == ("4.png", "5.png")
    scores = bench.write("scores.csv", {"image": NAMES, "quality": np.linspace(1, 5, 8)})
    args = ["evaluate", *TABLE, "--low", "0", "--high", "100", "--scores", scores]
    # Of the test part only two images are clean, too few for figures: so all are evaluated.
    assert run([*args, "--part", "all", "--leave-out", "audit/leave-out-test.csv"]) == 0
    shown = capsys.readouterr().out
    clean = next(line.split() for line in shown.splitlines() if line.startswith("clean"))
    assert clean[1] == "6"


def test_the_scale_may_be_left_out_but_not_one_end(bench: Bench) -> None:
    assert bench(*TABLE).exit_code == 0
    result = bench(*TABLE, "--low", "0")
    assert result.exit_code == 2
    assert "both --low and --high" in result.output
    result = bench(*TABLE, "--low", "0", "--high", "50")
    assert isinstance(result.exception, FovealError)
    assert "outside 0 to 50" in str(result.exception)


def test_another_split(bench: Bench) -> None:
    write_split("split.json", Split({"train": NAMES[:1], "validation": NAMES[1:2], "test": NAMES[4:6]}))
    result = bench(*TABLE, "--split", "split.json", "--out", "audit")
    assert result.exit_code == 0
    assert "train 1, validation 1, test 2, (no part) 4" in result.output
    assert [(row["part_a"], row["image_b"]) for row in bench.rows("audit/findings.csv")] == [
        ("train", "4.png"), ("validation", "5.png")
    ]  # fmt: skip
    write_split("foreign.json", Split({"train": ["other.png"], "test": NAMES[:1]}))
    assert "not in the table" in str(bench(*TABLE, "--split", "foreign.json").exception)


def test_within(bench: Bench) -> None:
    result = bench("ratings.csv")
    assert isinstance(result.exception, FovealError)
    assert "nothing to compare" in str(result.exception)
    result = bench("ratings.csv", "--within", "--out", "audit")
    assert result.exit_code == 0
    assert [row["image_b"] for row in bench.rows("audit/findings.csv")] == ["4.png", "5.png"]
    assert not (bench.folder / "audit" / "leave-out-test.csv").exists()


def test_prompts_and_the_limit(bench: Bench) -> None:
    bench.write(
        "made.csv", {"image": NAMES, "mos": range(8), "part": PARTS, "prompt": ["a", "b", "c", "d"] * 2}
    )
    args = ("made.csv", "--column-split", "part", "--column-prompt", "prompt", "--correlation", "1")
    assert bench(*args, "--out", "audit").exit_code == 0
    kinds = [row["kind"] for row in bench.rows("audit/findings.csv")]
    assert kinds == ["prompt"] * 4 + ["duplicate"]


def test_the_cache_is_kept_and_changes_nothing(bench: Bench) -> None:
    first = bench(*TABLE, "--cache", "thumbnails")
    written = (bench.folder / "thumbnails").read_bytes()
    second = bench(*TABLE, "--cache", "thumbnails", "--threads", "1")
    assert (first.exit_code, second.exit_code) == (0, 0)
    assert second.output == first.output
    assert (bench.folder / "thumbnails").read_bytes() == written
    refused = bench(*TABLE, "--cache", "ratings.csv")
    assert "not a cache of thumbnails" in str(refused.exception)


def test_missing_images_may_be_left_out(bench: Bench) -> None:
    (bench.folder / "7.png").unlink()
    assert "7.png" in str(bench(*TABLE).exception)
    result = bench(*TABLE, "--drop-missing")
    assert result.exit_code == 0
    assert "train 4, test 3" in result.output


def test_nothing_is_overwritten(bench: Bench) -> None:
    (bench.folder / "audit").mkdir()
    (bench.folder / "audit" / "notes").touch()
    result = bench(*TABLE, "--out", "audit", "--cache", "thumbnails")
    assert "exists already" in str(result.exception)
    assert not (bench.folder / "thumbnails").exists()


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--dataset", "biq2021", "--column-split", "part"), "scale and columns of biq2021 are known"),
        (("--dataset", "biq2021", "--low", "0", "--high", "1"), "scale and columns of biq2021 are known"),
        (("--correlation", "0"), "not in the range"),
        (("--threads", "0"), "not in the range"),
    ],
)
def test_wrong_usage(bench: Bench, args: tuple[str, ...], message: str) -> None:
    result = bench("ratings.csv", *args)
    assert result.exit_code == 2
    assert message in " ".join(result.output.split())
