"""``foveal models``: what is shipped, with the figures of its card."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from foveal.artifact.card import AspectSpec, Card


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print the whole cards as a JSON array.")
@click.option(
    "--model",
    "files",
    metavar="FILE",
    type=click.Path(),
    multiple=True,
    help="Show this model file instead; repeatable.",
)
def models(as_json: bool, files: tuple[str, ...]) -> None:
    """List the assessors that are shipped.

    For each: size, licence, what it was trained on, how well it agrees with people (SRCC is Spearman's rank
    correlation, 1 is perfect), and how often its interval holds.
    """
    from foveal.artifact.file import read_artifact
    from foveal.weights import available

    paths = [Path(file) for file in files] or list(available().values())
    cards = [(read_artifact(path).card, path.stat().st_size) for path in paths]
    if as_json:
        click.echo(json.dumps([_whole(card, size) for card, size in cards], indent=2))
    elif not cards:
        click.echo("no assessor is shipped with this installation; name a file with --model", err=True)
    for card, size in cards if not as_json else ():
        _show(card, size)


def _whole(card: Card, size: int) -> dict[str, Any]:
    return {**json.loads(card.to_json()), "bytes": size}


def _show(card: Card, size: int) -> None:
    from foveal.cli.text import one_line

    click.secho(one_line(card.model), bold=True)
    for label, value in _lines(card, size):
        click.echo(f"  {label:<12}{one_line(value)}")


def _aspect(named: tuple[str, AspectSpec]) -> str:
    name, spec = named
    return f"{name} (takes a prompt)" if spec.needs_prompt else name


def _lines(card: Card, size: int) -> list[tuple[str, str]]:
    calibration = card.calibration
    measured = (
        "not measured" if calibration.measured_coverage is None else f"{calibration.measured_coverage:.1%}"
    )
    return [
        ("", card.summary),
        ("size", f"{size / 1e6:.2f} MB"),
        ("licence", card.licence),
        *((("aspects", ", ".join(map(_aspect, sorted(card.aspects.items())))),) if card.aspects else ()),
        ("trained on", card.training_data),
        *(
            ("figure" if number == 0 else "", f"{label}: {figure:.3f}")
            for number, (label, figure) in enumerate(card.measured.items())
        ),
        ("interval", f"{calibration.coverage:.0%}, measured coverage {measured}"),
    ]
