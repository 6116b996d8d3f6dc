"""A run over partitions, from lock to manifest; who does the work is for an executor to say."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from foveal.errors import ClusterError, OutputError, SourceError
from foveal.pipeline.lock import PACE, Pace, RunLock
from foveal.pipeline.manifest import MANIFEST, Entry, Run, check_origin, listed, manifest
from foveal.pipeline.part_files import part_name
from foveal.pipeline.receipts import Receipt
from foveal.pipeline.storage import Store


@dataclass(frozen=True, slots=True, order=True)
class Planned:
    """A partition before anybody has worked on it.

    Attributes:
        shard: number of the shard that it comes from.
        place: its place in the shard.
        partition: its id.
        images: how many.
    """

    shard: int
    place: int
    partition: str
    images: int


class Executor(AbstractContextManager["Executor"], ABC):
    """Lists partitions and has them judged, wherever; when its context ends, nobody works any more."""

    @abstractmethod
    def plan(self) -> Iterable[Planned]:
        """List all partitions, in any order.

        Raises:
            FovealError: the images cannot be listed.
        """

    @abstractmethod
    def score(self) -> Iterator[Receipt]:
        """Work through all that was planned; each partition at least once, in any order.

        Raises:
            ClusterError: workers cannot do it.
        """


class Beginning(Enum):
    """What to do about results that are there already."""

    FRESH = "fresh"
    """Refuse to touch them."""
    RESUME = "resume"
    """Keep what is sound, and go on."""
    OVERWRITE = "overwrite"
    """Throw them away."""


class Watcher(Protocol):
    """Sees a run go on."""

    def planned(self, partitions: int, images: int) -> None:
        """All images are listed."""

    def received(self, receipt: Receipt) -> None:
        """A partition is done."""


class _Nobody:
    """Does not care."""

    def planned(self, partitions: int, images: int) -> None:
        pass

    def received(self, receipt: Receipt) -> None:
        pass


@dataclass(frozen=True, slots=True)
class Outcome:
    """A run that came to its end.

    Attributes:
        partitions: how many there are.
        kept: those of them that were there already.
        rows: images.
        failures: those of them without a score.
    """

    partitions: int
    kept: int
    rows: int
    failures: int


def run_partitions(
    executor: Executor,
    store: Store,
    run: Run,
    beginning: Beginning,
    *,
    watcher: Watcher | None = None,
    pace: Pace = PACE,
) -> Outcome:
    """Have all partitions judged, and write the manifest.

    Args:
        executor: does the work.
        store: where results go.
        run: what they belong to.
        beginning: what to do about results that are there already.
        watcher: sees it go on.
        pace: of the lock.

    Raises:
        OutputError: another run is writing there, results are there that may not be touched or that belong to
            another run or other images, or something cannot be written.
        SourceError: there is no image, or the images changed while they were judged.
        ClusterError: workers cannot do it.
        FovealError: the images cannot be listed.
    """
    watcher = watcher or _Nobody()
    with RunLock(store, pace) as lock:
        found = listed(store)
        _check_beginning(store, run, beginning, found)
        with executor:
            planned = sorted(executor.plan())
            if not planned:
                raise SourceError("there are no images; check the input")
            # Partitions of the same images are one partition.
            sizes = {one.partition: one.images for one in planned}
            _clear_or_refuse(store, beginning, found, found - sizes.keys())
            store.sweep()
            watcher.planned(len(sizes), sum(sizes.values()))
            done, kept = _work(executor, lock, sizes, watcher)
        lock.check()
        _check_end(store, set(sizes))
        entries = [done[partition] for partition in sizes]
        store.write(MANIFEST, manifest(run, entries))
    rows, failures = sum(entry.rows for entry in entries), sum(entry.failures for entry in entries)
    return Outcome(len(entries), kept, rows, failures)


def _check_beginning(store: Store, run: Run, beginning: Beginning, found: set[str]) -> None:
    if beginning is Beginning.RESUME:
        check_origin(store, run, sorted(found))
    elif beginning is Beginning.FRESH and (found or store.read(MANIFEST) is not None):
        raise OutputError(
            f"{store.address}: results are there already; use --resume to go on or --overwrite to start again"
        )


def _clear_or_refuse(store: Store, beginning: Beginning, found: set[str], strangers: set[str]) -> None:
    if beginning is Beginning.OVERWRITE:
        store.delete(MANIFEST)
        for partition in sorted(found):
            store.delete(part_name(partition))
    elif strangers:
        raise OutputError(
            f"{store.address}: {len(strangers):,} of its {len(found):,} partitions hold other images than "
            "are listed now: the input is another or has changed; choose another folder or --overwrite"
        )


def _check_end(store: Store, expected: set[str]) -> None:
    """Make sure that the folder holds what the manifest is going to say, and nothing else."""
    found = listed(store)
    if lost := expected - found:
        raise OutputError(
            f"{store.address}: {len(lost):,} partitions that were written are not there; do all workers "
            "write to the same folder?"
        )
    if strangers := found - expected:
        raise OutputError(
            f"{store.address}: {len(strangers):,} partitions of another run have appeared meanwhile; choose "
            "another folder or --overwrite"
        )


def _work(
    executor: Executor, lock: RunLock, sizes: dict[str, int], watcher: Watcher
) -> tuple[dict[str, Entry], int]:
    """Wait for all partitions; give their lines of the manifest, and how many were there already."""
    done: dict[str, Entry] = {}
    kept = 0
    for receipt in executor.score():
        lock.check()
        if receipt.entry is None:
            raise OutputError(f"{receipt.fault}; finished partitions are kept")
        if receipt.partition not in sizes:
            raise SourceError("the images changed while they were judged; run again with --overwrite")
        if receipt.partition not in done:
            done[receipt.partition] = receipt.entry
            kept += receipt.kept
            watcher.received(receipt)
    if len(done) < len(sizes):
        raise ClusterError(
            f"{len(sizes) - len(done):,} of {len(sizes):,} partitions were not judged; "
            "run again with --resume"
        )
    return done, kept
