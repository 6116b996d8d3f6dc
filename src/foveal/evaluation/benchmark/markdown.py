"""The report as Markdown."""

from __future__ import annotations

import re

from foveal.evaluation.benchmark.document import Document, Exhibit, Plot, Section
from foveal.evaluation.tables import Table


def to_markdown(document: Document) -> str:
    """Write the document as Markdown; pictures and sheets are files beside it."""
    blocks = [f"# {_escaped(document.title)}\n"]
    for section in document.sections:
        blocks += _section(section)
    return "\n".join(blocks)


def _section(section: Section) -> list[str]:
    blocks = [f"## {_escaped(section.heading)}\n"]
    if section.alert:
        blocks.append("\n".join(f"- **{_escaped(text)}**" for text in section.paragraphs) + "\n")
    else:
        blocks += [f"{_escaped(text)}\n" for text in section.paragraphs]
    for exhibit in section.exhibits:
        if isinstance(exhibit, Exhibit):
            blocks += [f"{_escaped(exhibit.caption)}:\n", _table(exhibit.table)]
        elif isinstance(exhibit, Plot):
            blocks.append(f"![{_escaped(exhibit.alternative)}]({exhibit.name})\n")
        else:
            blocks.append(f"[{_escaped(exhibit.text)}]({exhibit.path})\n")
    return blocks


def _table(table: Table) -> str:
    headings = tuple(_escaped(heading, pipe=False) for heading in table.headings)
    rows = tuple(
        tuple(_escaped(cell, pipe=False) if isinstance(cell, str) else cell for cell in row)
        for row in table.rows
    )
    return Table(headings, rows).to_markdown()


def _escaped(text: str, *, pipe: bool = True) -> str:
    """Text that Markdown shows as it is; tables escape their pipes themselves."""
    return re.sub(r"([\\`*_\[\]<>$#|])" if pipe else r"([\\`*_\[\]<>$#])", r"\\\1", text)
