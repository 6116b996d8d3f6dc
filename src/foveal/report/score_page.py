"""The report of one run of scores."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from foveal.artifact.card import Card
from foveal.explanation.colours import hexadecimal
from foveal.explanation.sentences import grade, share
from foveal.pipeline.rows import Row
from foveal.report.details import Details
from foveal.report.gather import Gathered, telling
from foveal.report.histogram import grades, quality_histogram
from foveal.report.page import (
    ROW_BYTES,
    affordable,
    as_json,
    chip,
    choices,
    common_folder,
    facts,
    figures,
    filled,
    page,
    plural,
    rounded,
    safe,
)
from foveal.report.thumbnails import Album

AT_EACH_END = 8
"""Images in the galleries of the worst and of the best."""
LISTED_ERRORS = 500
"""Errors that are listed outside the table, which has them all."""

_QUANTILES = (0.05, 0.25, 0.75, 0.95)


@dataclass(frozen=True, slots=True)
class Content:
    """What the page is about.

    Attributes:
        card: of the assessor.
        gathered: figures of all images.
        rows: those that the page lists, in order.
        order: places in ``rows`` of those with a score, the most telling first.
    """

    card: Card
    gathered: Gathered
    rows: Sequence[Row]
    order: Sequence[int] = field(default_factory=tuple)

    @classmethod
    def of(cls, card: Card, gathered: Gathered) -> Content:
        """Choose the rows that fit into a page: failures, then from both ends of quality."""
        rows = gathered.rows()
        failed = [place for place, row in enumerate(rows) if row.quality is None]
        order = [*failed, *telling([row.quality for row in rows])]
        kept = [rows[place] for place in affordable(order, lambda place: _cost(rows[place]), ROW_BYTES)]
        return cls(card, gathered, kept, telling([row.quality for row in kept]))

    def sources(self, count: int) -> list[tuple[int, str]]:
        """Place and path of the most telling images."""
        return [(place, self.rows[place].source) for place in self.order[:count]]


def score_page(content: Content, album: Album, details: Details) -> str:
    """Write the page; the same input gives the same bytes.

    Args:
        content: rows and figures.
        album: thumbnails by place in the rows.
        details: explanations by place in the rows.
    """
    paths = [row.source for row in content.rows]
    root = common_folder(paths)
    total = content.gathered.total
    heading = f"Image quality of {root.rstrip('/') or plural(total, 'image')}" if root else ""
    heading = heading or f"Image quality of {plural(total, 'image')}"
    body = filled(
        "score.html",
        heading=safe(heading),
        under=safe(_counts(content)),
        overview=_overview(content),
        galleries=_galleries(content, root),
        table=_table(content),
        errors=_errors(content),
        card=card_facts(content.card),
    )
    return page(
        title=heading,
        kind="score",
        body=body,
        notes=_notes(content, album, details),
        data=_data(content, root, album, details),
    )


def card_facts(card: Card) -> str:
    """What a reader must know of an assessor."""
    calibration = card.calibration
    held = calibration.measured_coverage
    checked = "" if held is None else f"; on images that calibrated nothing it held {100 * held:.1f} %"
    interval = (
        f"{share(calibration.coverage)} of mean opinions lie inside, calibrated on "
        f"{plural(calibration.count, 'image')} ({calibration.method}){checked}"
    )
    return facts(
        [
            ("Model", f"{card.name}, version {card.version}"),
            ("What it is", card.summary),
            ("Scale", "1 (bad) to 5 (excellent), higher is better: what people would say on average"),
            ("Interval", interval),
            ("Aspects", ", ".join(sorted(card.aspects))),
            ("Trained on", card.training_data),
            ("Agreement", "; ".join(f"{name} {value:.3f}" for name, value in sorted(card.measured.items()))),
            ("Licence", card.licence),
        ]
    )


def _counts(content: Content) -> str:
    summary, warned = content.gathered.summary, content.gathered.warned
    parts = [f"{summary.scored:,} scored", f"{summary.failed:,} failed"]
    if warned:
        parts.append(f"{warned:,} with warnings")
    return f"{', '.join(parts)}. Judged by {content.card.model}."


def _overview(content: Content) -> str:
    summary = content.gathered.summary
    if not summary.scored:
        return '<p class="note">No image has a score; see the errors below.</p>'
    mean, low, lower, upper, high = summary.mean(), *summary.quantiles(_QUANTILES)
    numbers = figures(
        [
            ("median", f"{summary.median():.2f}"),
            ("spread <span class='hidden'>(standard deviation)</span>", f"{summary.spread():.2f}"),
            ("middle half", f"{lower:.2f} <small>to</small> {upper:.2f}"),
            ("5 to 95 %", f"{low:.2f} <small>to</small> {high:.2f}"),
        ]
    )
    return (
        '<div class="overview"><div>'
        f'<p class="headline"><b>{mean:.2f}</b><span>{grade(mean)} on average</span></p>{numbers}</div>'
        '<figure class="chart"><figcaption>images by quality; dashed: the median</figcaption>'
        f"{quality_histogram(summary)}"
        '<div class="ticks" aria-hidden="true"><span>1 bad</span><span>2</span><span>3</span><span>4</span>'
        f"<span>5 excellent</span></div>{_grades(content)}</figure></div>"
    )


def _grades(content: Content) -> str:
    summary = content.gathered.summary
    rows = "".join(
        f"<div><dt>{chip(hexadecimal(value))}{name}</dt>"
        f"<dd>{count:,} <small>{100 * count / summary.scored:.1f} %</small></dd></div>"
        for value, (name, count) in enumerate(grades(summary), 1)
    )
    return f'<dl class="grades">{rows}</dl>'


def _galleries(content: Content, root: str) -> str:
    count = min(AT_EACH_END, len(content.order) // 2)
    if not count:
        return ""
    shown = content.order[: 2 * count]
    ends = [("Worst", "worst", shown[0::2]), ("Best", "best", shown[1::2])]
    parts = "".join(
        f'<div role="group" aria-labelledby="{key}"><h2 id="{key}">{title}</h2>'
        f'<ul class="cards">{"".join(_card(content.rows[place], place, root) for place in places)}</ul></div>'
        for title, key, places in ends
    )
    return f'<section class="ends" aria-label="Worst and best">{parts}</section>'


def _card(row: Row, place: int, root: str) -> str:
    quality = row.quality or 0.0
    path = row.source[len(root) :]
    name = path[max(path.rfind("/"), path.rfind("\\")) + 1 :]
    return (
        f'<li><button type="button" class="card" data-item="{place}">'
        '<span class="picture"><span aria-hidden="true">no picture</span></span>'
        f'<span class="line">{chip(hexadecimal(quality))}{quality:.2f} <small>{grade(quality)}</small></span>'
        f'<span class="name" title="{safe(path)}">{safe(name)}</span></button></li>'
    )


def _table(content: Content) -> str:
    options = {"all": "all images", "scored": "scored", "warned": "with warnings", "failed": "errors only"}
    return filled(
        "table.html",
        heading="All images" if len(content.rows) == content.gathered.total else "Images",
        range="Quality",
        lowest="1",
        highest="5",
        choices=choices(options),
    )


def _errors(content: Content) -> str:
    failed, errors = content.gathered.summary.failed, content.gathered.errors
    if not failed:
        return ""
    listed = errors[:LISTED_ERRORS]
    rows = "".join(
        f'<tr><th scope="row">{safe(row.source)}</th><td>{safe(row.error or "")}</td></tr>' for row in listed
    )
    more = ""
    if failed > len(listed):
        more = (
            f'<p class="note">The first {len(listed):,} of {failed:,}; the table above has '
            f"{'all' if failed == len(errors) else f'{len(errors):,}'} of them.</p>"
        )
    return (
        '<section class="errors" aria-labelledby="errors-title">'
        f'<h2 id="errors-title">{plural(failed, "image")} without a score</h2>'
        '<table><thead><tr><th scope="col">image</th><th scope="col">reason</th></tr></thead>'
        f"<tbody>{rows}</tbody></table>{more}</section>"
    )


def _notes(content: Content, album: Album, details: Details) -> Iterator[str]:
    listed, total = len(content.rows), content.gathered.total
    if listed < total:
        yield (
            f"The table lists {listed:,} of {total:,} images, those at the two ends of quality; "
            "figures and histogram are of all."
        )
    yield from _picture_notes(len(content.order), album)
    yield from _detail_notes(details)
    yield f"Made by Foveal. This page holds everything it shows and connects to nothing. {_UNIT}"


_UNIT = "Compare scores of one model only, and like images with like."


def _picture_notes(scored: int, album: Album) -> Iterator[str]:
    count = len(album.pictures)
    if count < scored:
        which = f" of the {count:,} with the lowest and highest scores" if count else " of no image"
        yield f"Thumbnails{which} (--report-thumbnails sets how many)."
    if album.missing:
        yield f"{plural(album.missing, 'picture')} could not be read again after scoring."
    if album.full:
        yield "Further thumbnails would have made the page too large."


def _detail_notes(details: Details) -> Iterator[str]:
    if details.problem is not None:
        yield f"No image is explained: {details.problem}"
    if details.by_key:
        count = plural(len(details.by_key), "image")
        yield f"Explained by {details.model}: {count} from both ends (--report-details sets how many)."
    if details.missing:
        yield f"{plural(len(details.missing), 'image')} could not be explained."
    if details.full:
        yield "Further explanations would have made the page too large."


def _unexplained(details: Details) -> str:
    """What the panel says of an image without a map and words, one that was not tried."""
    if details.problem is not None:
        return f"No map and no description: {details.problem}"
    count = plural(len(details.by_key), "image")
    which = f"this page explains {count} from both ends" if details.by_key else "this page explains no image"
    why = "more would have made it too large" if details.full else "--report-details sets how many"
    return f"No map and no description: {which} ({why})."


def _data(content: Content, root: str, album: Album, details: Details) -> dict[str, Any]:
    rows = content.rows
    return {
        "root": root,
        "names": [row.source[len(root) :] for row in rows],
        "quality": rounded(row.quality for row in rows),
        "low": rounded(row.low for row in rows),
        "high": rounded(row.high for row in rows),
        "aspects": {
            name: rounded(row.aspects.get(name) for row in rows) for name in sorted(content.card.aspects)
        },
        "warnings": {place: list(row.warnings) for place, row in enumerate(rows) if row.warnings},
        "errors": {place: row.error or "" for place, row in enumerate(rows) if row.quality is None},
        "coverage": content.card.calibration.coverage,
        "explainer": details.model,
        "thumbnails": album.pictures,
        "details": details.by_key,
        "unexplained": _unexplained(details),
        "inexplicable": sorted(details.missing),
    }


def _cost(row: Row) -> int:
    """Bytes that a row takes in the page, nearly."""
    numbers = 8 * (4 + len(row.aspects))
    texts = {"source": row.source, "warnings": row.warnings, "error": row.error or ""}
    # Errors are listed once more.
    return numbers + len(as_json(texts)) + (len(row.source) + len(row.error) if row.error else 0)
