"""The report: one content as Markdown, page and table, for machines, screen readers and dark rooms."""

from __future__ import annotations

import base64
import csv
import io
import re
from collections.abc import Callable, Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from foveal.evaluation.benchmark.config import benchmark_from
from foveal.evaluation.benchmark.document import Document, Exhibit, Link, Plot, Section
from foveal.evaluation.benchmark.entrants import Judge, Progress, Ready, Trainable
from foveal.evaluation.benchmark.markdown import to_markdown
from foveal.evaluation.benchmark.outcome import Outcome
from foveal.evaluation.benchmark.page import to_html
from foveal.evaluation.benchmark.plots import Dot, dot_plot
from foveal.evaluation.benchmark.prepared import prepare
from foveal.evaluation.benchmark.rated_sets import RatedSet
from foveal.evaluation.benchmark.run import run
from foveal.evaluation.benchmark.summary import summary
from foveal.evaluation.tables import Table
from foveal.ratings.table import Ratings

SVG = "{http://www.w3.org/2000/svg}"


class Scorer(Ready):
    """Knows each image's rating but for noise, or says the same of all."""

    def __init__(self, noise: float | None, truth: Mapping[str, float]) -> None:
        self.noise = noise
        self.truth = truth
        self.training_data = "<b>one</b> & more" if noise == 40 else ""

    def identity(self, rated: RatedSet) -> Mapping[str, object] | None:
        return None if rated.name == "two" and self.noise == 40 else {"noise": self.noise}

    def judge(self, rated: RatedSet) -> Judge:
        def judge(images: Ratings, progress: Progress) -> NDArray[np.float64]:
            if self.noise is None:
                return np.ones(len(images))
            noise = [
                np.random.default_rng(len(self.truth) + int(path.stem)).normal() for path in images.images
            ]
            return np.array([self.truth[str(path)] for path in images.images]) + self.noise * np.array(noise)

        return judge


class Trainer(Trainable):
    def __init__(self, truth: Mapping[str, float]) -> None:
        self.scorer = Scorer(15, truth)

    def identity(self) -> Mapping[str, object]:
        return {}

    def train(self, learnt: Ratings, folder: Path, progress: Progress) -> Judge:
        judge: Any = self.scorer.judge
        return judge(None)  # type: ignore[no-any-return]


@pytest.fixture
def reported(make_set: Callable[..., Any], tmp_path: Path) -> tuple[Outcome, Path]:
    """A benchmark with all kinds of lines: marked, constant, trained, refused, clean."""
    one, two = make_set("one", 30), make_set("two", 36, seed=1, copies={4: 0})
    truth = {str(m.folder / name): mos for m in (one, two) for name, mos in zip(m.names, m.mos, strict=True)}
    values = {
        "sets": {"one": one.table(splits=2), "two": two.table(split="official")},
        "assessors": {name: {"model": "foveal-compact"} for name in ("good", "fair", "flat", "mine")},
        "run": {"resamples": 100, "out": "out"},
        "gmad": {"share": 0.5, "levels": 2, "side": 5},
    }
    entrants = {"good": Scorer(5, truth), "fair": Scorer(40, truth), "flat": Scorer(None, truth)}
    prepared = prepare(
        benchmark_from(values, tmp_path, "mine"), entrants={**entrants, "mine": Trainer(truth)}
    )
    outcome, failed = run(prepared)
    assert failed == {}
    return outcome, tmp_path / "out"


class Page(HTMLParser):
    """What a page holds: its tables, and all attributes; refuses one that is not well nested."""

    VOID = ("meta", "img", "br", "link", "input")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tables: list[list[list[str]]] = []
        self.captions: list[str] = []
        self.attributes: list[tuple[str, dict[str, str]]] = []
        self.scopes: list[str | None] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        self.attributes.append((tag, found))
        if tag not in self.VOID:
            self.open.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("th", "td"):
            self.tables[-1][-1].append("")
            self.scopes += [found.get("scope")] if tag == "th" else []
        elif tag == "caption":
            self.captions.append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("th", "td"):
            self.tables[-1][-1][-1] += data
        elif self.open and self.open[-1] == "caption":
            self.captions[-1] += data


