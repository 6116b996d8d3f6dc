"""What a worker reports of a partition: enough for manifest and summary, without its rows."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from foveal.pipeline.manifest import Entry
from foveal.pipeline.part_files import Part, part_name
from foveal.pipeline.rows import Row, from_values, to_values
from foveal.pipeline.step_summary import steps_of
from foveal.pipeline.summary import Extremes

NOTABLE = 10
"""Rows that are told of each kind: best, worst, failed."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """One partition that is done, or why it is not.

    Attributes:
        partition: its id.
        entry: its line in the manifest; None if it is not done.
        kept: it was there already, and sound.
        steps: qualities as :func:`foveal.pipeline.step_summary.steps_of` gives them.
        notable: its best, worst and first failed rows, each once.
        fault: what stops the whole run.
    """

    partition: str
    entry: Entry | None = None
    kept: bool = False
    steps: tuple[int, ...] = ()
    notable: tuple[Row, ...] = ()
    fault: str | None = None

    def to_json(self, aspects: Sequence[str]) -> bytes:
        """ASCII, for the way to the driver."""
        values = {
            "partition": self.partition,
            "entry": self.entry and asdict(self.entry),
            "kept": self.kept,
            "steps": self.steps,
            "notable": [to_values(row, aspects) for row in self.notable],
            "fault": self.fault,
        }
        return json.dumps(values, separators=(",", ":")).encode("ascii")

    @classmethod
    def from_json(cls, content: bytes, aspects: Sequence[str]) -> Receipt:
        """What :meth:`to_json` gave."""
        values = json.loads(content)
        entry = values["entry"] and Entry(**values["entry"])
        notable = tuple(from_values(row, aspects) for row in values["notable"])
        return cls(**{**values, "entry": entry, "steps": tuple(values["steps"]), "notable": notable})


def receipt_of(part: Part, content: bytes, *, kept: bool) -> Receipt:
    """Report of a partition that is done.

    Args:
        part: what is in its file.
        content: the file.
        kept: it was there already.
    """
    failures = sum(row.quality is None for row in part.rows)
    digest = hashlib.sha256(content).hexdigest()
    entry = Entry(part_name(part.partition), len(part.rows), failures, len(content), digest)
    return Receipt(part.partition, entry, kept, steps_of(part.rows), _notable(part.rows))


def _notable(rows: Sequence[Row]) -> tuple[Row, ...]:
    best, worst = Extremes[int](NOTABLE), Extremes[int](NOTABLE, lowest=True)
    failed: list[int] = []
    for place, row in enumerate(rows):
        if row.quality is None:
            failed.append(place)
        else:
            best.offer(row.quality, place)
            worst.offer(row.quality, place)
    places = {*best.items(), *worst.items(), *failed[:NOTABLE]}
    return tuple(rows[place] for place in sorted(places))
