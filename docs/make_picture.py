"""Draw the README's picture: what `foveal score examples` shows, as SVG. Run from the repository root."""

from __future__ import annotations

import io
from pathlib import Path

from rich.console import Console

import foveal
from foveal.cli.report import Report
from foveal.pipeline.discover import discover
from foveal.pipeline.rows import to_row
from foveal.pipeline.run import score_many
from foveal.pipeline.summary import Summary

WIDTH = 84


def main() -> None:
    """Score the examples with the shipped assessor and write docs/score.svg."""
    assessor = foveal.load()
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True)
    summary = Summary()
    listing = Report(console, summary, below=None, top=None)
    for result in score_many(assessor, discover(["examples"])):
        row = to_row(result, assessor.card.model)
        summary.add(row)
        listing.add(row, result)
    listing.close()
    Path("docs/score.svg").write_text(console.export_svg(title="foveal score examples"), encoding="utf-8")


if __name__ == "__main__":
    main()
