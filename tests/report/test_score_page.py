"""The report of a run: the page's data are the rows, its figures those of all of them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foveal.pipeline.rows import Row
from foveal.report import score_page as module
from foveal.report.details import Details
from foveal.report.gather import Gathered
from foveal.report.score_page import AT_EACH_END, LISTED_ERRORS, Content, score_page
from foveal.report.thumbnails import Album
from report_pages import Page, card, row

MANY = [row(f"photos/{place:03d}.jpg", 1 + 4 * ((place * 37) % 100) / 99) for place in range(100)]
HOSTILE = [
    "</script><img src=x onerror=alert(1)>.jpg",
    '"><script>alert(1)</script>.png',
    "<!--<script>.png",
    "' onmouseover='alert(1)",
    "$title ${css} {{x}}",
    "caf\udce9.jpg",
    "line\nbreak\u2028.jpg",
    "\u202egpj.exe",
    "\x1b[31mred.jpg",
    "&lt;b&gt;.jpg",
]


def content(rows: Sequence[Row], *aspects: str) -> Content:
    gathered = Gathered()
    for one in rows:
        gathered.add(one)
    return Content.of(card(*aspects), gathered)


def made(
    rows: Sequence[Row], *aspects: str, album: Album | None = None, details: Details | None = None
) -> Page:
    return Page(score_page(content(rows, *aspects), album or Album(), details or Details()))


def sources(data: dict[str, Any]) -> list[str]:
    return [data["root"] + name for name in data["names"]]


def test_the_data_are_the_rows() -> None:
    rows = [
        row("a/x.jpg", 3.123456, "large: 9 x 9", "odd", real=4.5, fits=None),
        row("a/y.jpg", None, real=None, fits=None),
        row("a/b/z.jpg", 4.9, real=1.25, fits=2.0),
    ]
    data = made(rows, "real", "fits").data
    assert sources(data) == ["a/x.jpg", "a/y.jpg", "a/b/z.jpg"]
    assert data["root"] == "a/"
    assert data["quality"] == [3.1235, None, 4.9]
    assert data["low"] == [2.6235, None, 4.4]
    assert data["high"] == [3.6235, None, 5.0]
    assert data["aspects"] == {"fits": [None, None, 2.0], "real": [4.5, None, 1.25]}
    assert data["warnings"] == {"0": ["large: 9 x 9", "odd"]}
    assert data["errors"] == {"1": "a/y.jpg is broken"}
    assert data["coverage"] == 0.9


def test_the_figures_are_those_of_the_scores() -> None:
    qualities = np.array([one.quality for one in MANY], float)
    words = made([*MANY, row("photos/bad.jpg", None), row("photos/w.jpg", 3.0, "odd")]).words
    qualities = np.append(qualities, 3.0)
    assert f"{qualities.mean():.2f}fair on average" in words
    assert f"median {np.median(qualities):.2f}".replace(" ", "") in words.replace(" ", "")
    low, lower, upper, high = np.quantile(qualities, [0.05, 0.25, 0.75, 0.95])
    assert f"{low:.2f} to {high:.2f}" in words
    assert f"{lower:.2f} to {upper:.2f}" in words
    assert f"{qualities.std():.2f}" in words
    assert "101 scored, 1 failed, 1 with warnings. Judged by paper@1." in words


def test_the_histogram_counts_every_image_once() -> None:
    html = made(MANY).html
    counts = re.findall(r"<title>([\d.]+) to ([\d.]+): (\d+)</title>", html)
    assert sum(int(count) for _, _, count in counts) == 100
    for low, high, count in counts:
        last = high == "5.00"
        expected = sum(
            float(low) <= (one.quality or 0) < float(high) or (last and one.quality == 5) for one in MANY
        )
        assert int(count) == expected
    fine = made(MANY * 2).html  # the same rows twice are 200 images: finer bars
    assert len(re.findall('class="bin"', fine)) == 40


def test_worst_and_best_stand_at_the_top() -> None:
    page = made(MANY)
    cards = [
        int(attributes["data-item"] or -1) for _, attributes in page.elements if "data-item" in attributes
    ]
    ordered = sorted(range(100), key=lambda place: MANY[place].quality or 0)
    assert cards == [*ordered[:AT_EACH_END], *ordered[: -AT_EACH_END - 1 : -1]]
    assert made(MANY[:5]).html.count('class="card"') == 4  # of five, the middle one stands at neither end
    assert made(MANY[:1]).html.count('class="card"') == 0


def test_the_card_says_what_the_numbers_mean() -> None:
    words = made(MANY, "real").words
    for fact in (
        "paper, version 1",
        "On paper <only>.",
        "1 (bad) to 5 (excellent), higher is better",
        "90 % of mean opinions lie inside, calibrated on 100 images (split conformal)",
        "on images that calibrated nothing it held 88.7 %",
        "nothing & nobody",
        "made-up SRCC 0.500",
        "Apache-2.0",
    ):
        assert fact in words


def test_every_error_is_listed_with_its_reason() -> None:
    failed = [row(f"f/{place}.jpg", None) for place in range(7)]
    words = made([*MANY, *failed]).words
    assert "7 images without a score" in words
    for one in failed:
        assert f"{one.source}{one.error}" in words
    many = [row(f"f/{place}.jpg", None) for place in range(LISTED_ERRORS + 2)]
    page = made(many)
    assert f"The first {LISTED_ERRORS} of {LISTED_ERRORS + 2}; the table above has all of them." in page.words
    assert len(page.data["errors"]) == LISTED_ERRORS + 2
    assert "without a score" not in made(MANY).words


def test_nothing_but_errors_makes_a_page_too() -> None:
    page = made([row("x.jpg", None)])
    assert "No image has a score" in page.words
    assert "svg" in page.tags()  # the mark, but no histogram
    assert "Histogram" not in page.html


def test_hostile_names_are_data_and_text_but_never_markup() -> None:
    rows = [row(name, 1 + place / 3) for place, name in enumerate(HOSTILE)]
    rows += [Row(name, None, None, None, "paper@1", error=f"bad: {name}") for name in HOSTILE]
    page = made(rows)
    assert sources(page.data) == HOSTILE * 2
    assert [attrs.get("type") for tag, attrs in page.elements if tag == "script"] == [
        "application/json",
        None,
    ]
    assert "img" not in page.tags()
    assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on")]
    assert not [mark for mark in page.text + str(page.elements) if not mark.isprintable() and mark != "\n"]
    page.html.encode()


@settings(max_examples=50, deadline=None)
@given(name=st.text(min_size=1), reason=st.text(), warning=st.text())
def test_whatever_a_row_says_survives(name: str, reason: str, warning: str) -> None:
    rows = [
        Row(name, 2.0, 1.5, 2.5, "paper@1", (warning,)),
        Row(name, None, None, None, "paper@1", error=reason),
    ]
    data = made(rows).data
    assert sources(data) == [name, name]
    assert data["warnings"] == {"0": [warning]}
    assert data["errors"] == {"1": reason}


def test_pictures_and_explanations_stand_under_the_place_of_their_row() -> None:
    chosen = content(MANY)
    order = [place for place, _ in chosen.sources(6)]
    ordered = sorted(range(100), key=lambda place: MANY[place].quality or 0)
    assert order == [ordered[0], ordered[99], ordered[1], ordered[98], ordered[2], ordered[97]]
    assert [path for _, path in chosen.sources(2)] == [MANY[ordered[0]].source, MANY[ordered[99]].source]
    one = {"picture": "aa", "map": "bb"}
    page = made(
        MANY,
        album=Album({order[0]: "cc"}, missing=2),
        details=Details({order[1]: one}, "seer@1", missing={order[2]}),
    )
    assert page.data["thumbnails"] == {str(order[0]): "cc"}
    assert page.data["details"] == {str(order[1]): one}
    assert page.data["explainer"] == "seer@1"
    assert "Thumbnails of the 1 with the lowest and highest scores" in page.words
    assert "2 pictures could not be read again after scoring." in page.words
    assert "Explained by seer@1: 1 image from both ends" in page.words
    assert "1 image could not be explained." in page.words
    assert page.data["inexplicable"] == [order[2]]


def test_what_is_missing_is_said() -> None:
    page = made(MANY, album=Album(full=True), details=Details(problem="no explainer here"))
    assert "Thumbnails of no image" in page.words
    assert "Further thumbnails would have made the page too large." in page.words
    assert "No image is explained: no explainer here" in page.words
    assert "too large" in made(MANY, details=Details(full=True)).words


@pytest.mark.parametrize(
    ("details", "said"),
    [
        (Details(), "this page explains no image (--report-details sets how many)."),
        (
            Details({3: {"picture": "", "map": ""}}, "seer@1"),
            "this page explains 1 image from both ends (--report-details sets how many).",
        ),
        (Details(full=True), "this page explains no image (more would have made it too large)."),
        (Details(problem="no explainer here"), "no explainer here"),
    ],
)
def test_the_panel_can_say_why_an_image_is_not_explained(details: Details, said: str) -> None:
    assert made(MANY, details=details).data["unexplained"] == f"No map and no description: {said}"


def test_a_page_takes_no_more_rows_than_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ROW_BYTES", 2500)
    page = made([*MANY, row("photos/broken.jpg", None)])
    kept = sources(page.data)
    assert "photos/broken.jpg" in kept  # failures go first
    assert 10 < len(kept) < 40
    ordered = [one.source for one in sorted(MANY, key=lambda one: one.quality or 0)]
    half = (len(kept) - 1) // 2
    assert set(ordered[:half]) | set(ordered[-half:]) <= set(kept)
    assert f"The table lists {len(kept)} of 101 images" in page.words
    assert "100 scored, 1 failed" in page.words
    assert len(page.raw["application/json"]) < 4000


def test_the_same_input_gives_the_same_bytes() -> None:
    album, details = Album({3: "aa"}), Details({4: {"picture": "", "map": ""}}, "seer@1")
    one, other = (score_page(content(MANY), album, details) for _ in range(2))
    assert one == other
