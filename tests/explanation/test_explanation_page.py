"""The page: whole, safe, readable without colour, and needing nothing else."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from numpy.typing import NDArray
from rich.console import Console

from foveal.explanation.colours import colours
from foveal.explanation.explainer import Explainer
from foveal.explanation.explanation import Disagreement, Explanation
from foveal.explanation.page import to_html
from foveal.explanation.sentences import moved
from foveal.explanation.terminal import show

Explained = tuple[Explanation, NDArray[np.uint8]]
VOID = {"meta", "img", "br", "rect", "line", "circle", "path"}


class Page(HTMLParser):
    """What a page holds; raises if its elements are not nested properly."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.attributes: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def explained(explainer: Explainer, make_photo: Callable[..., NDArray[np.uint8]]) -> Explained:
    pixels = (make_photo(160, 240) // 2 + 127).astype(np.uint8)
    return explainer(pixels, name="a photo.jpg"), pixels


def test_all_that_is_known_is_told(explained: Explained) -> None:
    explanation = explained[0]
    text = Page(to_html([explained])).text
    assert explanation.description in text
    assert f"{explanation.quality:.2f}" in text
    assert f"{explanation.interval.low:.2f} to {explanation.interval.high:.2f}" in text
    for word, probability in explanation.verdict.probabilities.items():
        assert word in text
        assert f"{probability:.0%}".replace("%", " %") in text
    for one in explanation.seen:
        assert one.attribute.replace("_", " ") in text
        assert one.measured is None or one.measured.phrase in text
        for change in one.what_if:
            assert moved(change) in text
    for disagreement in explanation.disagreements:
        assert disagreement.text in text
    assert "constructed@1" in text
    assert "tiny@0.0.1" in text


def test_nothing_is_fetched_and_pictures_have_words(explained: Explained) -> None:
    html = to_html([explained])
    page = Page(html)
    for tag, attributes in page.attributes:
        if tag == "img":
            assert (attributes["src"] or "").startswith("data:image/")
            assert attributes["alt"]
        assert tag not in ("script", "link", "iframe")
        assert tag != "svg" or attributes["aria-label"]
    assert "http" not in html
    assert "prefers-color-scheme: dark" in html


def test_names_and_texts_cannot_break_the_page(explained: Explained) -> None:
    explanation, pixels = explained
    hostile = '<script>alert("1")</script>&\x1b[31m$title\n'
    made = replace(
        explanation,
        assessment=replace(explanation.assessment, source=hostile),
        description=hostile,
        disagreements=(Disagreement("said-measured", hostile),),
        warnings=(hostile,),
    )
    html = to_html([(made, pixels)])
    page = Page(html)
    assert "script" not in {tag for tag, _ in page.attributes}
    assert "\x1b" not in html
    assert page.text.count('<script>alert("1")</script>&') == 5  # title, heading and three more


def test_several_images_share_a_page(explained: Explained) -> None:
    page = Page(to_html([explained, explained]))
    anchors = {attributes["id"] for tag, attributes in page.attributes if tag == "article"}
    links = {(attributes["href"] or "")[1:] for tag, attributes in page.attributes if tag == "a"}
    assert links == anchors == {"image-0", "image-1"}
    assert "2 images explained" in page.text


def test_a_picture_without_attributes_has_no_table(explained: Explained) -> None:
    explanation, pixels = explained
    page = Page(to_html([(replace(explanation, seen=(), up=None, down=None), pixels)]))
    assert "table" not in {tag for tag, _ in page.attributes}
    assert "No single attribute" in page.text


def test_a_terminal_shows_the_map_and_a_pipe_does_not(
    explained: Explained,
) -> None:
    shown = {}
    for terminal in (True, False):
        written = io.StringIO()
        kind = "truecolor" if terminal else None
        show(explained[0], Console(file=written, force_terminal=terminal, color_system=kind, width=120))
        shown[terminal] = written.getvalue()
    red, green, blue = colours(float(explained[0].quality_map[0, 0]))
    assert f"48;2;{red};{green};{blue}m" in shown[True]
    assert "\x1b" not in shown[False]
    assert " 5  excellent" in re.sub(r"\x1b\[[0-9;]*m", "", shown[True])
    assert " 5  excellent" not in shown[False]


def test_a_change_too_small_to_show_is_none(explained: Explained) -> None:
    change = next(change for one in explained[0].seen for change in one.what_if)
    assert moved(replace(change, quality=3.2, change=-0.004)) == "3.20 (no change)"
    assert moved(replace(change, quality=3.2, change=-0.006)) == "3.20 (-0.01)"
