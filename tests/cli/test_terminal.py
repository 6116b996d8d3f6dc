"""``foveal score`` on a terminal: the report and the bar."""

from __future__ import annotations

import contextlib
import io
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from foveal.cli.report import Report
from foveal.pipeline.rows import Row
from foveal.pipeline.summary import Summary


def row(source: str, quality: float | None, *warnings: str) -> Row:
    low, high = (None, None) if quality is None else (quality - 0.5, quality + 0.5)
    return Row(source, quality, low, high, "m@1", warnings, None if quality is not None else "broken")


def shown(
    rows: list[Row], *, below: float | None = None, top: int | None = None, encoding: str = "utf-8"
) -> str:
    """What the report prints without colours."""
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding=encoding)
    summary = Summary()
    report = Report(Console(file=file, width=100, color_system=None), summary, below, top)
    for one in rows:
        summary.add(one)
        report.add(one, None)
    report.close()
    file.flush()
    return raw.getvalue().decode(encoding)


def names(text: str) -> list[str]:
    return re.findall(r"\S+\.jpg", text)


MANY = [row(f"{number:02d}.jpg", 1 + number / 6) for number in range(25)]


def test_worst_and_best() -> None:
    text = shown(MANY)
    worst, best = text.split("Best 5")
    assert "Worst 5" in worst
    assert names(worst) == ["00.jpg", "01.jpg", "02.jpg", "03.jpg", "04.jpg"]
    assert names(best) == ["24.jpg", "23.jpg", "22.jpg", "21.jpg", "20.jpg"]
    assert "25 scored, 0 failed" in text
    assert "mean 3.00, median 3.00, spread 1.20" in text


def test_few_images_are_all_shown_once_best_first() -> None:
    text = shown([row("bad.jpg", 1.2), row("good.jpg", 4.26), row("fair.jpg", 3.0)])
    assert names(text) == ["good.jpg", "fair.jpg", "bad.jpg"]
    assert re.search(r"4\.26\s+good\s+3\.76 - 4\.76\s+good\.jpg", text)
    assert re.search(r"1\.20\s+bad", text)


def test_one_image_needs_no_histogram() -> None:
    text = shown([row("only.jpg", 4.8, "much smaller than usual: 12 x 12")])
    assert "excellent" in text
    assert "much smaller than usual" in text
    assert "12 x 12" not in text
    assert "mean" not in text


def test_nothing_but_failures() -> None:
    text = shown([row(f"{number}.jpg", None) for number in range(14)])
    assert "failed 0.jpg: broken" in text
    assert "... and 4 more failed" in text
    assert "0 scored, 14 failed" in text


def test_below_shows_all_under_it_worst_first() -> None:
    mixed = [MANY[3], MANY[20], MANY[1], row("x.jpg", None), MANY[2]]
    text = shown(mixed, below=2.5)
    assert "3 below 2.5, worst first" in text
    assert names(text) == ["01.jpg", "02.jpg", "03.jpg", "x.jpg"]


def test_top_shows_the_best() -> None:
    assert names(shown(MANY, top=2)) == ["24.jpg", "23.jpg"]
    assert names(shown(MANY, top=2, below=3.0)) == ["11.jpg", "10.jpg"]


def test_histogram_bars_are_in_proportion_and_never_vanish() -> None:
    rows = [row(f"{n}.jpg", 3.2) for n in range(400)] + [row("one.jpg", 1.1), row("half.jpg", 4.9)] * 1
    text = shown(rows)
    bars = dict(re.findall(r"(\d\.\d - \d\.\d) (█*) +\d+", text))
    assert len(bars["3.0 - 3.5"]) == 40
    assert len(bars["1.0 - 1.5"]) == len(bars["4.5 - 5.0"]) == 1
    assert bars["2.0 - 2.5"] == ""


def test_a_terminal_that_knows_only_ascii_gets_ascii() -> None:
    text = shown(MANY, encoding="ascii")
    assert "####" in text


def test_names_cannot_drive_the_terminal_or_rich() -> None:
    text = shown([row("[red]a.jpg", 3.0), row("b\x1b[2J.jpg", 2.0), row("c\n.jpg", None)])
    assert "[red]a.jpg" in text
    assert "\x1b" not in text
    assert "b\\x1b[2J.jpg" in text
    assert "c\\n.jpg: broken" in text


def test_colour_only_adds_to_what_words_say() -> None:
    file = io.StringIO()
    summary = Summary()
    report = Report(Console(file=file, width=100, force_terminal=True), summary, None, None)
    for one in MANY:
        summary.add(one)
        report.add(one, None)
    report.close()
    without = re.sub(r"\x1b\[[\d;]*m", "", file.getvalue())
    assert without.split() == shown(MANY).split()


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
@pytest.mark.parametrize("colour", [True, False])
def test_on_a_real_terminal(tiny_model_path: Path, photo_folder: Path, colour: bool) -> None:
    import pty

    command = [sys.executable, "-m", "foveal", "score", str(photo_folder), "--model", str(tiny_model_path)]
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "120"}
    environment.pop("NO_COLOR", None)
    if not colour:
        environment["NO_COLOR"] = "1"
    ours, theirs = pty.openpty()
    received = b""
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment) as process:
        os.close(theirs)
        with contextlib.suppress(OSError):  # Linux ends a terminal with an error
            while piece := os.read(ours, 65536):
                received += piece
    os.close(ours)
    assert process.returncode == 1
    text = received.decode()
    assert "scoring" in text
    assert "5/5" in text
    assert "images/s" in text
    assert "Best first" in text
    assert "4 scored, 1 failed" in text
    assert "\N{FULL BLOCK}" in text
    assert "a.jpg" in text
    coloured = re.search(r"\x1b\[(1;)?3[1-7]m", text)
    assert (coloured is not None) == colour
