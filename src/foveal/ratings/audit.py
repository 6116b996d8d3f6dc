"""Leaks between the parts of a split: what stands on both sides of it, by label, by bytes or by looks."""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from foveal.errors import ImageError, OutputError, RatingsError
from foveal.evaluation.tables import Table
from foveal.imaging.colour import converter_for
from foveal.imaging.decode import DEFAULT_LIMITS, WHITE
from foveal.imaging.formats import decoding, load, open_picture
from foveal.imaging.sources import byte_stream
from foveal.ratings.perceptual_hash import (
    CORRELATION,
    SIDE,
    Thumbnails,
    find_near_copies,
    has_detail,
    thumbnail,
)
from foveal.ratings.table import PARTS, Ratings, listing
from foveal.runtime.engine import resolve_threads
from foveal.runtime.ordered import ordered_map

GROUP, PROMPT, DUPLICATE, NEAR_COPY, MIRROR_IMAGE = (
    "group",
    "prompt",
    "duplicate",
    "near copy",
    "mirror image",
)
KINDS = (GROUP, PROMPT, DUPLICATE, NEAR_COPY, MIRROR_IMAGE)
"""What images may share: a label of the table, the text they were made from, all bytes, or their looks."""

_SHOWN = 10  # findings of a kind, in texts
_VERSION = 1  # of thumbnails: raise it when they change


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that two images share.

    Attributes:
        kind: one of :data:`KINDS`.
        part_a: the part of the one image; the earlier of train, validation and test.
        part_b: the part of the other; the same part where one is looked into.
        image_a: name of the one image. Of labels and duplicates, the first of part A in the table's order.
        image_b: name of the other image.
        measure: of near copies and mirror images the correlation of their details, up to 1; else in how many
            images of part A the same is found.
    """

    kind: str
    part_a: str
    part_b: str
    image_a: str
    image_b: str
    measure: float


@dataclass(frozen=True, eq=False)
class Fingerprints:
    """What is kept of n image files to compare them.

    Attributes:
        contents: SHA-256 of each file's bytes; empty if it cannot be read.
        thumbnails: uint8 (n, SIDE, SIDE); black where the image cannot be decoded.
        unreadable: why some cannot be read or decoded, by position.
    """

    contents: tuple[bytes, ...]
    thumbnails: Thumbnails
    unreadable: Mapping[int, str]


@dataclass(frozen=True, eq=False)
class AuditReport:
    """What the parts of a split share.

    Attributes:
        name: of the set.
        sizes: number of images in each part, those in no part under the empty string.
        compared: the pairs of parts that were compared; a part with itself where it was looked into.
        kinds: what was looked for. Groups and prompts only if the table has them.
        findings: sorted by kind, parts (leaks before what is inside a part), measure (largest first), names.
        unreadable: why images could not be compared by their looks, by name.
        plain: names of images with too little detail to be compared by their looks.
    """

    name: str
    sizes: Mapping[str, int]
    compared: tuple[tuple[str, str], ...]
    kinds: tuple[str, ...]
    findings: tuple[Finding, ...]
    unreadable: Mapping[str, str]
    plain: tuple[str, ...]

    def leave_out(self, part: str = "test") -> tuple[str, ...]:
        """Names of the images of a part that share something with an earlier part, sorted.

        Without them the part is clean; ``foveal evaluate --leave-out`` takes such a list.
        """
        return tuple(sorted({finding.image_b for finding in self._leaks(part)}))

    def summary(self) -> Table:
        """A row for each kind and pair of parts, and one for all kinds together, zeros included."""
        rows = []
        for part_a, part_b in self.compared:
            here = [f for f in self.findings if (f.part_a, f.part_b) == (part_a, part_b)]
            kinds = [kind for kind in self.kinds if part_a != part_b or kind not in (GROUP, PROMPT)]
            for kind in (*kinds, "any"):
                found = [f for f in here if kind in (f.kind, "any")]
                images_a, images_b = {f.image_a for f in found}, {f.image_b for f in found}
                if part_a == part_b:
                    images_a = images_b = images_a | images_b
                share = f"{len(images_b) / self.sizes[part_b]:.1%}"
                cells = (_called(part_a), _called(part_b), len(found), len(images_a), len(images_b), share)
                rows.append((kind, *cells))
        return Table(("kind", "part A", "part B", "findings", "images A", "images B", "of B"), tuple(rows))

    def listed(self) -> Table:
        """All findings, a row each."""
        rows = tuple((f.kind, f.part_a, f.part_b, f.image_a, f.image_b, f.measure) for f in self.findings)
        return Table(("kind", "part_a", "part_b", "image_a", "image_b", "measure"), rows)

    def to_text(self) -> str:
        """For a terminal: sizes, the summary, the first findings of each kind, and what was not compared."""
        blocks = [f"{self._title()}\n", self.summary().to_text()]
        blocks += [f"{heading}\n{table.to_text()}" for heading, table in self._first()]
        return "\n".join([*blocks, *(f"{note}\n" for note in self._notes())])

    def to_markdown(self) -> str:
        """A document of its own, with the first findings of each kind."""
        blocks = [f"# Audit of {self._title()}\n", self.summary().to_markdown()]
        blocks += [f"## {heading}\n\n{table.to_markdown()}" for heading, table in self._first()]
        return "\n".join([*blocks, *(f"{note}\n" for note in self._notes())])

    def to_csv(self) -> str:
        """All findings."""
        return self.listed().to_csv()

    def files(self) -> dict[str, str]:
        """Everything to keep, by file name.

        audit.md, summary.csv, findings.csv, and for each part with leaks leave-out-PART.csv: its
        :meth:`leave_out` with the first finding of each image, for ``foveal evaluate --leave-out``.
        """
        lists = {
            f"leave-out-{part}.csv": self._leave_out_table(part).to_csv()
            for part in PARTS
            if part and self.leave_out(part)
        }
        return {
            "audit.md": self.to_markdown(),
            "summary.csv": self.summary().to_csv(),
            "findings.csv": self.to_csv(),
            **lists,
        }

    def _leaks(self, part: str) -> Iterator[Finding]:
        return (f for f in self.findings if f.part_b == part != f.part_a)

    def _leave_out_table(self, part: str) -> Table:
        first: dict[str, Finding] = {}
        for finding in self._leaks(part):
            first.setdefault(finding.image_b, finding)
        rows = tuple((f.image_b, f.kind, f.part_a, f.image_a, f.measure) for _, f in sorted(first.items()))
        return Table(("image", "kind", "part", "like", "measure"), rows)

    def _title(self) -> str:
        sizes = ", ".join(f"{_called(part)} {size:,}" for part, size in self.sizes.items())
        return f"{self.name}: {sizes}"

    def _first(self) -> Iterator[tuple[str, Table]]:
        headings = ("image A", "image B", "part A", "part B", "measure")
        for kind in self.kinds:
            found = [finding for finding in self.findings if finding.kind == kind]
            rows = tuple(
                (f.image_a, f.image_b, _called(f.part_a), _called(f.part_b), f.measure)
                for f in found[:_SHOWN]
            )
            if found:
                yield (
                    f"{kind}: {len(found):,}" + f", first {_SHOWN}" * (len(found) > _SHOWN),
                    Table(headings, rows),
                )

    def _notes(self) -> Iterator[str]:
        for part in PARTS:
            if names := self.leave_out(part):
                yield f"Images of part {part} that share something with an earlier part: {len(names):,}."
        for kind in (GROUP, PROMPT):
            if kind not in self.kinds:
                yield f"The table tells no {kind}s."
        idle = self.sizes.get("", 0)
        if idle and ("", "") not in self.compared:
            yield f"Images in no part, not compared: {idle:,}."
        if self.unreadable:
            reasons = [f"{name}: {reason}" for name, reason in self.unreadable.items()]
            yield f"Cannot be read, so not compared by looks: {listing(reasons, 'image')}."
        if self.plain:
            yield f"Too little detail to be compared by looks: {listing(list(self.plain), 'image')}."


def read_fingerprints(
    images: Sequence[Path],
    *,
    threads: int | None = None,
    cache: str | os.PathLike[str] | None = None,
    advance: Callable[[], None] = lambda: None,
) -> Fingerprints:
    """Hash and shrink image files, on several threads.

    JPEGs are decoded at a fraction of their size. A file that cannot be read or decoded becomes a reason.

    Args:
        images: n paths.
        threads: images at once; by default one for each CPU.
        cache: a file in which thumbnails are kept by the content of the image; files that it knows are read,
            but not decoded.
        advance: called after each image.

    Returns:
        Fingerprints in the order of ``images``.

    Raises:
        RatingsError: the cache is not one, or of another version.
        OutputError: the cache cannot be written; at once if there is no folder for it.
        DeviceError: ``threads`` is below 1.
        MissingExtraError: a HEIC file, and pillow-heif is not installed.
    """
    workers = resolve_threads(threads)
    known = {} if cache is None else _read_cache(Path(cache))
    found: dict[bytes, Thumbnails] = {}
    contents: list[bytes] = []
    thumbnails = np.zeros((len(images), SIDE, SIDE), np.uint8)
    unreadable: dict[int, str] = {}
    work = ordered_map(partial(_fingerprint, known=known), images, workers=workers, ahead=8 * workers)
    try:
        with closing(work):
            for row, (content, pixels, reason) in enumerate(work):
                contents.append(content)
                if pixels is None:
                    unreadable[row] = reason
                else:
                    thumbnails[row] = found[content] = pixels
                advance()
    finally:
        # After Ctrl-C too: what is done is done.
        if cache is not None and not found.keys() <= known.keys():
            _write_cache(Path(cache), {**known, **found})
    return Fingerprints(tuple(contents), thumbnails, MappingProxyType(unreadable))


def audit(
    ratings: Ratings,
    prints: Fingerprints,
    *,
    within: bool = False,
    correlation: float = CORRELATION,
) -> AuditReport:
    """Find what the parts of a table share.

    Between two parts: groups and prompts (whatever their case and spaces) that are in both, files with the
    same bytes, and near copies (:mod:`foveal.ratings.perceptual_hash` says what it finds and what not). An
    image of the later part gets one finding for its group, prompt and bytes, and one for each near copy that
    has other bytes.

    Args:
        ratings: the table; its ``split`` is what is audited.
        prints: :func:`read_fingerprints` of its images.
        within: also look for duplicates and near copies inside each part, and among images in no part.
        correlation: least correlation of near copies, above 0 to 1.

    Returns:
        The report.

    Raises:
        RatingsError: there are no two parts to compare, and no part is to be looked into.
        ValueError: ``prints`` are of another number of images, or ``correlation`` is out of range.
    """
    if len(prints.contents) != len(ratings):
        raise ValueError(f"fingerprints of {len(prints.contents)} images for {len(ratings)} in the table")
    rows = {part: [i for i, label in enumerate(ratings.split) if label == part] for part in PARTS}
    rows = {part: indices for part, indices in rows.items() if indices}
    compared = [*combinations([part for part in rows if part], 2), *((part, part) for part in rows if within)]
    if not compared:
        raise RatingsError(
            f"{ratings.card.name}: nothing to compare: there are not two parts among its "
            f"{len(ratings):,} images; give a split, or look for copies within"
        )
    labels = _labels(ratings, prints)
    findings: list[Finding] = []
    for part_a, part_b in compared:
        pair = _Pair(ratings.names, part_a, part_b, rows[part_a], rows[part_b])
        for kind, column in labels.items():
            if part_a != part_b or kind == DUPLICATE:
                findings += pair.shared(kind, column)
        findings += pair.alike(prints, correlation)
    findings.sort(key=_place)
    detailed = has_detail(prints.thumbnails)
    return AuditReport(
        name=ratings.card.name,
        sizes=MappingProxyType({part: len(indices) for part, indices in rows.items()}),
        compared=tuple(compared),
        kinds=tuple(kind for kind in KINDS if kind in {*labels, NEAR_COPY, MIRROR_IMAGE}),
        findings=tuple(findings),
        unreadable=MappingProxyType({ratings.names[i]: why for i, why in prints.unreadable.items()}),
        plain=tuple(
            name for i, name in enumerate(ratings.names) if not detailed[i] and i not in prints.unreadable
        ),
    )


@dataclass(frozen=True, slots=True)
class _Pair:
    """Two parts, or one part twice.

    Attributes:
        names: of all images.
        part_a: the one part.
        part_b: the other.
        rows_a: positions of the images of the one part, ascending.
        rows_b: positions of those of the other.
    """

    names: Sequence[str]
    part_a: str
    part_b: str
    rows_a: Sequence[int]
    rows_b: Sequence[int]

    def shared(self, kind: str, labels: Sequence[str | bytes]) -> Iterator[Finding]:
        """A finding for each image of part B whose label stands in part A; empty labels do not count."""
        members: dict[str | bytes, list[int]] = {}
        for row in self.rows_a:
            if labels[row]:
                members.setdefault(labels[row], []).append(row)
        for row in self.rows_b:
            first, *more = members.get(labels[row], [row])
            if first != row:
                # Inside a part an image does not count as a copy of itself.
                count = len(more) + (self.part_a != self.part_b)
                yield self._finding(kind, first, row, count)

    def alike(self, prints: Fingerprints, correlation: float) -> Iterator[Finding]:
        """A finding for each pair of near copies that are not duplicates."""
        same = self.part_a == self.part_b
        others = None if same else prints.thumbnails[self.rows_b]
        found = find_near_copies(prints.thumbnails[self.rows_a], others, correlation=correlation)
        columns = (found.first, found.second, found.correlation, found.mirrored)
        for first, second, value, mirrored in zip(*(column.tolist() for column in columns), strict=True):
            row_a, row_b = self.rows_a[first], self.rows_b[second]
            if prints.contents[row_a] != prints.contents[row_b]:
                yield self._finding(MIRROR_IMAGE if mirrored else NEAR_COPY, row_a, row_b, value)

    def _finding(self, kind: str, row_a: int, row_b: int, measure: float) -> Finding:
        return Finding(kind, self.part_a, self.part_b, self.names[row_a], self.names[row_b], measure)


def _labels(ratings: Ratings, prints: Fingerprints) -> dict[str, Sequence[str | bytes]]:
    """What images may share literally, by kind: of groups and prompts only if the table has them."""
    labels: dict[str, Sequence[str | bytes]] = {}
    if len(set(ratings.groups)) < len(ratings):
        labels[GROUP] = ratings.groups
    if ratings.prompts is not None:
        labels[PROMPT] = [" ".join(prompt.casefold().split()) for prompt in ratings.prompts]
    labels[DUPLICATE] = prints.contents
    return labels


def _read_cache(path: Path) -> dict[bytes, Thumbnails]:
    """Thumbnails by SHA-256 of their image files; none if there is no such file."""
    foreign = f"{path}: not a cache of thumbnails that this version of Foveal wrote; choose another file"
    try:
        with np.load(path, allow_pickle=False) as stored:
            version, contents, thumbnails = (
                stored[name] for name in ("foveal_thumbnails", "contents", "thumbnails")
            )
    except FileNotFoundError:
        if not path.parent.is_dir():
            raise OutputError(f"{path}: there is no folder for this cache; make it first") from None
        return {}
    except (EOFError, KeyError, OSError, TypeError, ValueError, zipfile.BadZipFile) as error:
        raise RatingsError(foreign) from error
    if version.tolist() != [_VERSION] or thumbnails.shape != (len(contents), SIDE, SIDE):
        raise RatingsError(foreign)
    return {content.tobytes(): pixels for content, pixels in zip(contents, thumbnails, strict=True)}


def _write_cache(path: Path, thumbnails: Mapping[bytes, Thumbnails]) -> None:
    contents = np.frombuffer(b"".join(thumbnails), np.uint8).reshape(len(thumbnails), -1)
    partial_path = path.with_name(f"{path.name}.partial-{os.getpid()}")
    try:
        with partial_path.open("wb") as file:
            np.savez(
                file,
                foveal_thumbnails=np.array([_VERSION]),
                contents=contents,
                thumbnails=np.stack(list(thumbnails.values())),
            )
        partial_path.replace(path)
    except OSError as error:
        partial_path.unlink(missing_ok=True)
        raise OutputError(f"{path}: the cache cannot be written ({error.strerror})") from error


def _fingerprint(
    path: Path, known: Mapping[bytes, NDArray[np.uint8]]
) -> tuple[bytes, NDArray[np.uint8] | None, str]:
    """Content hash, thumbnail and, if there is none, the reason."""
    name, content = str(path), b""
    try:
        with byte_stream(path, name, DEFAULT_LIMITS) as stream:
            content = hashlib.sha256(stream.read()).digest()
            if content in known:
                return content, known[content], ""
            stream.seek(0)
            with decoding(name, None):
                return content, _thumbnail(stream, name), ""
    except ImageError as error:
        return content, None, error.reason


def _thumbnail(stream: BinaryIO, name: str) -> NDArray[np.uint8]:
    """Decode an image, a JPEG only to a fraction of its size, turn it upright and shrink it."""
    picture = open_picture(stream, name, DEFAULT_LIMITS)
    picture.draft(None, (2 * SIDE, 2 * SIDE))
    load(picture, name)
    DEFAULT_LIMITS.check_pixels(name, *picture.size)  # some headers lie
    return thumbnail(converter_for(picture, name, WHITE)(_upright(picture)))


def _upright(picture: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(picture)
    except Exception:  # a broken note about a picture does not spoil the picture
        return picture


def _place(finding: Finding) -> tuple[object, ...]:
    parts = PARTS.index(finding.part_a), PARTS.index(finding.part_b)
    inside = finding.part_a == finding.part_b
    return KINDS.index(finding.kind), inside, *parts, -finding.measure, finding.image_a, finding.image_b


def _called(part: str) -> str:
    return part or "(no part)"
