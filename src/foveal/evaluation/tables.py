"""Small tables as plain text, Markdown and CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass

Cell = str | int | float


@dataclass(frozen=True, slots=True)
class Table:
    """Cells with headings.

    Attributes:
        headings: one for each column.
        rows: cells; floats are shown with three decimals, and in CSV with all.

    Raises:
        ValueError: a row has more or fewer cells than there are headings.
    """

    headings: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.headings):
                raise ValueError(f"a row has {len(row)} cells under {len(self.headings)} headings")

    def to_text(self) -> str:
        """Aligned columns for a terminal: the first to the left, the others to the right."""
        lines = self._padded()
        return "\n".join("  ".join(line).rstrip() for line in lines) + "\n"

    def to_markdown(self) -> str:
        """A Markdown table, readable as it stands."""
        heading, *rows = self._padded("|", r"\|")
        widths = [len(cell) for cell in heading]
        rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
        return "\n".join(f"| {' | '.join(line)} |" for line in [heading, rule, *rows]) + "\n"

    def to_csv(self) -> str:
        """Comma separated, floats in full precision, lines ended by newlines."""
        file = io.StringIO()
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(self.headings)
        writer.writerows(self.rows)
        return file.getvalue()

    def _padded(self, old: str = "", new: str = "") -> list[list[str]]:
        lines = [list(self.headings), *([_shown(cell) for cell in row] for row in self.rows)]
        if old:
            lines = [[cell.replace(old, new) for cell in line] for line in lines]
        # Markdown wants three dashes at least in the line below the headings.
        widths = [max(3, *(len(line[index]) for line in lines)) for index in range(len(self.headings))]
        return [_pad(line, widths) for line in lines]


def _pad(line: Sequence[str], widths: Sequence[int]) -> list[str]:
    first, *others = zip(line, widths, strict=True)
    return [first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)]


def _shown(cell: Cell) -> str:
    if isinstance(cell, float):
        return f"{cell:.3f}"
    # Labels of somebody's table must neither break a line nor drive a terminal.
    marks = str(cell)
    return "".join(mark if mark.isprintable() else mark.encode("unicode_escape").decode() for mark in marks)
