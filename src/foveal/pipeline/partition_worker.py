"""What a worker does with a partition: judge its images and write its file, the same one every time."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from typing import cast

from foveal.assessment import Assessment, Failure
from foveal.assessor import Assessor
from foveal.errors import FovealError
from foveal.imaging.limits import Limits
from foveal.pipeline.addresses import Options, resolve
from foveal.pipeline.careful import judged_apart
from foveal.pipeline.manifest import Run
from foveal.pipeline.parquet import printable_row
from foveal.pipeline.part_files import Part, decode_part, encode_part, part_name
from foveal.pipeline.partitions import Partition
from foveal.pipeline.receipts import Receipt, receipt_of
from foveal.pipeline.remote import FETCHERS, fetched_ahead
from foveal.pipeline.rows import Row, to_row
from foveal.pipeline.storage import Store

_Results = Generator[Assessment | Failure, None, None]


@dataclass(frozen=True, slots=True)
class Fetching:
    """How images are fetched.

    Attributes:
        options: what file systems are opened with.
        limits: sizes of images that are accepted.
        fetchers: images that are fetched at once.
    """

    options: Options
    limits: Limits
    fetchers: int = FETCHERS


class PartitionWorker:
    """Judges partitions one after another.

    The file of a partition is a function of its images, the model and the run: written twice, it is the same.
    One that is there and sound is kept; one that is damaged is written again.

    Args:
        make: gives the assessor; also in other processes, so it must be possible to send it there.
        store: where the files go.
        run: what they belong to.
        fetching: how images are fetched.
    """

    def __init__(self, make: Callable[[], Assessor], store: Store, run: Run, fetching: Fetching) -> None:
        self._make = make
        self._assessor = assessor = make()
        self._store = store
        self._run = run
        self._fetching = fetching
        self.aspects = tuple(sorted(assessor.card.aspects))

    def __call__(self, partition: Partition, *, apart: bool = False) -> Receipt:
        """Make sure that the partition's file is there.

        Args:
            partition: what is to be judged.
            apart: judge in another process, because it has ended the life of workers.
        """
        try:
            return self._kept(partition) or self._written(partition, apart)
        except FovealError as error:
            return Receipt(partition.id, fault=str(error))

    def _kept(self, partition: Partition) -> Receipt | None:
        content = self._store.read(part_name(partition.id))
        if content is None:
            return None
        try:
            part = decode_part(content, self.aspects)
        except ValueError:
            return None
        self._run.check(json.loads(part.run), f"{self._store.address}/{part_name(partition.id)}")
        if part.partition != partition.id or len(part.rows) != len(partition.items):
            return None
        return receipt_of(part, content, kept=True)

    def _written(self, partition: Partition, apart: bool) -> Receipt:
        rows = tuple(printable_row(row) for row in self._judged(partition, apart))
        part = Part(partition.id, self._run.to_json(), rows)
        content = encode_part(part, self.aspects)
        self._store.write(part_name(partition.id), content)
        return receipt_of(part, content, kept=False)

    def _judged(self, partition: Partition, apart: bool) -> Iterator[Row]:
        """One row an image, named as the list names it."""
        sources = [source for source, _ in partition.items]
        addresses = [resolve(partition.base, source) if source else "" for source in sources]
        fetching = self._fetching
        with (
            fetched_ahead(
                addresses, options=fetching.options, limits=fetching.limits, fetchers=fetching.fetchers
            ) as images,
            closing(self._results(partition, images, apart)) as results,
        ):
            for source, result in zip(sources, results, strict=True):
                named = replace(result, source=source)
                yield to_row(named, self._assessor.card.model, self.aspects)

    def _results(self, partition: Partition, images: Iterable[object], apart: bool) -> _Results:
        one_for_all = self._run.prompt
        prompts = [prompt if one_for_all is None else one_for_all for _, prompt in partition.items]
        if apart:
            return judged_apart(self._make, images, prompts)
        reads_none = self._assessor.card.prompt is None
        results = self._assessor.stream(images, prompts=None if reads_none else prompts, on_error="yield")
        return cast("_Results", results)
