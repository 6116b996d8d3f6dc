"""The report as a document: headings, paragraphs, tables and plots, before it is Markdown or a page."""

from __future__ import annotations

from dataclasses import dataclass

from foveal.evaluation.tables import Table

NONE = "-"
"""Cell of a table for what there is not."""


@dataclass(frozen=True, slots=True)
class Exhibit:
    """A table.

    Attributes:
        caption: what it shows.
        table: its cells.
        heat: whether numbers are shown with a colour behind them, by size.
    """

    caption: str
    table: Table
    heat: bool = False


@dataclass(frozen=True, slots=True)
class Plot:
    """A picture.

    Attributes:
        name: of its file.
        svg: the picture.
        alternative: what it shows, in words.
    """

    name: str
    svg: str
    alternative: str


@dataclass(frozen=True, slots=True)
class Link:
    """A reference to a file beside the report."""

    text: str
    path: str


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the report.

    Attributes:
        heading: its heading.
        paragraphs: text before everything else.
        exhibits: tables, plots and links in their order.
        alert: whether it is a warning: its paragraphs are a list then.
    """

    heading: str
    paragraphs: tuple[str, ...] = ()
    exhibits: tuple[Exhibit | Plot | Link, ...] = ()
    alert: bool = False


@dataclass(frozen=True, slots=True)
class Document:
    """The report."""

    title: str
    sections: tuple[Section, ...]
