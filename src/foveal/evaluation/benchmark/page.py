"""The report as one HTML page that needs nothing else, for light and dark, and for screen readers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from html import escape
from string import Template

from foveal.evaluation.benchmark.document import Document, Exhibit, Plot, Section
from foveal.evaluation.tables import Cell, Table

_PAGE = Template("""\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>$title</title>
<style>
:root { color-scheme: light dark; --ink: #1f2328; --paper: #ffffff; --pale: #d0d7de; --soft: #f6f8fa;
  --link: #0059a3; --alert: #fff4e5; --alert-edge: #b34700; --heat: 0, 114, 178; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6edf3; --paper: #0d1117; --pale: #3d444d; --soft: #161b22; --link: #79c0ff;
    --alert: #33200d; --alert-edge: #ff9d5c; --heat: 86, 180, 233; }
}
body { margin: 0 auto; max-width: 76rem; padding: 1rem 1.25rem 4rem; background: var(--paper);
  color: var(--ink); font: 1rem/1.5 system-ui, sans-serif; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.25rem; margin-top: 2.5rem; }
p { max-width: 48rem; }
a { color: var(--link); }
nav ul { display: flex; flex-wrap: wrap; gap: 0.25rem 1rem; list-style: none; padding: 0; }
.alert { background: var(--alert); border-left: 4px solid var(--alert-edge); padding: 0.25rem 1rem; }
.wide { overflow-x: auto; margin: 1rem 0; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
caption { text-align: left; font-weight: 600; padding: 0.25rem 0; }
th, td { border-bottom: 1px solid var(--pale); padding: 0.3rem 0.7rem; text-align: right; }
th:first-child, td:first-child { text-align: left; } .words th, .words td { text-align: left; }
thead th { background: var(--soft); } tbody th { font-weight: 500; white-space: nowrap; }
.heat td { min-width: 4rem; text-align: center; }
.fv-plot { width: 100%; max-width: 48rem; height: auto; }
.duels { display: flex; flex-wrap: wrap; gap: 1.5rem; }
.duel { border: 1px solid var(--pale); border-radius: 6px; padding: 0.75rem; }
.duel h3 { margin: 0 0 0.5rem; } .pair { display: flex; flex-wrap: wrap; gap: 0.75rem; }
figure { margin: 0; } figcaption { font-size: 0.85rem; }
figure img { display: block; border-radius: 3px; }
</style>
</head>
<body>
$body
</body>
</html>
""")
_STRONGEST = 0.55
"""Opacity behind the largest number of a heat table: text stays readable on it, in light and dark."""


def to_html(document: Document) -> str:
    """Write the document as a page; only sheets of pictures are files beside it."""
    links = "".join(
        f'<li><a href="#part-{number}">{escape(section.heading)}</a></li>'
        for number, section in enumerate(document.sections)
    )
    parts = [
        f"<header><h1>{escape(document.title)}</h1>",
        f'<nav aria-label="Parts of the report"><ul>{links}</ul></nav></header>',
        "<main>",
        *(
            line
            for number, section in enumerate(document.sections)
            for line in _section(section, f"part-{number}")
        ),
        "</main>",
    ]
    return page(document.title, "\n".join(parts))


def page(title: str, body: str) -> str:
    """A whole page.

    Args:
        title: plain text.
        body: HTML.
    """
    return _PAGE.substitute(title=escape(title), body=body)


def _section(section: Section, identifier: str) -> Iterator[str]:
    alert = ' class="alert"' if section.alert else ""
    yield f'<section id="{identifier}" aria-labelledby="{identifier}-heading"{alert}>'
    yield f'<h2 id="{identifier}-heading">{escape(section.heading)}</h2>'
    if section.alert:
        yield f"<ul>{''.join(f'<li>{escape(text)}</li>' for text in section.paragraphs)}</ul>"
    else:
        yield from (f"<p>{escape(text)}</p>" for text in section.paragraphs)
    for exhibit in section.exhibits:
        if isinstance(exhibit, Exhibit):
            yield _table(exhibit)
        elif isinstance(exhibit, Plot):
            yield exhibit.svg
        else:
            yield f'<p><a href="{escape(exhibit.path)}">{escape(exhibit.text)}</a></p>'
    yield "</section>"


def _table(exhibit: Exhibit) -> str:
    table, heat = exhibit.table, _heat(exhibit)
    # A table of words reads better from the left.
    kind = "heat" if exhibit.heat else "words" if _is_words(table) else ""
    head = "".join(f'<th scope="col">{escape(heading)}</th>' for heading in table.headings)
    rows = []
    for first, *others in table.rows:
        cells = "".join(f"<td{heat(cell)}>{escape(_shown(cell))}</td>" for cell in others)
        rows.append(f'<tr><th scope="row">{escape(_shown(first))}</th>{cells}</tr>')
    caption = escape(exhibit.caption)
    return (
        f'<div class="wide" role="region" tabindex="0" aria-label="{caption}">'
        f'<table class="{kind}"><caption>{caption}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _is_words(table: Table) -> bool:
    return any(isinstance(cell, str) and len(cell) > 40 for row in table.rows for cell in row[1:])


def _heat(exhibit: Exhibit) -> Callable[[Cell], str]:
    """What gives a cell its colour: the larger the number, the stronger."""
    numbers = [cell for row in exhibit.table.rows for cell in row[1:] if isinstance(cell, float)]
    if not exhibit.heat or not numbers:
        return lambda cell: ""
    low, high = min(numbers), max(numbers)

    def style(cell: Cell) -> str:
        if not isinstance(cell, float) or math.isnan(cell):
            return ""
        share = 1.0 if high == low else (cell - low) / (high - low)
        return f' style="background: rgba(var(--heat), {_STRONGEST * share:.2f})"'

    return style


def _shown(cell: Cell) -> str:
    return f"{cell:.3f}" if isinstance(cell, float) else str(cell)