def markdown_tables(text: str) -> list[list[list[str]]]:
    blocks = re.findall(r"(?:^\|.*\|\n)+", text, re.MULTILINE)
    rows = [[line for line in block.splitlines() if not re.fullmatch(r"[|: -]+", line)] for block in blocks]
    return [
        [
            [re.sub(r"\\(.)", r"\1", cell.strip()) for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
            for line in block
        ]
        for block in rows
    ]


def test_page_and_markdown_say_the_same_and_the_page_needs_nothing_else(
    reported: tuple[Outcome, Path],
) -> None:
    _, out = reported
    html, markdown = ((out / f"report.{kind}").read_text(encoding="utf-8") for kind in ("html", "md"))
    page = Page(html)
    assert page.tables == markdown_tables(markdown)
    assert len(page.tables) == len(page.captions) == len(set(page.captions))
    # Tables that a screen reader can follow: a caption each, and a scope for every heading.
    assert set(page.scopes) == {"col", "row"}
    identifiers = [attributes["id"] for _, attributes in page.attributes if "id" in attributes]
    assert len(identifiers) == len(set(identifiers))
    named = [a["aria-labelledby"].split() for _, a in page.attributes if "aria-labelledby" in a]
    assert {name for names in named for name in names} <= set(identifiers)
    links = {a["href"] for tag, a in page.attributes if tag == "a"}
    assert {link for link in links if not link.startswith("#")} == {"gmad/one.html", "gmad/two.html"}
    assert {link[1:] for link in links if link.startswith("#")} <= set(identifiers)
    tags = {tag for tag, _ in page.attributes}
    assert not tags & {"script", "link", "img", "iframe", "object"}
    assert "url(" not in html
    assert "@import" not in html
    assert "prefers-color-scheme: dark" in html
    assert ("html", {"lang": "en"}) in page.attributes


def test_everything_is_in_the_report(reported: tuple[Outcome, Path]) -> None:
    outcome, out = reported
    markdown = (out / "report.md").read_text(encoding="utf-8")
    headings = re.findall(r"^## (.*)$", markdown, re.MULTILINE)
    assert headings == [
        "Warnings", "one", "two", "mine across sets", "Competition", "Sets", "Assessors", "Not in the tables",
        "How it was done",
    ]  # fmt: skip
    tables = markdown_tables(markdown)
    board = tables[0]
    assert [row[0] for row in board] == ["assessor", "good", "mine", "fair †", "flat"]  # best SRCC first
    line = next(line for line in outcome.lines if (line.key.assessor, line.key.tested) == ("good", "one"))
    srcc = line.figures["srcc"]
    assert board[1][1] == f"{srcc.mean:.3f} ± {srcc.std:.3f} ({srcc.low:.3f} to {srcc.high:.3f})"
    assert board[4][1:] == ["-"] * 5
    warnings = "\n".join(outcome.warnings())
    assert "fair, marked †: has seen images of one (by its card)" in warnings
    assert "two: the official test part holds 1 image (00.png) whose exact copies" in warnings
    assert warnings.count("\n") == markdown.count("- **") - 1
    assert "fair on two" in markdown
    assert "there are no scores of this set" in markdown
    assert "&lt;" not in markdown
    assert r"\<b\>one\</b\> & more" in markdown
    matrix = next(table for table in tables if table[0][0] == "trained on \\ tested on")
    lines = {(line.key.source, line.key.tested): line for line in outcome.lines if line.part == "all"}
    for row in matrix[1:]:
        for tested, shown in zip(("one", "two"), row[1:], strict=True):
            assert shown == f"{lines[row[0], tested].figures['srcc'].mean:.3f}"


def test_plots_are_pictures_with_words(reported: tuple[Outcome, Path]) -> None:
    outcome, out = reported
    for name in outcome.sets:
        root = ElementTree.fromstring((out / "plots" / f"{name}-all.svg").read_text(encoding="utf-8"))  # noqa: S314
        title, description = root.find(f"{SVG}title"), root.find(f"{SVG}desc")
        assert title is not None
        assert title.text == f"SRCC on {name}"
        assert description is not None
        value = next(row for heading, table in summary(outcome) if heading == name for row in table.rows)[1]
        assert isinstance(value, float)
        assert f"good {value:.3f} (" in (description.text or "")
        texts = [text.text for text in root.iter(f"{SVG}text")]
        assert f"{value:.3f}" in texts
        assert "flat" not in texts  # it has no SRCC


def test_the_competition_shows_both_images_with_both_scores(reported: tuple[Outcome, Path]) -> None:
    outcome, out = reported
    with (out / "gmad" / "duels.csv").open(newline="", encoding="utf-8") as file:
        duels = [row for row in csv.DictReader(file) if row["set"] == "one"]
    html = (out / "gmad" / "one.html").read_text(encoding="utf-8")
    page = Page(html)
    pictures = [attributes for tag, attributes in page.attributes if tag == "img"]
    assert len(pictures) == 2 * len(duels)
    assert [picture["alt"] for picture in pictures] == [
        duel[side] for duel in duels for side in ("better", "worse")
    ]
    for picture in pictures:
        kind, _, data = picture["src"].partition(",")
        assert kind == "data:image/jpeg;base64"
        assert Image.open(io.BytesIO(base64.b64decode(data))).size == (5, 5)
    rated = outcome.sets["one"].ratings
    quality = dict(zip(rated.names, rated.quality(), strict=True))
    for duel in duels:
        for side in ("better", "worse"):
            for who, does in (("defender", "defends"), ("attacker", "attacks")):
                assert f"{duel[who]} ({does}) {float(duel[f'{side}_{who}']):.3f}" in html
            assert float(duel[f"{side}_rated"]) == pytest.approx(quality[duel[side]])
        assert float(duel["better_attacker"]) > float(duel["worse_attacker"])
    assert not {tag for tag, _ in page.attributes} & {"script", "link", "iframe"}


def test_the_terminal_gets_the_figures_in_short(reported: tuple[Outcome, Path]) -> None:
    outcome, _ = reported
    tables = dict(summary(outcome))
    assert list(tables) == ["one", "two", "two, clean part"]
    assert [row[0] for row in tables["one"].rows] == ["good", "fair †", "flat", "mine"]
    assert tables["one"].headings == ("assessor", "SRCC", "95 %", "KRCC", "PLCC", "PLCC-4", "RMSE")


HOSTILE = "<script>alert(1)</script> a|b *c* [d](e) `f` \\ $g$ \u202e"


def test_no_text_breaks_the_page_or_the_markdown() -> None:
    table = Table(("x", HOSTILE), ((HOSTILE, 0.5), ("y", HOSTILE)))
    exhibits = (Exhibit(HOSTILE, table, heat=True), Link(HOSTILE, "a.html"))
    sections = tuple(Section(HOSTILE, (HOSTILE,), exhibits, alert=alert) for alert in (True, False))
    whole = Document(HOSTILE, sections)
    page = Page(to_html(whole))
    assert "script" not in {tag for tag, _ in page.attributes}
    assert page.captions == [HOSTILE] * 2
    markdown = to_markdown(whole)
    assert "<script>" not in markdown
    (first, second) = markdown_tables(markdown)
    assert first == second
    assert [len(row) for row in first] == [2, 2, 2]
    plain = markdown.replace("- **", "").replace("**\n", "")
    assert not re.search(r"(?<!\\)[*`$]|(?<!\\)\[d", plain)


def test_heat_grows_with_the_numbers() -> None:
    rows = (("a", 0.1, 0.9), ("b", 0.5, "shared images"))
    whole = Document("t", (Section("s", exhibits=(Exhibit("c", Table(("", "x", "y"), rows), heat=True),)),))
    found = re.findall(r"<td( style=\"[^\"]*\")?>([^<]*)</td>", to_html(whole))
    shades = {text: float(style.split(",")[-1].rstrip(')"')) if style else None for style, text in found}
    assert shades == {"0.100": 0.0, "0.900": 0.55, "0.500": 0.28, "shared images": None}


@pytest.mark.parametrize("values", [(0.81, 0.82), (-1.0, 1.0), (0.5, 0.5), (0.0, 1e-9), (0.123, 14.5)])
def test_dots_lie_within_the_plot_in_their_order(values: tuple[float, float]) -> None:
    low, high = values
    dots = [
        Dot("low", low, float("nan"), float("nan")),
        Dot("a label that is far too long for the margin", high, low, high, (low, high), marked=True),
    ]
    root = ElementTree.fromstring(dot_plot(dots, title="t & u", axis="x < y", name="p"))  # noqa: S314
    centres = [float(circle.attrib["cx"]) for circle in root.iter(f"{SVG}circle")]
    assert 220 <= centres[0] <= centres[1] <= 700
    assert centres[0] < centres[1] or high - low < 1e-6
    texts = [text.text or "" for text in root.iter(f"{SVG}text")]
    assert "a label that is far too lon… †" in texts
    ticks = [float(text) for text in texts if re.fullmatch(r"-?\d+\.\d{1,2}", text)]
    assert 2 <= len(ticks) <= 9
    assert min(ticks) <= low + 0.005
    assert max(ticks) >= high - 0.005


def test_plots_are_linked_in_markdown_and_drawn_in_the_page() -> None:
    plot = Plot("plots/a.svg", "<svg></svg>", "SRCC on [a]")
    whole = Document("t", (Section("s", exhibits=(plot,)),))
    assert r"![SRCC on \[a\]](plots/a.svg)" in to_markdown(whole)
    assert "<svg></svg>" in to_html(whole)
