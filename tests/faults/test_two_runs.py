"""Two runs at once on one table: the second is refused, the first is not disturbed."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from foveal.assessment import Assessment, Interval
from foveal.errors import OutputError
from foveal.pipeline import files
from foveal.pipeline.files import OwnerFile, WriterLock, lock_output
from foveal.pipeline.sinks import open_sink

Foveal = Callable[..., "subprocess.CompletedProcess[str]"]
KINDS = ["csv", "jsonl", "parquet"]


@pytest.fixture
def without_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system that knows no advisory locks."""

    def none(file: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(files, "_lock", none)


def assessed(source: str) -> Assessment:
    return Assessment(3.0, Interval(2.0, 4.0, 0.9), "m@1", source)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_second_command_is_refused_and_the_first_one_ends_well(
    foveal_score: Foveal, many: Path, tmp_path: Path, tiny_model_path: Path, kind: str
) -> None:
    out = tmp_path / f"x.{kind}"
    command = [sys.executable, "-m", "foveal", "score", "-", "--model", str(tiny_model_path)]
    with subprocess.Popen(
        [*command, "--out", str(out)], stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as first:
        assert first.stdin is not None
        images = [str(path) for path in sorted(many.iterdir())[:6]]
        first.stdin.write("\n".join(images[:3]) + "\n")
        first.stdin.flush()
        growing = out.with_name(out.name + ".journal.jsonl") if kind == "parquet" else out
        until = time.monotonic() + 100
        while not growing.exists():
            assert time.monotonic() < until
            time.sleep(0.005)
        for options in (["--resume"], ["--overwrite"]):
            second = foveal_score(*images, "--out", out, *options)
            assert second.returncode == 2
            assert "another process is writing it" in second.stderr
            assert "Traceback" not in second.stderr
        _, errors = first.communicate("\n".join(images[3:]) + "\n")
    assert first.returncode == 0, errors
    assert [path.name for path in tmp_path.iterdir()] == [out.name]
    # All rows, each once.
    again = foveal_score(*images, "--out", out, "--resume", "--top", "9")
    assert sorted(line.split("\t")[3] for line in again.stdout.splitlines()) == images


@pytest.mark.parametrize("kind", KINDS)
def test_a_link_is_the_file_that_it_leads_to(tmp_path: Path, kind: str) -> None:
    out, link = tmp_path / f"x.{kind}", tmp_path / f"link.{kind}"
    link.symlink_to(out)
    with open_sink(out, model="m@1") as sink:
        sink.append(assessed("a.jpg"))
        with pytest.raises(OutputError, match="another process is writing it"):
            open_sink(link, model="m@1", resume=True)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.usefixtures("without_locks")
def test_without_advisory_locks_the_second_run_is_refused_too(tmp_path: Path, kind: str) -> None:
    out = tmp_path / f"x.{kind}"
    with open_sink(out, model="m@1") as sink:
        assert isinstance(sink._lock, OwnerFile)
        for options in ({}, {"resume": True}, {"overwrite": True}):
            with pytest.raises(OutputError, match="another process is writing it"):
                open_sink(out, model="m@1", **options)
        sink.append(assessed("a.jpg"))
    assert [path.name for path in tmp_path.iterdir()] == [out.name]
    with open_sink(out, model="m@1", resume=True) as sink:
        assert "a.jpg" in sink


@pytest.mark.usefixtures("without_locks")
def test_without_advisory_locks_the_owner_that_died_here_is_recognised(tmp_path: Path) -> None:
    out = tmp_path / "x.csv"
    script = (
        "import os; from pathlib import Path; from foveal.pipeline.files import OwnerFile\n"
        f"OwnerFile(Path({str(out)!r})); os._exit(9)"
    )
    subprocess.run([sys.executable, "-c", script], check=False)
    assert (tmp_path / "x.csv.owner").exists()
    lock_output(out).release()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("without_locks")
@pytest.mark.parametrize("owner", ['{"machine": "elsewhere", "process": 1}', "", "[]", "nonsense"])
def test_without_advisory_locks_an_owner_elsewhere_is_left_alone(tmp_path: Path, owner: str) -> None:
    out, left = tmp_path / "x.csv", tmp_path / "x.csv.owner"
    left.write_text(owner)
    with pytest.raises(OutputError, match=r"another machine is writing it, or has died; .* delete .*\.owner"):
        open_sink(out, model="m@1")
    assert left.read_text() == owner
    assert not out.exists()


@pytest.mark.usefixtures("without_locks")
def test_where_nothing_can_be_made_the_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot open for writing"):
        lock_output(tmp_path / "gone" / "x.csv")
    with pytest.raises(OutputError, match="cannot lock"):
        WriterLock(tmp_path / "x.csv")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(params=["deleted", "replaced"])
def meddle(request: pytest.FixtureRequest) -> Iterator[Callable[[Path], None]]:
    """Somebody who deletes or replaces files."""

    def meddle(path: Path) -> None:
        path.unlink()
        if request.param == "replaced":
            path.write_bytes(b"theirs")

    return meddle


@pytest.mark.skipif(os.name == "nt", reason="open files are not deleted there")
@pytest.mark.parametrize("kind", KINDS)
def test_a_table_that_somebody_deletes_is_no_success(
    tmp_path: Path, kind: str, meddle: Callable[[Path], None]
) -> None:
    out = tmp_path / f"x.{kind}"
    growing = out.with_name(out.name + ".journal.jsonl") if kind == "parquet" else out
    sink = open_sink(out, model="m@1")
    sink.append(assessed("a.jpg"))
    meddle(growing)
    with pytest.raises(OutputError, match="was deleted or replaced while it was being written"), sink:
        pass
    assert not out.with_name(out.name + ".lock").exists()
