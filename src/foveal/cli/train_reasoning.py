"""``foveal train`` on recipes of two-stage reasoning."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from foveal.cli.train import explained, progress


def train_reasoning(
    recipe: str, changes: Mapping[str, Any], *, out: str, cache: str | None, check: bool
) -> None:
    """Follow a recipe, or with ``check`` read it, its ratings and its model only."""
    from foveal.lab.reasoning.recipe import read_reasoning_recipe
    from foveal.lab.reasoning.run import check_recipe
    from foveal.lab.reasoning.run import train_reasoning as run

    read = read_reasoning_recipe(recipe, changes)
    with explained(), progress() as tell:
        if check:
            click.echo(check_recipe(read))
            return
        figures = run(read, Path(out), cache=None if cache is None else Path(cache), tell=tell)
    for name, values in figures.items():
        told = ", ".join(f"{figure} {_shown(value)}" for figure, value in values.items())
        click.echo(f"{name}: validation {told}")
    click.echo(f"models: {out}; foveal diagnose {out} RATINGS tests them")


def _shown(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.4f}"
