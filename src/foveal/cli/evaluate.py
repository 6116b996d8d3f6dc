"""``foveal evaluate``: how well assessors agree with people's ratings."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from foveal.cli.rated_table import RatedTable, described, read_table, table_options

if TYPE_CHECKING:
    from foveal.assessor import Assessor
    from foveal.evaluation.scores import Scores
    from foveal.evaluation.study import Study
    from foveal.ratings.table import Ratings

EXAMPLES = """\b
Examples:
  foveal evaluate ratings.csv --low 0 --high 100
  foveal evaluate BIQ2021/ --dataset biq2021 --leave-out BIQ2021/test-neighbours.csv --out report/
  foveal evaluate ratings.csv --low 1 --high 5 --scores ours.csv --scores theirs.csv
"""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be said of them; see the options of the same names."""

    part: str | None
    leave_out: str | None
    near_above: float
    splits: int | None
    seed: int
    out: str | None


@click.command(epilog=EXAMPLES)
@table_options
@click.option(
    "--model",
    "models",
    metavar="NAME|FILE",
    multiple=True,
    help="A shipped assessor or a model file; repeatable. By default the one that 'foveal score' uses.",
)
@click.option(
    "--scores",
    "tables",
    metavar="FILE",
    type=click.Path(),
    multiple=True,
    help="A table of ready scores, such as 'foveal score --out' writes: columns image (or source) and "
    "quality; repeatable.",
)
@click.option(
    "--part",
    type=click.Choice(["test", "validation", "train", "all"]),
    help="Images to evaluate on; by default test where the ratings are split, else all.",
)
@click.option(
    "--leave-out",
    type=click.Path(),
    metavar="FILE",
    help="Images that are not clean, for figures without them: names, one a line; a table with a column "
    "image; or BIQ2021's test-neighbours.csv.",
)
@click.option(
    "--near-above",
    type=click.FloatRange(-1, 1),
    default=0.9,
    metavar="X",
    help="With test-neighbours.csv: leave out images of greater similarity; by default 0.9.",
)
@click.option(
    "--splits",
    type=click.IntRange(min=2),
    metavar="N",
    help="Also report the test parts of N random grouped splits of these images (80/20).",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    metavar="N",
    help="Of splits and bootstrap; by default 0.",
)
@click.option(
    "--out",
    type=click.Path(),
    metavar="DIR",
    help="A new folder for the report, its tables, scores and plots.",
)
def evaluate(
    *,
    models: tuple[str, ...],
    tables: tuple[str, ...],
    part: str | None,
    leave_out: str | None,
    near_above: float,
    splits: int | None,
    seed: int,
    out: str | None,
    **ratings: Any,
) -> None:
    """Measure how well an assessor agrees with people.

    RATINGS is a table of images and mean opinion scores (CSV, TSV, JSON lines, Parquet, XLSX), a
    folder with such a metadata file, or with --dataset the folder of a known set.

    You get SRCC, KRCC, PLCC and RMSE with bootstrap intervals, on all images, on the clean part and
    in each subset. Scores are taken as higher is better: a negative correlation is a wrong
    direction. Of several assessors, each is tested against the first (models come before tables).

    Exit code: 0, 2 if the command could not run, 130 after Ctrl-C.
    """
    table = described(ratings)
    if table.dataset is None and (table.low is None or table.high is None):
        raise click.UsageError(
            "state what the ratings mean: --low and --high, the ends of their scale (and --lower-is-better), "
            "or --dataset for a known set; range and direction cannot be guessed from the numbers"
        )
    study = _study(table, models, tables, Wanted(part, leave_out, near_above, splits, seed, out))
    click.echo(study.to_text(), nl=False)
    if out is not None:
        from foveal.evaluation.folder import write_folder

        write_folder(out, study.files())


def _study(table: RatedTable, models: Sequence[str], tables: Sequence[str], wanted: Wanted) -> Study:
    """Refuse what can be refused, then score, then evaluate."""
    from foveal.errors import RatingsError
    from foveal.evaluation.folder import refuse_existing
    from foveal.evaluation.parts import check_parts
    from foveal.evaluation.study import evaluate as evaluate_scores
    from foveal.evaluation.study import require_extras

    require_extras(plots=wanted.out is not None)
    if wanted.out is not None:
        refuse_existing(wanted.out)
    whole = read_table(table, table.low, table.high)
    chosen, title = _choose(whole, wanted.part, table.drop_missing)
    leave_out = _leave_out(whole, chosen, wanted, table.drop_missing)
    check_parts(chosen, leave_out)
    scores = _scores(whole, chosen, models, tables)
    try:
        return evaluate_scores(
            chosen, scores, title=title, leave_out=leave_out, splits=wanted.splits or 0, seed=wanted.seed
        )
    except ValueError as error:
        raise RatingsError(str(error)) from error


def _choose(whole: Ratings, part: str | None, drop_missing: bool) -> tuple[Ratings, str]:
    """The images to evaluate on, and what to call them."""
    if part is None:
        part = "test" if "test" in whole.split else "all"
    chosen = whole if part == "all" else whole.part(part)
    dropped = " (those not on disk left out)" if drop_missing else ""
    which = "all" if part == "all" else f"part {part},"
    return chosen, f"{whole.card.name}: {which} {len(chosen):,} images{dropped}"


def _leave_out(whole: Ratings, chosen: Ratings, wanted: Wanted, drop_missing: bool) -> list[str]:
    """Names in the chosen part that are not clean."""
    from foveal.errors import RatingsError
    from foveal.evaluation.leave_out import read_leave_out

    if wanted.leave_out is None:
        return []
    names = read_leave_out(wanted.leave_out, near_above=wanted.near_above)
    if not drop_missing:
        whole.indices(names)  # refuses names that nobody rated: the list may belong to another set
    there = set(chosen.names)
    kept = [name for name in names if name in there]
    if not kept:
        raise RatingsError(
            f"{wanted.leave_out}: none of its {len(names)} images is among the {len(chosen)} evaluated; "
            "do without it, or choose another --part"
        )
    return kept


def _scores(whole: Ratings, chosen: Ratings, models: Sequence[str], tables: Sequence[str]) -> list[Scores]:
    """Ready tables are read first, as they may be refused; then models judge the images."""
    from dataclasses import replace

    import foveal
    from foveal.cli.text import one_line
    from foveal.evaluation.scores import read_scores

    ready = [replace(read_scores(path, chosen, known=whole), label=one_line(path)) for path in tables]
    names = list(models) or ([] if tables else [foveal.DEFAULT_MODEL])
    assessors = [foveal.load(name) for name in names]
    return [*_judged(names, assessors, chosen), *ready]


def _judged(names: Sequence[str], assessors: Sequence[Assessor], chosen: Ratings) -> list[Scores]:
    from dataclasses import replace

    from foveal.cli.progress import progress
    from foveal.cli.text import one_line
    from foveal.evaluation.scores import judge

    judged = []
    with progress(bool(assessors) and sys.stderr.isatty(), len(assessors) * len(chosen)) as advance:
        for name, assessor in zip(names, assessors, strict=True):
            scores = judge(assessor, chosen, advance)
            twin = [other.card.model for other in assessors].count(scores.label) > 1
            judged.append(replace(scores, label=f"{scores.label} ({one_line(name)})") if twin else scores)
    return judged
