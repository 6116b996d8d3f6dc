"""``foveal score --engine ray``: its options, and what it shows."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, TypeVar

import click

from foveal.cli.native_output import native_errors_held_back

if TYPE_CHECKING:
    from foveal.cli.report import Report
    from foveal.pipeline.receipts import Receipt
    from foveal.pipeline.rows import Row

ENGINE = "ray"
"""What ``--engine`` says for a cluster."""

_FAILURES_SHOWN = 10
# Ray Data starts workers in a way that Ray itself reports as an error, once a run.
_MEANINGLESS = ("github.com/ray-project/ray/issues/53727",)
_OPTIONS = ("ray_address", "workers", "partition_size")
_LEFT_OUT = {
    "as_json": "--json",
    "below": "--below",
    "top": "--top",
    "report": "--report",
}
_Command = TypeVar("_Command", bound=Callable[..., Any])


def cluster_options(command: _Command) -> _Command:
    """The options that only a cluster has."""
    for option in (
        click.option(
            "--partition-size",
            type=click.IntRange(min=1),
            metavar="N",
            help="With --engine ray: images in a partition; by default 1000.",
        ),
        click.option(
            "--workers",
            type=click.IntRange(min=1),
            metavar="N",
            help="With --engine ray: processes; by default as many as there are CPUs for.",
        ),
        click.option(
            "--ray-address",
            metavar="ADDRESS",
            help="With --engine ray: the cluster; by default RAY_ADDRESS, or this machine.",
        ),
    ):
        command = option(command)
    return command


@dataclass(frozen=True, slots=True)
class _Wanted:
    """Options of the same names."""

    paths: tuple[str, ...]
    out: str
    resume: bool
    overwrite: bool
    model: str | None
    prompt: str | None
    no_prompt: bool
    device: str
    threads: int | None
    max_pixels: int | None
    ray_address: str | None
    workers: int | None
    partition_size: int | None


def refuse_cluster_options(options: Mapping[str, Any]) -> None:
    """Complain of options that go with a cluster only.

    Raises:
        click.UsageError: there is one.
    """
    for name in _OPTIONS:
        if options[name] is not None:
            raise click.UsageError(f"--{name.replace('_', '-')} goes with --engine {ENGINE} only")


def score_on_cluster(options: Mapping[str, Any]) -> int:
    """Score everything and show a summary; give the number of failures.

    Args:
        options: all of ``foveal score``, by name.

    Raises:
        click.UsageError: options are missing or do not go together.
        FovealError: see :func:`foveal.pipeline.ray.score_dataset`.
    """
    _check(options)
    wanted = _Wanted(**{field.name: options[field.name] for field in fields(_Wanted)})
    with ExitStack() as stack:
        stack.enter_context(native_errors_held_back(_MEANINGLESS))
        shown = _Shown(stack)
        try:
            _run(wanted, shown)
        except KeyboardInterrupt:
            click.echo(
                f"foveal: interrupted after {shown.images:,} images; finished partitions are kept, "
                "add --resume to go on",
                err=True,
            )
            raise
    shown.close(wanted.out)
    return shown.summary.failed


def _check(options: Mapping[str, Any]) -> None:
    for name, option in _LEFT_OUT.items():
        if options[name] is not None and options[name] is not False:
            raise click.UsageError(
                f"{option} does not go with --engine {ENGINE}; read the partitions instead"
            )
    if options["prompt_table"] is not None:
        raise click.UsageError(
            f"--prompts does not go with --engine {ENGINE}; give PATHS a table with both columns"
        )
    if not options["out"]:
        raise click.UsageError(f"--engine {ENGINE} needs --out: a folder or URL for the partitions")


def _run(wanted: _Wanted, shown: _Shown) -> None:
    from foveal.imaging.limits import Limits
    from foveal.pipeline.ray import PARTITION_SIZE, Fleet, score_dataset

    score_dataset(
        wanted.paths,
        wanted.out,
        model=wanted.model,
        address=wanted.ray_address,
        fleet=Fleet(workers=wanted.workers, threads=wanted.threads or 1, device=wanted.device),
        partition_size=wanted.partition_size or PARTITION_SIZE,
        prompt="" if wanted.no_prompt else wanted.prompt,
        resume=wanted.resume,
        overwrite=wanted.overwrite,
        limits=None if wanted.max_pixels is None else Limits(max_pixels=wanted.max_pixels),
        watcher=shown,
    )


class _Bar:
    """Listing, then scoring, on standard error."""

    def __init__(self, stack: ExitStack) -> None:
        from foveal.cli.progress import make_bar

        self._bar = stack.enter_context(make_bar())
        self._task = self._bar.add_task("listing", total=None)

    def planned(self, images: int) -> None:
        self._bar.reset(self._task, total=images, description="scoring")

    def advance(self, images: int) -> None:
        self._bar.advance(self._task, images)


class _Shown:
    """A bar while it goes on; at the end what ``foveal score`` shows, from what the workers report.

    Args:
        stack: ends the bar.
    """

    def __init__(self, stack: ExitStack) -> None:
        from foveal.pipeline.step_summary import StepSummary

        self.summary = StepSummary()
        self.images = 0
        self._bar = _Bar(stack) if sys.stderr.isatty() else None
        self._partitions = self._kept = 0
        self._report = self._terminal_report()
        self._failed: list[Row] = []

    def planned(self, partitions: int, images: int) -> None:
        """All is listed."""
        if self._bar is not None:
            self._bar.planned(images)

    def received(self, receipt: Receipt) -> None:
        """Take a partition into account."""
        entry = receipt.entry
        if entry is None:
            return
        self._partitions += 1
        self._kept += receipt.kept
        self.images += entry.rows
        self.summary.add(receipt.steps, entry.failures)
        for row in receipt.notable:
            self._take(row)
        if self._bar is not None:
            self._bar.advance(entry.rows)

    def close(self, out: str) -> None:
        """Show what there is to say at the end."""
        from foveal.cli.text import one_line

        if self._report is not None:
            self._report.close()
        else:
            self._complain()
        before = f", {self._kept:,} of them from before" if self._kept else ""
        click.echo(
            f"foveal: {self.summary.scored:,} scored, {self.summary.failed:,} failed, in "
            f"{self._partitions:,} partitions{before}: {one_line(out)}",
            err=True,
        )

    def _take(self, row: Row) -> None:
        if self._report is not None:
            self._report.add(row, None)
        elif row.quality is None and len(self._failed) < _FAILURES_SHOWN:
            self._failed.append(row)

    def _complain(self) -> None:
        from foveal.cli.text import one_line

        for row in self._failed:
            click.echo(f"foveal: {one_line(row.source)}: {one_line(row.error or '')}", err=True)
        hidden = self.summary.failed - len(self._failed)
        if hidden:
            click.echo(f"foveal: ... and {hidden:,} more failed; their rows say why", err=True)

    def _terminal_report(self) -> Report | None:
        if not sys.stdout.isatty():
            return None
        from rich.console import Console

        from foveal.cli.report import Report

        return Report(Console(), self.summary, None, None)
