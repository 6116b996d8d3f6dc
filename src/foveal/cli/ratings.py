"""``foveal ratings``: sets of rated images, whether a copy is complete, and what is odd about ratings."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from foveal.cli.lazy import CommandAt, LazyGroup

if TYPE_CHECKING:
    from foveal.ratings.sets.known import KnownSet

PROBLEMS = 1
"""Exit code for a copy that is not complete."""

EXAMPLES = """\b
Examples:
  foveal ratings list
  foveal ratings check koniq-10k KonIQ-10k/ --decode
"""

COMMANDS = {
    "list": CommandAt("foveal.cli.ratings:list_sets", "List the sets of rated images whose layout is known."),
    "check": CommandAt("foveal.cli.ratings:check", "Tell whether a copy of a known set is complete."),
    "audit": CommandAt("foveal.cli.ratings_audit:audit", "Find what the parts of a split have in common."),
}


@click.group(cls=LazyGroup, at=COMMANDS, epilog=EXAMPLES)
def ratings() -> None:
    """Check copies of known sets, audit ratings."""


@click.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array.")
def list_sets(as_json: bool) -> None:
    """List the sets of rated images whose layout is known.

    For each: how many images, its scores with range and direction, licence, layout and citation. The names
    are those that --dataset and `foveal ratings check` take.
    """
    from foveal.ratings.sets.registry import KNOWN_SETS

    if as_json:
        click.echo(json.dumps([_whole(known) for known in KNOWN_SETS], indent=2, ensure_ascii=False))
        return
    for known in KNOWN_SETS:
        click.secho(known.key, bold=True)
        for label, value in _lines(known):
            click.echo(f"  {label:<10}{value}")


@click.command()
@click.argument("name")
@click.argument("folder", metavar="DIR", type=click.Path())
@click.option(
    "--images", metavar="DIR", type=click.Path(), help="Where the images are, if not in their place."
)
@click.option("--decode", is_flag=True, help="Decode every image, not only its header; takes minutes.")
@click.option(
    "--threads", metavar="N", type=click.IntRange(min=1), help="Threads; by default one for each CPU."
)
@click.pass_context
def check(
    ctx: click.Context, *, name: str, folder: str, images: str | None, decode: bool, threads: int | None
) -> None:
    """Tell whether a copy of a known set is complete.

    NAME is one of `foveal ratings list`, DIR the folder that holds the label files. Says everything that is
    wrong at once: label files, number of rows, scores out of range, names that stand twice, and images that
    are missing, extra, empty or unreadable. Exit code: 0 for a complete copy, 1 for one with problems, 2 if
    the command could not run.
    """
    from foveal.cli.text import one_line
    from foveal.ratings.check import check_copy
    from foveal.ratings.sources import known_set

    found = check_copy(known_set(name), folder, images=images, decode=decode, workers=threads)
    for line in found.to_text().splitlines():
        click.echo(one_line(line))
    ctx.exit(0 if found.complete else PROBLEMS)


def _scores(known: KnownSet) -> list[dict[str, Any]]:
    scales = [(target, known.card.scale(target)) for target in known.targets]
    return [
        {"target": target, "low": scale.low, "high": scale.high, "higher_is_better": scale.higher_is_better}
        for target, scale in scales
    ]


def _whole(known: KnownSet) -> dict[str, Any]:
    card = known.card
    return {
        "name": known.key,
        "title": card.name,
        "images": known.size,
        "scores": _scores(known),
        "licence": card.licence,
        "layout": known.layout,
        "citation": card.citation,
        "note": card.note,
    }


def _lines(known: KnownSet) -> list[tuple[str, str]]:
    card = known.card
    scores = [
        f"{score['target']} {score['low']:g} to {score['high']:g}, "
        f"{'higher' if score['higher_is_better'] else 'lower'} is better"
        for score in _scores(known)
    ]
    return [
        ("images", f"{known.size:,}"),
        *(("score" if number == 0 else "", text) for number, text in enumerate(scores)),
        ("licence", card.licence),
        ("layout", known.layout),
        ("note", card.note),
        ("cite", card.citation),
    ]
