"""Options that several commands share, word for word."""

from __future__ import annotations

import click

device_option = click.option(
    "--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", help="Where it runs."
)
threads_option = click.option(
    "--threads", type=click.IntRange(min=1), metavar="N", help="Images at once; by default one for each CPU."
)
max_pixels_option = click.option(
    "--max-pixels",
    type=click.IntRange(min=1),
    metavar="N",
    help="Refuse larger images; by default 200 million.",
)
