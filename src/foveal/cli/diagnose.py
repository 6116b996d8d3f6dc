"""``foveal diagnose``: how a vision-language model reasons about quality."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from foveal.cli.rated_table import RatedTable, described, read_table, table_options

if TYPE_CHECKING:
    from foveal.lab.reasoning.diagnosis.diagnose import DiagnoseConfig, Diagnosis
    from foveal.ratings.table import Ratings

EXAMPLES = """\b
Examples:
  foveal diagnose runs/reasoning ratings.csv --low 1 --high 5 --out diagnosis/
  foveal diagnose SmolVLM-256M-Instruct/ BIQ2021/ --dataset biq2021 --out smol/ --levels q-instruct
"""


@click.command(epilog=EXAMPLES)
@click.argument("model", type=click.Path())
@table_options
@click.option(
    "--out",
    type=click.Path(),
    metavar="DIR",
    required=True,
    help="A new folder for the page (report.html), all figures (JSON), tables and plots.",
)
@click.option(
    "--part",
    type=click.Choice(["test", "validation", "train", "all"]),
    help="Images to ask about; by default test where the ratings are split, else all.",
)
@click.option(
    "--split",
    type=click.Path(dir_okay=False),
    metavar="FILE",
    help="A split file that names the images of --part, such as recipes/biq2021-validation.json.",
)
@click.option(
    "--leave-out",
    type=click.Path(dir_okay=False),
    metavar="FILE",
    help="Images not to ask about, such as near copies of training images; as for 'foveal evaluate'.",
)
@click.option(
    "--limit",
    type=click.IntRange(min=2),
    metavar="N",
    help="Images at most, drawn at random; by default 720.",
)
@click.option(
    "--samples",
    type=click.IntRange(min=2),
    default=5,
    metavar="K",
    help="Answers to each image; by default 5.",
)
@click.option(
    "--levels",
    type=click.Choice(["q-align", "q-bench", "q-instruct"]),
    default="q-align",
    help="Words of the verdict; by default those of Q-Align, excellent to bad.",
)
@click.option(
    "--batch",
    type=click.IntRange(min=1),
    default=32,
    metavar="N",
    help="Images and questions at a time; by default 32. Draws depend on it.",
)
@click.option(
    "--seed", type=click.IntRange(min=0), default=0, metavar="N", help="Of all draws; by default 0."
)
@click.option(
    "--device", default="cpu", metavar="NAME", help="Where the model runs, such as cuda; by default cpu."
)
@click.option(
    "--dtype",
    type=click.Choice(["float32", "bfloat16", "float16"]),
    default="float32",
    help="Numbers it computes in; by default float32.",
)
def diagnose(
    model: str,
    *,
    out: str,
    part: str | None,
    split: str | None,
    leave_out: str | None,
    limit: int | None,
    samples: int,
    levels: str,
    batch: int,
    seed: int,
    device: str,
    dtype: str,
    **ratings: Any,
) -> None:
    """Diagnose how a vision-language model reasons about quality.

    MODEL is an image-text-to-text model as transformers has it, a folder or a name on the Hub
    (owner/model), which is then asked in one stage (image to description and verdict) and in two (image
    to description, description alone to verdict); or a run with folders one-stage, and describe and
    judge. RATINGS are as for 'foveal evaluate'. Images that cannot be read are left out and named.

    You get: is the verdict the same when asked again; does it follow from the description; does it
    move, and rightly, when one attribute of the description is edited; what each layer would say; what
    the verdict attends to; and agreement with people.
    """
    table = described(ratings)
    if table.dataset is None and (table.low is None or table.high is None):
        raise click.UsageError(
            "state what the ratings mean: --low and --high, the ends of their scale (and --lower-is-better), "
            "or --dataset for a known set"
        )
    from foveal.cli.text import one_line
    from foveal.evaluation.folder import refuse_existing
    from foveal.lab.reasoning.diagnosis.diagnose import IMAGES, DiagnoseConfig

    refuse_existing(out)
    config = DiagnoseConfig(samples=samples, batch=batch, seed=seed)
    rated = _rated(table, part, split, leave_out)
    found = _diagnose(model, rated, config, limit or IMAGES, levels, device=device, dtype=dtype)
    from foveal.lab.reasoning.diagnosis.files import write_diagnosis
    from foveal.lab.reasoning.diagnosis.summary import summary_table

    written = write_diagnosis(out, found)
    click.echo(summary_table(found).to_text(), nl=False)
    for name, reason in found.unreadable.items():
        click.echo(f"foveal: left out {one_line(name)}: {one_line(reason)}", err=True)
    click.echo(f"{out}: {', '.join(written)}")


def _rated(table: RatedTable, part: str | None, split: str | None, leave_out: str | None) -> Ratings:
    whole = read_table(table, table.low, table.high)
    if split is not None:
        from foveal.ratings.splits import read_split

        whole = read_split(split).apply(whole)
    if part is None:
        part = "test" if "test" in whole.split else "all"
    chosen = whole if part == "all" else whole.part(part)
    if leave_out is None:
        return chosen
    from foveal.evaluation.leave_out import read_leave_out

    without = frozenset(read_leave_out(leave_out))
    return chosen.take(chosen.indices([name for name in chosen.names if name not in without]))


def _diagnose(
    model: str,
    ratings: Ratings,
    config: DiagnoseConfig,
    images: int,
    levels: str,
    **where: str,
) -> Diagnosis:
    from pathlib import Path

    from foveal.cli.text import one_line
    from foveal.lab.reasoning.diagnosis.diagnose import diagnose as run
    from foveal.lab.reasoning.diagnosis.load import load_reasoners
    from foveal.lab.reasoning.levels import LEVELS

    reasoners = load_reasoners(model, LEVELS[levels], batch=config.batch, **where)
    name = one_line(Path(model).resolve().name)
    with _progress() as tell:
        return run(reasoners, ratings, config, images=images, model=name, tell=tell)


@contextmanager
def _progress() -> Iterator[Callable[[str, int, int], None]]:
    """A bar on standard error where it is a terminal."""
    if not sys.stderr.isatty():
        yield lambda what, done, total: None
        return
    from foveal.cli.progress import make_bar

    bar = make_bar()
    task = bar.add_task("asking", total=None)
    with bar:
        yield lambda what, done, total: bar.update(task, description=what, completed=done, total=total)
