"""``foveal report``: the page of ``foveal score --report``, from scores that are there already."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from foveal.artifact import write_artifact
from foveal.cli.run import run
from foveal.pipeline.manifest import MANIFEST, Entry, Run, manifest
from foveal.pipeline.parquet import read_parquet
from foveal.pipeline.part_files import Part, encode_part, part_name
from prompt_models import make_artifact
from report_pages import Page

KINDS = ["csv", "jsonl", "parquet"]
Report = Callable[..., int]


@pytest.fixture
def report(
    tiny_model_path: Path,
    photo_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Report:
    """Run ``foveal report --model tiny`` beside ``scores.*`` and ``expected.html`` of ``foveal score``."""
    monkeypatch.chdir(photo_folder.parent)
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")
    model, plain = ["--model", str(tiny_model_path)], ["--report-details", "0"]
    for kind in KINDS:
        out = ["--out", f"scores.{kind}"]
        assert run(["score", *model, "photos", *out, "--report", "expected.html", *plain]) == 1
    capsys.readouterr()
    return lambda *args: run(["report", *model, *plain, *args])


def write_partitions(folder: str, *, ended: bool) -> None:
    """What a run on a cluster leaves, three images a partition."""
    rows = list(read_parquet(Path("scores.parquet")))
    of = Run("0", "tiny@0.0.1", "f", 3, 1)
    entries = []
    Path(folder).mkdir()
    # In the order of the input their names are not sorted.
    for number, start in zip("ba", (0, 3), strict=True):
        content = encode_part(Part(number * 32, of.to_json(), tuple(rows[start : start + 3])))
        (Path(folder) / part_name(number * 32)).write_bytes(content)
        entries.append(Entry(part_name(number * 32), 3, 0, len(content), ""))
    if ended:
        (Path(folder) / MANIFEST).write_bytes(manifest(of, entries))


@pytest.mark.parametrize("kind", KINDS)
def test_a_table_gives_the_page_that_scoring_gave(report: Report, kind: str) -> None:
    assert report(f"scores.{kind}", "page.html") == 0
    assert Path("page.html").read_bytes() == Path("expected.html").read_bytes()


@pytest.mark.parametrize("address", ["out", "file://{}/out"])
def test_so_does_a_run_on_a_cluster(report: Report, address: str) -> None:
    write_partitions("out", ended=True)
    assert report(address.format(Path.cwd()), "page.html") == 0
    assert Path("page.html").read_bytes() == Path("expected.html").read_bytes()


def test_a_run_that_has_not_ended_gives_what_there_is(report: Report) -> None:
    write_partitions("out", ended=False)
    assert report("out", "page.html") == 0
    read = Page(Path("page.html").read_text(encoding="utf-8"))
    assert sorted(read.data["names"]) == ["a.jpg", "b.png", "broken.jpg", "c.webp", "inner/d.jpg"]
    Path("out", part_name("a" * 32)).unlink()
    assert report("out", "page.html") == 0
    assert "2 scored, 1 failed" in Page(Path("page.html").read_text(encoding="utf-8")).words


def test_a_row_that_was_cut_is_passed_over(report: Report) -> None:
    for kind in ("csv", "jsonl"):
        whole = Path(f"scores.{kind}").read_bytes()
        Path(f"scores.{kind}").write_bytes(whole[:-9])
        assert report(f"scores.{kind}", "page.html") == 0
        assert len(Page(Path("page.html").read_text(encoding="utf-8")).data["names"]) == 4


def refused(capsys: pytest.CaptureFixture[str]) -> str:
    (line,) = capsys.readouterr().err.splitlines()
    assert not Path("page.html").exists()
    return line


@pytest.mark.parametrize("name", [*(f"scores.{kind}" for kind in KINDS), "out"])
def test_scores_of_another_model_are_refused(
    report: Report, name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_partitions("out", ended=True)
    other = tmp_path / "other.foveal.safetensors"
    write_artifact(other, make_artifact())
    assert run(["report", "--model", str(other), name, "page.html"]) == 2
    assert "name the model that wrote it with --model" in refused(capsys)
    assert report("--model", "foveal-compact", name, "page.html") == 2
    assert f"foveal: {name}: written by tiny@0.0.1, not by foveal-compact@" in refused(capsys)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("gone.csv", None, "gone.csv: cannot be read (No such file or directory)"),
        ("x.csv", b"image,score\na.jpg,3\n", "x.csv: no results of foveal score, or damaged"),
        ("x.csv", b"", "x.csv: no results of foveal score, or damaged"),
        ("x.jsonl", b'{"a": 1}\n', "x.jsonl: no results of foveal score, or damaged"),
        ("x.jsonl", b"", "x.jsonl: holds no rows yet"),
        ("x.parquet", b"PAR1", "x.parquet: no results of foveal score, or damaged"),
        ("photos", None, "photos: no results of foveal score, or damaged (there are no partitions)"),
    ],
)
def test_what_holds_no_scores_is_named(
    report: Report, name: str, content: bytes | None, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if content is not None:
        Path(name).write_bytes(content)
    assert report(name, "page.html") == 2
    assert said in refused(capsys)


def test_a_damaged_partition_is_named(report: Report, capsys: pytest.CaptureFixture[str]) -> None:
    write_partitions("out", ended=True)
    part = Path("out", part_name("a" * 32))
    part.write_bytes(part.read_bytes()[:-9])
    assert report("out", "page.html") == 2
    assert part.name in refused(capsys)
    part.unlink()
    assert report("out", "page.html") == 2
    assert part.name in refused(capsys)
    Path("out", MANIFEST).write_bytes(b"{}")
    assert report("out", "page.html") == 2
    assert f"{MANIFEST} is damaged" in refused(capsys)
