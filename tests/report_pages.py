"""What a page of a report holds, read back without a browser; and rows to make pages of."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from typing import Any

from foveal.artifact.card import AspectSpec, Calibration, Card, ViewSpec
from foveal.pipeline.rows import Row

VOID = {"meta", "img", "br", "input", "rect", "line", "circle", "path"}


class Page(HTMLParser):
    """Elements, text and data of a page; raises if its elements are not nested properly."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.html = html
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.raw: dict[str, str] = {}
        self.feed(html)
        assert self.open == []
        self.data: dict[str, Any] = json.loads(self.raw["application/json"])

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("script", "style"):
            tag, attributes = self.elements[-1]
            self.raw[attributes.get("type") or tag] = data
        else:
            self.text += data

    def tags(self) -> set[str]:
        return {tag for tag, _ in self.elements}

    @property
    def words(self) -> str:
        """Its text with single spaces."""
        return re.sub(r"\s+", " ", self.text)


def row(source: str, quality: float | None, *warnings: str, **aspects: float | None) -> Row:
    """A row whose interval reaches half a step to either side, cut at the ends of the scale."""
    if quality is None:
        return Row(source, None, None, None, "paper@1", error=f"{source} is broken", aspects=aspects)
    low, high = max(1.0, quality - 0.5), min(5.0, quality + 0.5)
    return Row(source, quality, low, high, "paper@1", warnings, aspects=aspects)


def card(*aspects: str) -> Card:
    """The card of an assessor that exists on paper only."""
    return Card(
        name="paper",
        version="1",
        licence="Apache-2.0",
        summary="On paper <only>.",
        training_data="nothing & nobody",
        views={"whole": ViewSpec("whole")},
        calibration=Calibration(coverage=0.9, factor=1.0, count=100, measured_coverage=0.887),
        aspects={name: AspectSpec() for name in aspects},
        measured={"made-up SRCC": 0.5},
    )
