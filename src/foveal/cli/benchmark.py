"""``foveal benchmark``: assessors by rating sets, from one file to a report."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from foveal.evaluation.benchmark.outcome import Outcome
    from foveal.evaluation.benchmark.prepared import Prepared

SOME_FAILED = 1
"""Exit code when there are cells that could not be computed."""

EXAMPLES = """\b
Examples:
  foveal benchmark mine.toml --dry-run
  foveal benchmark mine.toml --out results
  foveal benchmark mine.toml --only compact/koniq --only 'glia/*'
"""


@click.command(epilog=EXAMPLES)
@click.argument("file", type=click.Path(dir_okay=False), metavar="FILE")
@click.option(
    "--out",
    type=click.Path(file_okay=False),
    metavar="DIR",
    help="Folder of the results, in place of the one that FILE names.",
)
@click.option(
    "--only",
    multiple=True,
    metavar="ASSESSOR/SET",
    help="Compute only this; * stands for anything; repeatable. The report has all that is there.",
)
@click.option("--dry-run", is_flag=True, help="Say what would be computed, and stop.")
@click.pass_context
def benchmark(
    ctx: click.Context, *, file: str, out: str | None, only: tuple[str, ...], dry_run: bool
) -> None:
    """Compare assessors on rated sets, by a file.

    FILE is a TOML file with tables [sets.NAME], [assessors.NAME] and [run]; see docs/guide.md.
    Models score images, tables of ready scores are read, recipes are trained on the training part
    of each split. Every finished piece is stored at once: run the command again, and it goes on
    where it stopped. What has changed in FILE or in the images is computed again, nothing else.

    The folder gets report.html, report.md, results.csv, plots, and pictures of a competition
    (gMAD).

    Exit code: 0, or 1 if something could not be computed, 2 if the command could not run, 130
    after Ctrl-C.
    """
    from foveal.evaluation.benchmark.config import read_benchmark
    from foveal.evaluation.benchmark.prepared import prepare
    from foveal.evaluation.benchmark.run import run
    from foveal.evaluation.benchmark.telling import Telling

    said = Telling(said=lambda text: click.echo(text, err=True))
    prepared = prepare(read_benchmark(file), out=out, only=only, telling=said)
    _announce(prepared)
    if dry_run:
        _explain(prepared)
        return
    with _progress() as tell:
        try:
            outcome, failed = run(prepared, Telling(_line, tell))
        except KeyboardInterrupt:
            click.echo("foveal: interrupted; finished cells are stored, run again to go on", err=True)
            raise
    _summarise(outcome, prepared)
    ctx.exit(SOME_FAILED if failed else 0)


def _line(text: str) -> None:
    from foveal.cli.text import one_line

    click.echo(one_line(text))


def _announce(prepared: Prepared) -> None:
    chosen, missing = len(prepared.chosen), len(prepared.missing())
    click.echo(f"{chosen:,} cells: {chosen - missing:,} are stored, {missing:,} to compute")


def _explain(prepared: Prepared) -> None:
    """A line for each assessor and set: how much of it is there."""
    from foveal.evaluation.tables import Table

    missing = set(prepared.missing())
    counts: dict[str, list[int]] = {}
    for cell in prepared.chosen:
        of = counts.setdefault(str(cell.line), [0, 0])
        of[0] += 1
        of[1] += cell in missing
    rows = [(line, cells, cells - lacking, lacking) for line, (cells, lacking) in counts.items()]
    click.echo(Table(("line", "cells", "stored", "to compute"), tuple(rows)).to_text(), nl=False)
    for key, reason in prepared.plan.refused.items():
        _line(f"refused: {key}: {reason}")
    for name, rated in prepared.sets.items():
        for warning in rated.warnings:
            _line(f"warning: {name}: {warning}")


def _summarise(outcome: Outcome, prepared: Prepared) -> None:
    """Warnings, the figures of each set, and where the report is."""
    from foveal.evaluation.benchmark.summary import summary

    for warning in outcome.warnings():
        _line(f"warning: {warning}")
    for heading, table in summary(outcome):
        click.echo(f"\n{heading}\n{table.to_text()}", nl=False)
    absent = len(outcome.absent)
    more = f" ({absent} line{'s' if absent > 1 else ''} without figures: see there)" if absent else ""
    click.echo()
    _line(f"report: {prepared.store.folder / 'report.html'}{more}")


@contextmanager
def _progress() -> Iterator[Callable[[str, int, int], None]]:
    """A bar on standard error where it is a terminal, for the cell at work."""
    import sys

    if not sys.stderr.isatty():
        yield lambda what, done, total: None
        return
    from foveal.cli.progress import make_bar

    bar = make_bar()
    with bar:
        task = bar.add_task("")
        before = ("", 0)

        def tell(what: str, done: int, total: int) -> None:
            nonlocal before
            # Another kind of work, or the next cell's: its time left counts from now.
            if what != before[0] or done < before[1]:
                bar.reset(task, description=what)
            bar.update(task, completed=done, total=total)
            before = (what, done)

        yield tell
