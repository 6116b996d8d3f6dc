"""``foveal train``: train an assessor on ratings, by a recipe."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from foveal.errors import FovealError

if TYPE_CHECKING:
    from foveal.lab.models.base import QualityModel
    from foveal.lab.training.prepare import Parts
    from foveal.lab.training.recipe import Recipe

EXAMPLES = """\b
Examples:
  foveal train recipe.toml --out runs/mine
  foveal train recipe.toml --out runs/mine --set training.epochs=3 --set ratings.path=scores.csv
  accelerate launch --num_processes 2 -m foveal train recipe.toml --out runs/mine
"""


@click.command(epilog=EXAMPLES)
@click.argument("recipe", type=click.Path(dir_okay=False))
@click.option(
    "--out",
    required=True,
    type=click.Path(file_okay=False),
    metavar="FOLDER",
    help="Where checkpoint, log and model go. Named again, an interrupted run goes on.",
)
@click.option(
    "--set", "changes", multiple=True, metavar="FIELD=VALUE", help="Change a field of the recipe, as in TOML."
)
@click.option(
    "--log", type=click.Choice(["csv", "tensorboard", "both"]), default="csv", help="Kind of log in FOLDER."
)
@click.option(
    "--cache",
    type=click.Path(),
    metavar="PATH",
    help="Cache of frozen features: a file; of reasoning recipes, a folder.",
)
@click.option("--cpu", is_flag=True, help="Stay on the CPU where there is a GPU.")
@click.option("--check", is_flag=True, help="Read recipe, ratings and backbone, count parameters, and stop.")
def train(
    recipe: str, *, out: str, changes: tuple[str, ...], log: Any, cache: str | None, cpu: bool, check: bool
) -> None:
    """Train an assessor on people's ratings of images.

    RECIPE is a TOML file that names ratings, backbone and model; see recipes/ and docs/guide.md. The epoch
    that is best on the validation part is kept, and its interval calibrated there. A recipe with a table
    [small] or [large] makes or tunes a vision-language model that describes and judges instead; see
    docs/reasoning.md.
    """
    if _is_reasoning(recipe):
        from foveal.cli.train_reasoning import train_reasoning

        train_reasoning(recipe, _changes(changes), out=out, cache=cache, check=check)
        return
    read = _read(recipe, changes)
    from pathlib import Path

    from foveal.lab.training.fit import CHECKPOINT
    from foveal.lab.training_run import Telling
    from foveal.lab.training_run import train as run

    if check:
        with explained():
            _check(read)
        return
    if (Path(out) / CHECKPOINT).exists() and _is_first_process():
        click.echo(f"{out}: going on with the run that was begun there")
    with explained(), progress() as tell:
        done = run(
            read,
            folder=out,
            cache=cache,
            log=log,
            cpu=cpu,
            telling=Telling(
                step=lambda step, steps, what: tell("training", step, steps, what),
                features=lambda step, steps: tell("features", step, steps, ""),
                ready=_describe,
            ),
        )
    if not _is_first_process():
        return
    figures = ", ".join(f"{name.upper()} {value:.4f}" for name, value in done.result.validation.items())
    click.echo(f"best of {len(done.result.epochs)} epochs: {done.result.best}; validation {figures}")
    for target, calibration in done.model.record.calibration.items():
        click.echo(
            f"{target}: 90 % interval of {calibration.factor:.3f} x spread, calibrated on "
            f"{calibration.count} images"
        )
    click.echo(f"model: {done.folder}")


def _read(path: str, changes: tuple[str, ...]) -> Recipe:
    from foveal.lab.training.recipe import read_recipe

    return read_recipe(path, _changes(changes))


def _is_reasoning(path: str) -> bool:
    """Whether the recipe is one of two-stage reasoning; files that cannot be read are told of later."""
    import tomllib
    from pathlib import Path

    try:
        values = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return "small" in values or "large" in values


def _changes(changes: tuple[str, ...]) -> dict[str, Any]:
    from foveal.lab.training.changes import parse_changes

    try:
        return parse_changes(changes)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--set") from error


def _check(recipe: Recipe) -> None:
    from foveal.lab.training.prepare import divide, load_backbones, load_ratings, make_model

    parts = divide(load_ratings(recipe.ratings, recipe.folder), recipe.split, recipe.folder)
    _describe(make_model(recipe, *load_backbones(recipe)), parts)


def _describe(model: QualityModel, parts: Parts) -> None:
    from foveal.lab.models.base import summarise_parameters

    if not _is_first_process():
        return
    counts = summarise_parameters(model)
    inside = ", ".join(f"{name} {count:,}" for name, count in counts["parts"].items())
    click.echo(f"trainable parameters: {counts['trainable']:,} ({inside}); frozen: {counts['frozen']:,}")
    test = 0 if parts.test is None else len(parts.test)
    click.echo(
        f"images: {len(parts.train):,} to train, {len(parts.validation):,} to validate, "
        f"{test:,} kept for the report"
    )


def _is_first_process() -> bool:
    import os

    return os.environ.get("RANK", "0") == "0"


@contextmanager
def explained() -> Iterator[None]:
    """Make what a user can do wrong an error of one line: too few images, a backbone that does not fit."""
    try:
        yield
    except (ValueError, FloatingPointError, OSError) as error:
        raise FovealError(str(error)) from error


@contextmanager
def progress() -> Iterator[Callable[[str, int, int, str], None]]:
    """Bars on standard error where it is a terminal."""
    import sys

    if not (sys.stderr.isatty() and _is_first_process()):
        yield lambda name, step, steps, what: None
        return
    from rich import progress as rich_progress

    from foveal.cli.progress import make_bar

    bar = make_bar(rich_progress.TextColumn("{task.fields[what]}"), transient=False)
    tasks: dict[str, rich_progress.TaskID] = {}

    def tell(name: str, step: int, steps: int, what: str) -> None:
        if name not in tasks:
            tasks[name] = bar.add_task(name, total=steps, what=what)
        bar.update(tasks[name], completed=step, total=steps, what=what)

    with bar:
        yield tell
