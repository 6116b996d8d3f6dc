"""The whole diagnosis: figures, files, page, command, on tiny random models."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image
from planted import TOY, ToldOneStage, ToldTwoStage, pictures_of, tell, tiny_llava

from foveal.cli.run import run
from foveal.errors import BackboneError, OutputError, RatingsError
from foveal.evaluation.significance import Estimate
from foveal.lab.reasoning.diagnosis.collect import agreement
from foveal.lab.reasoning.diagnosis.diagnose import DiagnoseConfig, Diagnosis, diagnose
from foveal.lab.reasoning.diagnosis.examples import contested_image, restless_image, strongest_edit
from foveal.lab.reasoning.diagnosis.exhibits import plots
from foveal.lab.reasoning.diagnosis.files import write_diagnosis
from foveal.lab.reasoning.diagnosis.intervals import compare_means
from foveal.lab.reasoning.diagnosis.load import load_reasoners
from foveal.lab.reasoning.diagnosis.page import to_html
from foveal.lab.reasoning.diagnosis.parser import own_parser
from foveal.lab.reasoning.diagnosis.pictures import looked_at
from foveal.lab.reasoning.diagnosis.plots import DotRow, dots, grid
from foveal.lab.reasoning.diagnosis.summary import Measure, measures, sentences, summary_table
from foveal.lab.reasoning.diagnosis.tables import tables
from foveal.lab.reasoning.levels import Q_INSTRUCT
from foveal.lab.reasoning.question import StoredFeatures
from foveal.lab.reasoning.reasoner import OneStage, TwoStage, closed_set_scores
from foveal.lab.reasoning.vision_language import VisionLanguageModel
from foveal.ratings.sources import read_ratings
from foveal.ratings.splits import Split, write_split
from foveal.ratings.table import DatasetCard, Ratings

COUNT = 7


@pytest.fixture(scope="module")
def rated(tmp_path_factory: pytest.TempPathFactory) -> Ratings:
    folder = tmp_path_factory.mktemp("rated & <odd>")
    paths = [folder / f"{number} <&>.png" for number in range(COUNT)]
    for path, pixels in zip(paths, pictures_of(COUNT), strict=True):
        Image.fromarray(pixels).save(path)
    scores = np.linspace(0, 10, COUNT)
    scores[3] = np.nan
    return Ratings(
        card=DatasetCard("a <set>", 0, 10),
        images=tuple(paths),
        scores={"quality": scores, "other": np.full(COUNT, 5.0)},
    )


@pytest.fixture(scope="module")
def found(rated: Ratings) -> Diagnosis:
    model = tiny_llava(3)
    reasoners = (ToldOneStage(model), ToldTwoStage(model, model))
    return diagnose(reasoners, rated, DiagnoseConfig(samples=3, batch=4), model="a <model>", parser=TOY)


def test_everything_is_measured_on_rated_images_alone(found: Diagnosis, rated: Ratings) -> None:
    assert found.names == tuple(name for place, name in enumerate(rated.names) if place != 3)
    one, two = found.reasoners
    assert (one.sees, two.sees) == (True, False)
    assert [len(one.answers), len(one.answers[0]), len(one.greedy)] == [6, 3, 6]
    assert one.lens.closed.shape == (6, 3, 5)
    assert one.attention.shares.shape == (6, 3, 3)
    assert two.attention.tokens[:, 0].max() == 0
    assert two.image_only is None
    assert one.image_only is not None
    assert len(one.image_only) == 6
    assert {change.image for change in two.changes} == set(range(6))
    assert found.compared is not None
    difference = found.compared["differing"].difference.value
    assert difference == pytest.approx(two.stability.differing.value - one.stability.differing.value)


def test_kinds_of_attributes_are_told_apart(rated: Ratings) -> None:
    model = tiny_llava(3)
    kinds = {"sharpness": "one", "noise": "one", "contrast": "two", "warmth": "two"}
    parser = replace(TOY, kinds=kinds)
    config = DiagnoseConfig(samples=2, batch=4)
    found = diagnose([ToldOneStage(model), ToldTwoStage(model, model)], rated, config, parser=parser)
    two = found.reasoners[1]
    assert [effect.attribute for effect in two.kinds] == ["one", "two"]
    assert sum(effect.edits for effect in two.kinds) == two.effects[0].edits
    assert set(two.grounding.r2_by_kind) == {"one", "two"}
    labels = [measure.label for measure in measures(found)]
    assert {"... by one alone", "... by two alone", "... edits of one", "... edits of two"} <= set(labels)
    json.dumps(found.to_dict(), allow_nan=False)


def test_figures_are_those_of_the_parts(found: Diagnosis) -> None:
    one = found.reasoners[0]
    pixels = pictures_of(COUNT)
    kept = [pixels[place] for place in range(COUNT) if place != 3]
    scores = closed_set_scores(
        ToldOneStage(tiny_llava(3)), kept, [answer.description for answer in one.greedy]
    )
    own = found.levels.quality(np.array([answer.probabilities for answer in one.greedy]))
    assert own == pytest.approx(scores, abs=1e-5)
    assert one.agreement["srcc"].value == agreement(own, found.mos)["srcc"].value
    # The lens's last layer is the verdict itself.
    assert one.lens.closed[:, -1] == pytest.approx(
        np.array([answer.probabilities for answer in one.greedy]), abs=1e-5
    )
    told = np.array([[found.levels.words.index(answer.verdict) for answer in row] for row in one.answers])
    assert one.stability.differing.value == np.mean([len(set(row)) > 1 for row in told])


def test_images_that_cannot_be_read_are_left_out_and_named(rated: Ratings, tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    images = (rated.images[0], broken, *rated.images[1:])
    scores = {name: np.insert(column, 1, 5.0) for name, column in rated.scores.items()}
    more = Ratings(card=rated.card, images=images, scores=scores)
    model = tiny_llava(3)
    found = diagnose([ToldTwoStage(model, model)], more, DiagnoseConfig(samples=2, batch=1), parser=TOY)
    assert list(found.unreadable) == [name for name in more.names if "broken" in name]
    assert len(found.names) == len(found.mos) == len(found.reasoners[0].greedy) == COUNT - 1
    assert np.isfinite(found.mos).all()
    assert found.to_dict()["unreadable"].keys() == found.unreadable.keys()


def rounded(figures: dict[str, Any]) -> str:
    """JSON with six digits: sums of float32 differ beyond them with the number of threads."""
    return json.dumps(
        json.loads(json.dumps(figures), parse_float=lambda text: f"{float(text):.6g}"), sort_keys=True
    )


def test_the_same_seed_gives_the_same(found: Diagnosis, rated: Ratings) -> None:
    model = tiny_llava(3)
    again = diagnose([ToldTwoStage(model, model)], rated, DiagnoseConfig(samples=3, batch=4), parser=TOY)
    assert rounded(again.reasoners[0].to_dict()) == rounded(found.reasoners[1].to_dict())
    other = diagnose(
        [ToldTwoStage(model, model)], rated, DiagnoseConfig(samples=3, batch=4, seed=1), parser=TOY
    )
    assert other.reasoners[0].answers[0][0].description != again.reasoners[0].answers[0][0].description
    assert again.compared is None


def test_batches_draw_anew(found: Diagnosis) -> None:
    first, second = (found.reasoners[0].answers[place][0].description for place in (0, 4))
    assert first != second


def test_fewer_images_are_drawn(rated: Ratings) -> None:
    model = tiny_llava(2)
    reasoner = ToldTwoStage(model, model)
    told: list[tuple[str, int, int]] = []
    config = DiagnoseConfig(samples=2, batch=2)
    small = diagnose(
        [reasoner], rated, config, images=4, parser=TOY, tell=lambda *progress: told.append(progress)
    )
    assert len(small.names) == 4
    assert told == [("asking", 2, 4), ("asking", 4, 4)]
    order = [rated.names.index(name) for name in small.names]
    assert order == sorted(order)
    with pytest.raises(RatingsError, match="at least 2 are needed"):
        diagnose([reasoner], rated.take([0, 3]), config, parser=TOY)


def test_reasoners_that_cannot_be_compared(rated: Ratings) -> None:
    model = tiny_llava(2)
    with pytest.raises(ValueError, match="one reasoner, or two of different names"):
        diagnose([OneStage(model), OneStage(model)], rated, parser=TOY)
    with pytest.raises(ValueError, match="same levels"):
        diagnose([OneStage(model), TwoStage(model, model, Q_INSTRUCT)], rated, parser=TOY)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"samples": 1}, "at least two answers"),
        ({"temperature": 0}, "all be the same"),
        ({"batch": 0}, "at least 1"),
    ],
)
def test_settings_that_make_no_sense(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DiagnoseConfig(**wrong)


def test_the_page_needs_nothing_else_and_escapes_names(found: Diagnosis) -> None:
    page = to_html(found)
    assert "How a &lt;model&gt; reasons" in page
    assert "<model>" not in page
    assert "<&>" not in page
    assert "a &lt;set&gt;" in page
    assert re.findall(r'(?:src|href)="(?!#|data:image/jpeg;base64,)', page) == []
    assert "url(" not in page
    for name in ("one-stage", "two-stage"):
        assert name in page
    identifiers = re.findall(r'\bid="([^"]+)"', page)
    assert len(identifiers) == len(set(identifiers))
    assert "nan" not in re.sub(r"base64,[^\"]*", "", page)


def test_every_plot_is_svg_that_speaks(found: Diagnosis) -> None:
    drawn = plots(found)
    assert {"stability", "grounding", "information", "counterfactual", "agreement"} <= set(drawn)
    assert {"lens-one-stage", "lens-two-stage", "attention-one-stage", "attention-two-stage"} <= set(drawn)
    assert "attention-map-one-stage" in drawn
    assert "attention-map-two-stage" not in drawn
    for svg in drawn.values():
        root = ElementTree.fromstring(svg)  # noqa: S314 - our own text
        space = "{http://www.w3.org/2000/svg}"
        assert root.tag == f"{space}svg"
        assert root.find(f"{space}title").text
        assert root.find(f"{space}desc").text
        assert "nan" not in svg


def test_one_reasoner_alone(found: Diagnosis) -> None:
    alone = replace(found, reasoners=found.reasoners[1:], compared=None)
    page = to_html(alone)
    assert "one-stage:" not in page
    assert all(measure.best is None for measure in measures(alone))
    assert alone.to_dict()["compared"] is None


def test_descriptions_that_the_parser_does_not_know(found: Diagnosis) -> None:
    silent = replace(found, reasoners=tuple(replace(one, changes=[], effects=()) for one in found.reasoners))
    page = to_html(silent)
    assert "Nothing could be edited" in page
    assert "counterfactual" not in plots(silent)
    assert strongest_edit(silent.reasoners[0], 0) is None


def test_the_summary_says_what_was_measured(found: Diagnosis) -> None:
    table = summary_table(found)
    assert table.headings == ("measure", "one-stage", "two-stage")
    differing = found.reasoners[0].stability.differing.value
    assert table.rows[0][1] == f"{100 * differing:.1f} %"
    assert "Asked 3 times" in next(sentences(found))


def test_a_tick_needs_more_than_chance() -> None:
    def about(value: float) -> Estimate:
        return Estimate(value, value - 0.1, value + 0.1, 0.95)

    far, near = (about(0.2), about(0.6)), (about(0.4), about(0.5))
    assert Measure("m", far, higher=True).best == 1
    assert Measure("m", far, higher=False).best == 0
    assert Measure("m", far, higher=None).best is None
    assert Measure("m", near, higher=True).best is None
    # On the same images a small difference may be clear, and a large one not.
    clear = compare_means(np.linspace(0, 1, 50), np.linspace(0, 1, 50) + 0.1)
    assert Measure("m", near, higher=True, paired=clear).best == 1
    assert Measure("m", far, higher=True, paired=compare_means([0, 1, 0, 1], [1, 0, 1, 0])).best is None
    undefined = Estimate(float("nan"), float("nan"), float("nan"), 0.95)
    assert Measure("m", (far[0], undefined), higher=True).best is None


def test_examples_are_the_most_telling(found: Diagnosis) -> None:
    one = found.reasoners[0]
    image = restless_image(found)
    assert one.stability.by_image["disagreement"][image] == one.stability.by_image["disagreement"].max()
    contested = contested_image(found)
    flips = one.stability.by_image["late_flips"]
    if flips.any():
        output = one.lens.levels[:, -1]
        late = one.lens.closed[:, :-1].copy()
        late[np.arange(len(late)), :, output] = 0
        assert late[contested].max() == late.max()
    edit = strongest_edit(one, image)
    assert edit is not None
    assert abs(edit.effect) == max(abs(change.effect) for change in one.changes if change.image == image)


def test_files(found: Diagnosis, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    written = write_diagnosis(tmp_path / "new" / "diagnosis", found)
    folder = tmp_path / "new" / "diagnosis"
    assert sorted(written) == sorted(path.name for path in folder.iterdir())
    assert {"report.html", "diagnosis.json", "answers.parquet", "stability.svg"} <= set(written)
    figures = json.loads((folder / "diagnosis.json").read_text(encoding="utf-8"))
    assert figures["images"] == 6
    assert figures["compared"]["second"] == "two-stage"
    answers = parquet.read_table(folder / "answers.parquet").to_pylist()
    assert len(answers) == 2 * 6 * 4
    assert sum(answers[5][f"p_{word}"] for word in found.levels.words) == pytest.approx(1)
    lens = parquet.read_table(folder / "lens.parquet")
    assert lens.num_rows == 2 * 6 * 3
    shares = parquet.read_table(folder / "attention.parquet").to_pylist()
    assert all(row["on_image"] + row["on_description"] + row["on_rest"] > 0.999 for row in shares)
    with pytest.raises(OutputError, match="not empty"):
        write_diagnosis(folder, found)


def test_tables_are_csv_without_pyarrow(
    found: Diagnosis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from foveal.errors import MissingExtraError
    from foveal.lab.reasoning.diagnosis import files

    def refuse() -> None:
        raise MissingExtraError("Parquet output", "parquet")

    monkeypatch.setattr(files, "require_pyarrow", refuse)
    written = write_diagnosis(tmp_path / "diagnosis", found)
    assert "answers.csv" in written
    lines = (tmp_path / "diagnosis" / "counterfactuals.csv").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 1 + len(tables(found)["counterfactuals"].rows)


def test_the_small_tower_looks_once() -> None:
    model = tiny_llava(2)
    pixels = pictures_of(2)
    kept = looked_at(OneStage(model), pixels)
    assert all(isinstance(picture, StoredFeatures) for picture in kept)
    scores = [closed_set_scores(OneStage(model), pictures, ["noise 1;"] * 2) for pictures in (pixels, kept)]
    assert scores[0] == pytest.approx(scores[1], abs=1e-5)


def test_other_models_get_the_pixels(vlm: Callable[[str], Any]) -> None:
    pixels = pictures_of(2)
    assert all(
        one is two for one, two in zip(looked_at(OneStage(vlm("smolvlm")), pixels), pixels, strict=True)
    )


def test_our_own_descriptions_are_read_and_edited() -> None:
    from foveal.explanation.words import write

    parser = own_parser()
    text = write({"sharpness": 1, "noise": 4})
    degrees = dict(zip(parser.attributes, parser.degrees([text])[0], strict=True))
    assert (degrees["sharpness"], degrees["noise"]) == (1, 4)
    assert parser.tones([text]).tolist() == [-2]
    better = parser.edited(text, "noise", 0)
    assert parser.tones([better]).tolist() == [0]


def test_plots_of_figures_that_are_undefined() -> None:
    none = Estimate(float("nan"), float("nan"), float("nan"), 0.95)
    svg = dots([DotRow("a < b", (none,))], ["one"], title="t", axis="a", name="n")
    assert "undefined" in svg
    assert "a &lt; b" in svg
    assert "nan" not in svg
    assert grid(np.zeros((2, 2)), title="t", name="n").count("<rect") == 4


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, model = tmp_path_factory.mktemp("model") / "small", tiny_llava(2)
    model.model.save_pretrained(folder)
    model.processor.save_pretrained(folder)
    return folder


def test_a_model_is_asked_both_ways(saved: Path) -> None:
    one, two = load_reasoners(saved, Q_INSTRUCT, batch=3)
    assert isinstance(one, OneStage)
    assert isinstance(two, TwoStage)
    assert two.describer is two.judge is one.model
    assert one.levels is Q_INSTRUCT
    assert two.batch == 3


@pytest.mark.parametrize(
    ("parts", "kinds"),
    [
        (("one-stage", "describe", "judge"), ["one-stage", "two-stage"]),
        (("two-stage",), ["two-stage"]),
        (("one-stage",), ["one-stage"]),
    ],
)
def test_runs(saved: Path, tmp_path: Path, parts: tuple[str, ...], kinds: list[str]) -> None:
    for part in parts:
        (tmp_path / part).symlink_to(saved, target_is_directory=True)
    assert [reasoner.name for reasoner in load_reasoners(tmp_path)] == kinds


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ((), "neither a model"),
        (("describe",), "there is describe/ but no judge/"),
        (("judge", "one-stage"), "there is judge/ but no describe/"),
    ],
)
def test_folders_that_are_no_run(saved: Path, tmp_path: Path, parts: tuple[str, ...], message: str) -> None:
    for part in parts:
        (tmp_path / part).symlink_to(saved, target_is_directory=True)
    with pytest.raises(BackboneError, match=message):
        load_reasoners(tmp_path)
    with pytest.raises(BackboneError, match="no folder lies there"):
        load_reasoners(tmp_path / "missing")


def test_models_may_be_named_as_on_the_hub(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    def load(name: object, **_: Any) -> VisionLanguageModel:
        asked.append(name)
        return tiny_llava(3)

    monkeypatch.setattr(VisionLanguageModel, "load", load)
    assert [one.name for one in load_reasoners("owner/model")] == ["one-stage", "two-stage"]
    assert asked == ["owner/model"]


def _write_ratings(folder: Path, rated: Ratings) -> Path:
    rows = [f"{path},{number % 5 + 1}" for number, path in enumerate(rated.images)]
    table = folder / "ratings.csv"
    table.write_text("\n".join(["image,mos", *rows]) + "\n", encoding="utf-8")
    return table


def test_the_command(
    saved: Path,
    rated: Ratings,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = VisionLanguageModel.go_on

    def briefly(self: VisionLanguageModel, *asked: Any, **how: Any) -> list[list[str]]:
        return whole(self, *asked, **{**how, "most_tokens": 8})  # a random model does not come to an end

    monkeypatch.setattr(VisionLanguageModel, "go_on", briefly)
    table = _write_ratings(tmp_path, rated)
    command = ["diagnose", str(saved), str(table), "--low", "1", "--high", "5"]
    out = tmp_path / "out"
    few = ["--limit", "3", "--samples", "2", "--batch", "2", "--levels", "q-instruct"]
    assert run([*command, "--out", str(out), *few]) == 0
    said = capsys.readouterr().out
    assert "SRCC with people" in said
    assert "report.html" in said
    figures = json.loads((out / "diagnosis.json").read_text(encoding="utf-8"))
    assert figures["images"] == 3
    assert list(figures["levels"]) == ["good", "average", "poor"]
    assert figures["config"]["samples"] == 2
    assert run([*command, "--out", str(out)]) == 2
    assert "exists already" in capsys.readouterr().err


def test_the_command_asks_about_the_part_of_a_split(
    saved: Path, rated: Ratings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def stop(model: str, chosen: Ratings, *_: Any, **__: Any) -> None:
        asked.extend(chosen.names)
        raise OutputError("far enough")

    monkeypatch.setattr("foveal.cli.diagnose._diagnose", stop)
    table = _write_ratings(tmp_path, rated)
    names = read_ratings(table, card=DatasetCard("a", 1, 5)).names
    split = tmp_path / "split.json"
    write_split(split, Split({"validation": names[:4]}))
    (tmp_path / "near.txt").write_text(names[1], encoding="utf-8")
    command = ["diagnose", str(saved), str(table), "--low", "1", "--high", "5", "--out", str(tmp_path / "o")]
    more = ["--split", str(split), "--part", "validation", "--leave-out", str(tmp_path / "near.txt")]
    assert run([*command, *more]) == 2
    assert asked == [names[0], *names[2:4]]


def test_the_command_refuses_in_a_line(
    rated: Ratings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = _write_ratings(tmp_path, rated)
    out = ["--out", str(tmp_path / "out")]
    assert run(["diagnose", str(tmp_path), str(table), "--low", "1", "--high", "5", *out]) == 2
    assert "neither a model (config.json) nor a run" in capsys.readouterr().err
    assert run(["diagnose", str(tmp_path), str(table), *out]) == 2
    assert "state what the ratings mean" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_toy_descriptions_say_what_they_should() -> None:
    assert [one.polarity for one in TOY.statements(tell(sharpness=4, noise=3, warmth=4))] == [1, -1, 0]
