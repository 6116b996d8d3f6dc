"""Aspects where people look: on a terminal, in lines of a pipe, and in the list of models."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
from rich.console import Console

import foveal
from foveal.artifact import write_artifact
from foveal.cli.report import Report
from foveal.cli.run import run
from foveal.pipeline.rows import Row
from foveal.pipeline.summary import Summary
from prompt_models import make_artifact


@pytest.fixture
def model_path(tmp_path: Path) -> Path:
    path = tmp_path / "prompted.foveal.safetensors"
    write_artifact(path, make_artifact())
    return path


def test_lines_have_aspects_between_interval_and_path(
    model_path: Path, photo_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photo = str(photo_folder / "a.jpg")
    assert run(["score", photo, "--model", str(model_path), "--prompt", "red fox"]) == 0
    cells = capsys.readouterr().out.rstrip("\n").split("\t")
    expected = foveal.load(model_path)(photo, prompt="red fox")
    assert [float(cell) for cell in cells[:-1]] == [
        expected.quality,
        expected.interval.low,
        expected.interval.high,
        expected.aspects["authenticity"],
        expected.aspects["correspondence"],
    ]
    assert cells[-1] == photo
    assert run(["score", photo, "--model", str(model_path), "--no-prompt"]) == 0
    shown = capsys.readouterr()
    assert shown.out.rstrip("\n").split("\t")[4:] == ["", photo]
    assert "no correspondence for 1 of the images" in shown.err


def test_the_report_has_a_column_for_each_aspect() -> None:
    summary, file = Summary(), io.StringIO()
    report = Report(Console(file=file, width=120, color_system=None), summary, None, None)
    rows = [
        Row("a.jpg", 4.0, 3.5, 4.5, "m@1", aspects={"authenticity": 2.345, "correspondence": 1.5}),
        Row(
            "b.jpg",
            3.0,
            2.5,
            3.5,
            "m@1",
            ("no score for correspondence: that takes a prompt",),
            aspects={"authenticity": 2.0, "correspondence": None},
        ),
    ]
    for row in rows:
        summary.add(row)
        report.add(row, None)
    report.close()
    text = file.getvalue()
    assert re.search(r"interval +authenticity +correspondence +image +note", text)
    assert re.search(r"3\.50 - 4\.50 +2\.35 +1\.50 +a\.jpg", text)
    assert re.search(r"2\.50 - 3\.50 +2\.00 +b\.jpg +no score for correspondence", text)


def test_models_names_aspects(model_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["models", "--model", str(model_path)]) == 0
    assert re.search(r"aspects +authenticity, correspondence \(takes a prompt\)", capsys.readouterr().out)
