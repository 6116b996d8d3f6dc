"""Which table of ratings a command is about: options that several commands share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from foveal.ratings.table import Ratings

_Command = TypeVar("_Command", bound=Callable[..., Any])
_HEADINGS = {
    "image": "Column of the images; by default image, in a folder file_name.",
    "score": "Column of people's mean score; by default mos.",
    "group": "Column of what a split must not separate.",
    "subset": "Column of subsets to report one by one.",
    "split": "Column that holds train, validation or test.",
    "prompt": "Column of the text that an image was made from.",
}


@dataclass(frozen=True, slots=True)
class RatedTable:
    """What the ratings are and what they mean; see the options of the same names."""

    path: str
    dataset: str | None
    images: str | None
    drop_missing: bool
    low: float | None
    high: float | None
    lower_is_better: bool
    columns: dict[str, str]


def table_options(command: _Command) -> _Command:
    """Add the argument RATINGS and the options that say what it is; :func:`described` takes their values."""
    options = [
        click.argument("path", metavar="RATINGS", type=click.Path()),
        click.option(
            "--dataset", metavar="NAME", help="RATINGS is the folder of a known set, such as biq2021."
        ),
        click.option("--images", metavar="DIR", type=click.Path(), help="Where the images lie."),
        click.option("--drop-missing", is_flag=True, help="Leave out rated images that are not on disk."),
        click.option("--low", type=float, metavar="X", help="Lower end of the scale that people rated on."),
        click.option("--high", type=float, metavar="X", help="Upper end of that scale."),
        click.option(
            "--lower-is-better", is_flag=True, help="The ratings are differences to a reference (DMOS)."
        ),
        *(click.option(f"--column-{name}", metavar="HEADING", help=text) for name, text in _HEADINGS.items()),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def described(values: Mapping[str, Any]) -> RatedTable:
    """The table from the values of :func:`table_options`.

    Raises:
        click.UsageError: scale or columns of a known set are stated again.
    """
    columns = {name: values[f"column_{name}"] for name in _HEADINGS if values[f"column_{name}"] is not None}
    others = {name: value for name, value in values.items() if not name.startswith("column_")}
    table = RatedTable(**others, columns=columns)
    stated = table.low is not None or table.high is not None or table.lower_is_better
    if table.dataset is not None and (stated or table.columns):
        raise click.UsageError(
            f"scale and columns of {table.dataset} are known; leave --low, --column-... out"
        )
    return table


def read_table(table: RatedTable, low: float | None, high: float | None) -> Ratings:
    """Read the ratings.

    Args:
        table: what they are.
        low: lower end of the scale; None for a known set.
        high: its upper end.

    Raises:
        RatingsError: they cannot be read.
    """
    from pathlib import Path

    from foveal.cli.text import one_line
    from foveal.ratings.own_table import Columns
    from foveal.ratings.sources import read_ratings
    from foveal.ratings.table import DatasetCard

    card = columns = None
    if low is not None and high is not None:
        name = one_line(Path(table.path).resolve().stem)
        card = DatasetCard(name, low, high, not table.lower_is_better)
        heading = table.columns.get
        columns = Columns(
            image=heading("image"),
            scores={"quality": heading("score", "mos")},
            group=heading("group"),
            prompt=heading("prompt"),
            subset=heading("subset"),
            split=heading("split"),
        )
    return read_ratings(
        table.path,
        dataset=table.dataset,
        images=table.images,
        card=card,
        columns=columns,
        missing="drop" if table.drop_missing else "error",
    )
