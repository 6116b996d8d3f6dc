"""A benchmark from its file to its report, going on where it stopped."""

from __future__ import annotations

from foveal.evaluation.benchmark.document import Plot
from foveal.evaluation.benchmark.gmad_sheet import gmad_sheet, gmad_table
from foveal.evaluation.benchmark.long_table import long_table
from foveal.evaluation.benchmark.markdown import to_markdown
from foveal.evaluation.benchmark.outcome import Outcome, gather
from foveal.evaluation.benchmark.page import to_html
from foveal.evaluation.benchmark.plan import Cell
from foveal.evaluation.benchmark.prepared import Prepared
from foveal.evaluation.benchmark.store import Store
from foveal.evaluation.benchmark.telling import Telling
from foveal.evaluation.benchmark.whole_report import SHEET, report_of
from foveal.evaluation.benchmark.work import compute
from foveal.pipeline.files import WriterLock


def run(prepared: Prepared, telling: Telling | None = None) -> tuple[Outcome, dict[Cell, str]]:
    """Compute what is missing, and write the report.

    Called again after an interruption it goes on there. Whatever is stored already is in the report, chosen
    or not.

    Args:
        prepared: from :func:`foveal.evaluation.benchmark.prepared.prepare`.
        telling: whom to tell of the work.

    Returns:
        All results, and the reason for each cell that failed.

    Raises:
        OutputError: the folder holds other things, or another process writes it, or it cannot be written.
        MissingExtraError: SciPy is not installed.
    """
    store = prepared.store
    store.claim()
    lock = WriterLock(store.folder / "benchmark")
    try:
        failed = compute(prepared, telling)
        outcome = gather(prepared, failed)
        _write(outcome, store)
    finally:
        lock.release()
    return outcome, failed


def _write(outcome: Outcome, store: Store) -> None:
    """Write the whole report: report.md, report.html, results.csv, plots/ and gmad/."""
    whole = report_of(outcome)
    for section in whole.sections:
        for exhibit in section.exhibits:
            if isinstance(exhibit, Plot):
                store.write(exhibit.name, exhibit.svg)
    target, side = outcome.benchmark.run.target, outcome.benchmark.gmad.side
    for name, arena in outcome.arenas.items():
        store.write(SHEET.format(name), gmad_sheet(arena, outcome.sets[name], target=target, side=side))
    if outcome.arenas:
        store.write("gmad/duels.csv", gmad_table(outcome.arenas, outcome.sets, target).to_csv())
    store.write("results.csv", long_table(outcome).to_csv())
    store.write("report.md", to_markdown(whole))
    store.write("report.html", to_html(whole))
