"""What ``foveal score`` shows on a terminal: worst and best, a summary, a histogram."""

from __future__ import annotations

from typing import TYPE_CHECKING

from foveal.assessment import Assessment, Failure
from foveal.cli.listings import Selection
from foveal.cli.text import one_line
from foveal.pipeline.rows import Row
from foveal.pipeline.step_summary import Figures
from foveal.pipeline.summary import Extremes

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

AT_EACH_END = 5
"""Images shown among the worst and among the best."""
_FAILURES_SHOWN = 10
_BAR = 40
_LABELS = ("bad", "poor", "fair", "good", "excellent")
_STYLES = ("bold red", "red", "yellow", "green", "bold green")


class Report:
    """Gathers rows and prints them at the end; memory grows with them only if ``below`` asks for all."""

    def __init__(self, console: Console, summary: Figures, below: float | None, top: int | None) -> None:
        self._console = console
        self._summary = summary
        self._below = below
        self._top = top
        self._chosen: list[Row] = []
        self._selection = Selection[Row](below, top, self._chosen.append)
        self._worst = Extremes[Row](AT_EACH_END, lowest=True)
        self._best = Extremes[Row](AT_EACH_END)
        self._all = Extremes[Row](2 * AT_EACH_END)
        self._failures: list[Row] = []

    def add(self, row: Row, result: Assessment | Failure | None) -> None:
        """Take one row."""
        if row.quality is None:
            if len(self._failures) < _FAILURES_SHOWN:
                self._failures.append(row)
        elif self._below is not None or self._top is not None:
            self._selection.offer(row.quality, row)
        else:
            for end in (self._worst, self._best, self._all):
                end.offer(row.quality, row)

    def close(self) -> None:
        """Print everything."""
        for title, rows in self._tables():
            self._console.print(_table(title, rows))
            self._console.print()
        self._print_failures()
        self._console.print(_counts(self._summary), highlight=False)
        if self._summary.scored > 1:
            self._console.print(_figures(self._summary), highlight=False)
            self._console.print(_histogram(self._summary, _bar_mark(self._console)))

    def _tables(self) -> list[tuple[str, list[Row]]]:
        if self._below is not None or self._top is not None:
            self._selection.close()
            return [self._chosen_table()]
        if self._summary.scored > 2 * AT_EACH_END:
            return [
                (f"Worst {AT_EACH_END}", self._worst.items()),
                (f"Best {AT_EACH_END}", self._best.items()),
            ]
        return [("Best first", self._all.items())] if self._summary.scored else []

    def _chosen_table(self) -> tuple[str, list[Row]]:
        below = "" if self._below is None else f" below {self._below:g}"
        if self._top is None:
            # Sorting is stable: images of equal quality stay in the order in which they came.
            return f"{len(self._chosen)}{below}, worst first", sorted(
                self._chosen, key=lambda row: row.quality or 0
            )
        return f"Best {len(self._chosen)}{below}", self._chosen

    def _print_failures(self) -> None:
        from rich.text import Text

        for row in self._failures:
            reason = f"{one_line(row.source)}: {one_line(row.error or '')}"
            self._console.print(Text.assemble(("failed ", "bold red"), reason))
        hidden = self._summary.failed - len(self._failures)
        if hidden:
            self._console.print(f"... and {hidden:,} more failed")


def _table(title: str, rows: list[Row]) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
    table.show_edge = table.pad_edge = False
    table.add_column("quality", justify="right")
    table.add_column("")
    table.add_column("interval", no_wrap=True)
    aspects = list(rows[0].aspects) if rows else []
    for name in aspects:
        table.add_column(name, justify="right", overflow="fold")
    table.add_column("image", overflow="fold")
    noted = any(row.warnings for row in rows)
    if noted:
        table.add_column("note", overflow="fold")
    for row in rows:
        quality = row.quality or 0.0
        grade = _grade(quality)
        cells = [
            Text(f"{quality:.2f}", style=_STYLES[grade]),
            Text(_LABELS[grade], style=_STYLES[grade]),
            Text(f"{row.low:.2f} - {row.high:.2f}"),
            *(_aspect(row.aspects.get(name)) for name in aspects),
            Text(one_line(row.source)),
        ]
        table.add_row(*cells, *([Text(_note(row))] if noted else []))
    return table


def _aspect(score: float | None) -> Text:
    """One aspect's cell; empty where there is no score, which the note explains."""
    from rich.text import Text

    return Text("") if score is None else Text(f"{score:.2f}", style=_STYLES[_grade(score)])


def _note(row: Row) -> str:
    """The warnings in short: what is wrong, without the figures that follow the colon."""
    return one_line("; ".join(warning.partition(":")[0] for warning in row.warnings))


def _grade(quality: float) -> int:
    """Nearest category of the absolute category rating, 0 (bad) to 4 (excellent)."""
    return min(4, max(0, int(quality - 0.5)))


def _counts(summary: Figures) -> str:
    return f"{summary.scored:,} scored, {summary.failed:,} failed"


def _figures(summary: Figures) -> str:
    return (
        f"mean {summary.mean():.2f}, median {summary.median():.2f}, "
        f"spread {summary.spread():.2f} (standard deviation)"
    )


def _histogram(summary: Figures, mark: str) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 1))
    for justify in ("right", "left", "right"):
        table.add_column(justify=justify, no_wrap=True)
    bins = summary.histogram()
    longest = max(count for _, _, count in bins)
    for low, high, count in reversed(bins):
        # A single image must be seen, however many are in the longest bar.
        length = max(1, round(_BAR * count / longest)) if count else 0
        bar = Text(mark * length, style=_STYLES[_grade((low + high) / 2)])
        table.add_row(f"{low:.1f} - {high:.1f}", bar, f"{count:,}")
    return table


def _bar_mark(console: Console) -> str:
    return "#" if console.options.ascii_only else "\N{FULL BLOCK}"
