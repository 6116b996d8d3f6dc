"""``foveal explain``: what it prints and writes, and how it ends."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from PIL import Image

from constructed_explainer import BRIGHT, DARK, constructed_explainer
from foveal.cli.explain import explain
from foveal.explanation.explainer import load_explainer
from foveal.explanation.file import write_explainer_file


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("explainer") / "constructed.foveal-explainer.safetensors"
    write_explainer_file(path, constructed_explainer())
    return str(path)


def run(model: str, *arguments: str) -> Result:
    # The command sets this for its own process: here it must not outlive the test.
    runner = CliRunner(env={"OPENBLAS_NUM_THREADS": "1"})
    return runner.invoke(explain, ["--model", model, *arguments], catch_exceptions=False)


def test_text_tells_all(model: str, photo_folder: Path) -> None:
    path = str(photo_folder / "a.jpg")
    shown = run(model, path)
    assert shown.exit_code == 0
    told = " ".join(shown.stdout.split())
    explanation = load_explainer(model)(path)
    assert shown.stdout.startswith(path[:40])
    assert f"score {explanation.quality:.2f}" in told
    assert f"{explanation.interval.low:.2f} to {explanation.interval.high:.2f} in 90 % of cases" in told
    assert f"verdict {explanation.verdict.quality:.2f} {explanation.verdict.level}" in told
    assert explanation.description in (BRIGHT, DARK)
    assert explanation.description in told
    assert explanation.down is not None or explanation.up is not None
    assert "the verdict most:" in told
    assert "Local quality: weakest" in told
    for disagreement in explanation.disagreements:
        assert disagreement.text in told
    assert "\x1b" not in shown.stdout


def test_json_lines_are_what_python_says(model: str, photo_folder: Path) -> None:
    for name in ("b.png", "c.webp"):
        (photo_folder / name).unlink()
    shown = run(model, "--json", str(photo_folder))
    assert shown.exit_code == 1
    assert shown.stderr == ""
    rows = {row["source"]: row for row in map(json.loads, shown.stdout.splitlines())}
    failed = rows.pop(str(photo_folder / "broken.jpg"))
    assert failed["quality"] is None
    assert failed["error"]
    assert set(rows) == {str(photo_folder / name) for name in ("a.jpg", "inner/d.jpg")}
    explainer = load_explainer(model)
    for source, row in rows.items():
        assert row == json.loads(json.dumps(explainer(source).to_dict()))


def test_a_broken_image_is_named_and_stops_nothing(model: str, photo_folder: Path, tmp_path: Path) -> None:
    page = tmp_path / "why.html"
    paths = [str(photo_folder / name) for name in ("broken.jpg", "a.jpg", "b.png")]
    shown = run(model, *paths, "--html", str(page), "--keep-going")
    assert shown.exit_code == 0
    assert shown.stderr.startswith(f"foveal: {paths[0]}: ")
    html = page.read_text(encoding="utf-8")
    assert "2 images explained" in html
    assert paths[1] in html
    assert html.index("Not explained") < html.index(f"<li>{paths[0]}: ")


def test_the_map_is_a_picture(model: str, photo_folder: Path, tmp_path: Path) -> None:
    target = tmp_path / "map.png"
    assert run(model, str(photo_folder / "a.jpg"), "--map", str(target)).exit_code == 0
    with Image.open(target) as picture:
        assert picture.format == "PNG"
        assert picture.width >= 320


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--map", "map.jpg", "a.jpg"], "--map writes PNG: map.jpg should end in .png"),
        (["--map", "map.png", "a.jpg", "b.png"], "--map is of one image, these are 2"),
        ([], "Missing argument 'IMAGES...'"),
    ],
)
def test_wrong_usage_says_what_is_wrong(
    model: str, arguments: list[str], message: str, photo_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(photo_folder)
    shown = run(model, *arguments)
    assert shown.exit_code == 2
    assert message in shown.stderr


def test_no_page_without_an_image(model: str, photo_folder: Path, tmp_path: Path) -> None:
    shown = run(model, str(photo_folder / "broken.jpg"), "--html", str(tmp_path / "why.html"))
    assert shown.exit_code == 1
    assert "no image could be explained, so there is no page" in shown.stderr
    assert not (tmp_path / "why.html").exists()


def test_a_page_that_cannot_be_written_is_refused_before_any_work(
    model: str, photo_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from foveal.errors import OutputError

    def load(*_: object, **__: object) -> None:
        pytest.fail("too late")

    monkeypatch.setattr("foveal.explanation.explainer.load_explainer", load)
    refused = {tmp_path / "none" / "why.html": "there is no folder", tmp_path / "a.png": "ends in .html"}
    for target, message in refused.items():
        with pytest.raises(OutputError, match=message):
            run(model, str(photo_folder / "a.jpg"), "--html", str(target))


WITHOUT = ("torch", "transformers", "tokenizers", "onnx", "onnxruntime", "scipy", "foveal.lab")
ALONE = f"""\
import sys
sys.modules |= dict.fromkeys({WITHOUT})
from foveal.cli.explain import explain
assert not {{"numpy", "openvino", "PIL", "rich"}} & set(sys.modules), "imported before they are needed"
explain.main(sys.argv[1:], standalone_mode=False)
"""


def test_nothing_of_the_lab_is_needed(model: str, photo_folder: Path) -> None:
    command = [sys.executable, "-c", ALONE, "--json", "--model", model, str(photo_folder / "a.jpg")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["description"] in (BRIGHT, DARK)
