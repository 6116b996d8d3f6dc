"""A diagnosis as a folder: one page, all figures as JSON, tables of single images, plots."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

from foveal.errors import MissingExtraError, OutputError
from foveal.evaluation.folder import refuse_existing
from foveal.evaluation.tables import Cell, Table
from foveal.lab.reasoning.diagnosis.diagnose import Diagnosis
from foveal.lab.reasoning.diagnosis.exhibits import plots
from foveal.lab.reasoning.diagnosis.page import to_html
from foveal.lab.reasoning.diagnosis.tables import tables
from foveal.pipeline.parquet import printable, require_pyarrow

PAGE, FIGURES = "report.html", "diagnosis.json"


def write_diagnosis(folder: str | os.PathLike[str], diagnosis: Diagnosis) -> list[str]:
    """Write everything into a new folder, which is there as a whole or not at all.

    Args:
        folder: not there yet, or empty; folders above it are made.
        diagnosis: what was found.

    Returns:
        Names of the files: ``report.html``, which needs no other; ``diagnosis.json``; a table each, Parquet
        where pyarrow is installed, else CSV; and each plot of the page as SVG.

    Raises:
        OutputError: it is there already, or cannot be written.
    """
    target = Path(folder).absolute()
    refuse_existing(target)
    partial = target.with_name(f"{target.name}.partial-{os.getpid()}")
    try:
        partial.mkdir(parents=True)
        texts = {
            PAGE: to_html(diagnosis),
            FIGURES: json.dumps(diagnosis.to_dict(), indent=1, allow_nan=False) + "\n",
            **{f"{name}.svg": svg for name, svg in plots(diagnosis).items()},
        }
        for name, text in texts.items():
            (partial / name).write_text(text, encoding="utf-8", errors="backslashreplace", newline="\n")
        written = [_write_table(partial, name, table) for name, table in tables(diagnosis).items()]
        if target.exists():
            target.rmdir()
        partial.rename(target)
    except OSError as error:
        raise OutputError(f"{target}: cannot be written ({error.strerror or error})") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return [*texts, *written]


def _write_table(folder: Path, name: str, table: Table) -> str:
    try:
        arrow = require_pyarrow()
    except MissingExtraError:
        path = folder / f"{name}.csv"
        path.write_text(table.to_csv(), encoding="utf-8", errors="backslashreplace", newline="\n")
        return path.name
    path = folder / f"{name}.parquet"
    columns = {
        heading: [_plain(row[place]) for row in table.rows] for place, heading in enumerate(table.headings)
    }
    arrow.parquet.write_table(arrow.table(columns), path)
    return path.name


def _plain(cell: Cell) -> Cell:
    return printable(cell) if isinstance(cell, str) else cell
