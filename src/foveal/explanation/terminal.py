"""An explanation on a terminal, or as text in a pipe."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich import box
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from foveal.cli.text import one_line
from foveal.explanation.colours import hexadecimal
from foveal.explanation.explanation import Explanation, Seen
from foveal.explanation.sentences import FIRMLY, grade, label, local, moves, share

if TYPE_CHECKING:
    from rich.console import Console

_BAR = 24


def show(explanation: Explanation, console: Console) -> None:
    """Print an explanation; colours and the map of local quality only where the console has them."""
    verdict = explanation.verdict
    console.print(Text(one_line(explanation.source or "image"), style="bold"))
    heading = Table.grid(padding=(0, 2))
    low, high = f"{explanation.interval.low:.2f}", f"{explanation.interval.high:.2f}"
    reach = f"{low} to {high} in {share(explanation.interval.coverage)} of cases"
    heading.add_row("  score", _graded(explanation.quality, grade(explanation.quality)), reach)
    heading.add_row("  verdict", _graded(verdict.quality, verdict.level), "from the description alone")
    console.print(heading, highlight=False)
    console.print(_levels(explanation, console))
    console.print(Text(f"    {FIRMLY}", style="dim"))
    for disagreement in explanation.disagreements:
        text = Text.assemble(("disagrees ", "bold red"), one_line(disagreement.text))
        console.print(Padding(text, (0, 0, 0, 2), expand=False))
    for warning in explanation.warnings:
        text = Text.assemble(("note ", "bold yellow"), one_line(warning))
        console.print(Padding(text, (0, 0, 0, 2), expand=False))
    console.print(_indented(explanation.description or "(nothing was described)", around=1))
    if explanation.seen:
        console.print(_attributes(explanation))
        console.print()
    for sentence in (*moves(explanation), f"Local quality: {local(explanation.quality_map)}."):
        console.print(_indented(sentence))
    if console.is_terminal and console.color_system is not None:
        console.print(_grid(explanation))
    console.print()


def _indented(text: str, around: int = 0) -> Padding:
    return Padding(Text(one_line(text)), (around, 0, around, 2), expand=False)


def _graded(quality: float, word: str) -> Text:
    return Text(f"{quality:.2f} {word}", style="bold")


def _levels(explanation: Explanation, console: Console) -> Table:
    """Probabilities of the level words as bars."""
    mark = "#" if console.options.ascii_only else "\N{FULL BLOCK}"
    table = Table.grid(padding=(0, 1))
    for word, probability in explanation.verdict.probabilities.items():
        bar = Text(
            mark * round(_BAR * probability), style="bold" if word == explanation.verdict.level else "dim"
        )
        table.add_row(f"    {word}", Text(share(probability), justify="right"), bar)
    return table


def _attributes(explanation: Explanation) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, title_justify="left")
    table.add_column("  attribute")
    table.add_column("said", overflow="fold")
    table.add_column("measured, among photographs", overflow="fold")
    for heading in ("verdict at worst", "at best"):
        table.add_column(heading, justify="right")
    for one in explanation.seen:
        table.add_row(*_row(one))
    return table


def _row(one: Seen) -> tuple[Text, ...]:
    """Cells of an attribute; the last two are the verdict's lowest and highest change, whatever were said."""
    said = Text(f"{_sign(one.polarity)} {_placed(one.said.phrase, one.said.place)}")
    measured = Text(
        "-" if one.measured is None else one.measured.phrase, style="bold red" if one.differs else ""
    )
    if one.differs:
        measured.append("  differs")
    changes = [change.change for change in one.what_if]
    ends = (
        f"{end:+.2f}" if round(end, 2) * side > 0 else ""
        for end, side in ((min(changes), -1), (max(changes), 1))
    )
    return Text(f"  {label(one.attribute)}"), said, measured, *map(Text, ends)


def _sign(polarity: int) -> str:
    return {1: "+", -1: "-"}.get(polarity, " ")


def _placed(phrase: str, place: str | None) -> str:
    return one_line(phrase if place is None else f"{phrase} ({place})")


def _grid(explanation: Explanation) -> Text:
    """The map as coloured blocks, and its scale."""
    grid = Text()
    for row in explanation.quality_map:
        grid.append("  ")
        for quality in row:
            grid.append("    ", style=f"on {hexadecimal(float(quality))}")
        grid.append("\n")
    scale = Text("  bad ")
    for quality in (1, 2, 3, 4, 5):
        ink = "white" if quality in (1, 5) else "black"
        scale.append(f" {quality} ", style=f"{ink} on {hexadecimal(quality)}")
    scale.append(" excellent")
    return grid + scale
