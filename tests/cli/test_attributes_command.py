"""``foveal attributes``: what it prints and how it ends."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from foveal.attributes import ATTRIBUTES, measure
from foveal.cli.attributes import COLUMNS, NOTE, attributes
from foveal.imaging.decode import decode

GOOD = ["a.jpg", "b.png", "c.webp", "inner/d.jpg"]


def run(*arguments: str, given: bytes | None = None) -> Result:
    return CliRunner().invoke(attributes, arguments, input=given, catch_exceptions=False)


def test_a_table_for_each_image(photo_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(photo_folder.parent)
    shown = run("photos")
    assert shown.exit_code == 1
    titles = [line for line in shown.stdout.splitlines() if not line.startswith(" ")]
    assert titles == [*(f"photos/{name}" for name in GOOD), NOTE]
    readings = measure(decode("photos/a.jpg").pixels)
    table = shown.stdout.split("photos/b.png")[0].splitlines()[1:]
    assert [line.split()[0] for line in table] == list(ATTRIBUTES)
    for line, reading in zip(table, readings.values(), strict=True):
        assert reading.phrase in line
        assert f"{reading.value:.2f}" in line
        assert reading.place is None or line.endswith(reading.place)
    assert shown.stderr.startswith("foveal: photos/broken.jpg: ")
    assert shown.stderr.count("broken.jpg") == 1
    assert shown.stderr.count("\n") == 1


def test_json_lines_are_what_python_says(photo_folder: Path) -> None:
    shown = run("--json", str(photo_folder))
    assert shown.exit_code == 1
    assert shown.stderr == ""
    rows = {row["source"]: row for row in map(json.loads, shown.stdout.splitlines())}
    assert len(rows) == 5
    failed = rows.pop(str(photo_folder / "broken.jpg"))
    assert failed["attributes"] is None
    assert failed["error"]
    for source, row in rows.items():
        for name, reading in measure(decode(source).pixels).items():
            told = row["attributes"][name]
            assert (told["value"], told["phrase"], told["degree"], told["place"]) == (
                reading.value,
                reading.phrase,
                reading.degree,
                reading.place,
            )
            if reading.local is None:
                assert told["local"] is None
            else:
                np.testing.assert_array_equal(np.float32(told["local"]), reading.local)


def test_csv_has_a_row_for_each_attribute(photo_folder: Path) -> None:
    shown = run("--csv", str(photo_folder))
    assert shown.exit_code == 1
    rows = list(csv.DictReader(io.StringIO(shown.stdout)))
    assert tuple(rows[0]) == COLUMNS
    assert len(rows) == 4 * len(ATTRIBUTES) + 1
    (failed,) = [row for row in rows if row["error"]]
    assert failed["image"].endswith("broken.jpg")
    assert failed["attribute"] == ""
    source = str(photo_folder / "b.png")
    readings = measure(decode(source).pixels)
    found = {row["attribute"]: float(row["value"]) for row in rows if row["image"] == source}
    assert found == {name: reading.value for name, reading in readings.items()}


def test_good_images_end_with_0_and_a_file_named_twice_comes_once(photo_folder: Path) -> None:
    name = str(photo_folder / "a.jpg")
    shown = run(name, name)
    assert shown.exit_code == 0
    assert shown.stdout.count("a.jpg") == 1


def test_a_list_on_standard_input(photo_folder: Path) -> None:
    names = "".join(f"{photo_folder / name}\n" for name in GOOD[:2])
    shown = run("--json", "-", given=names.encode())
    assert [Path(json.loads(line)["source"]).name for line in shown.stdout.splitlines()] == ["a.jpg", "b.png"]


def test_keep_going_and_max_pixels(photo_folder: Path) -> None:
    name = str(photo_folder / "a.jpg")
    shown = run("--max-pixels", "100", "--keep-going", name)
    assert shown.exit_code == 0
    assert shown.stdout == ""
    assert "megapixels" in shown.stderr


def test_a_missing_file_is_a_row_with_its_error(tmp_path: Path) -> None:
    shown = run("--json", str(tmp_path / "no.jpg"))
    assert shown.exit_code == 1
    assert json.loads(shown.stdout)["error"]


def test_two_kinds_of_output_are_refused(photo_folder: Path) -> None:
    shown = run("--json", "--csv", str(photo_folder))
    assert shown.exit_code == 2
    assert "exclude each other" in shown.stderr
