"""The page of a comparison: two folders or two models."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from foveal.artifact.card import Card
from foveal.evaluation.paired import PairedDifference
from foveal.pipeline.rows import Row
from foveal.report.compare import Compared, Pair
from foveal.report.histogram import difference_histogram
from foveal.report.page import (
    ROW_BYTES,
    affordable,
    as_json,
    choices,
    common_folder,
    facts,
    figures,
    filled,
    page,
    plural,
    rounded,
    safe,
    signed,
)
from foveal.report.scatter import MOST_POINTS, Point, scatter
from foveal.report.thumbnails import Album
from foveal.report.wording import interval, p_value, verdict

LONGEST = 320
"""Longer side of pictures that are compared, in pixels."""
_BEYOND = (
    "the change is larger than half the prediction interval of either image: large for a single image; small "
    "changes of many images are for the tests above"
)
_MINUS = "\N{MINUS SIGN}"
LISTED_ALONE = 500
"""Images without a partner that are listed on each side."""


@dataclass(frozen=True)
class Content:
    """What the page is about.

    Attributes:
        compared: all pairs and their statistics.
        cards: of the assessors, of the old side and of the new; the same twice for two folders.
        pairs: those that the page lists, in order.
    """

    compared: Compared
    cards: tuple[Card, Card]
    pairs: Sequence[Pair]

    @classmethod
    def of(cls, compared: Compared, cards: tuple[Card, Card]) -> Content:
        """Choose the pairs that fit into a page: failures, then those that changed most."""
        pairs = compared.pairs
        kept = affordable(_order(pairs), lambda place: _cost(pairs[place]), ROW_BYTES)
        return cls(compared, cards, [pairs[place] for place in kept])

    @cached_property
    def same_images(self) -> bool:
        """Whether two models judged the same files."""
        return all(pair.old.source == pair.new.source for pair in self.pairs)

    def sources(self, count: int) -> list[tuple[int, str]]:
        """Keys and paths of at most ``count`` pictures, of the pairs that changed most.

        Pair number i has its pictures under 2i and 2i + 1; where both are one file only under 2i.
        """
        judged = [place for place in _order(self.pairs) if self.pairs[place].difference is not None]
        found = []
        for place in judged[: count if self.same_images else count // 2]:
            pair = self.pairs[place]
            found.append((2 * place, pair.old.source))
            if not self.same_images:
                found.append((2 * place + 1, pair.new.source))
        return found


def compare_page(content: Content, album: Album) -> str:
    """Write the page; the same input gives the same bytes.

    Args:
        content: pairs and statistics.
        album: pictures by key; see :meth:`Content.sources`.
    """
    compared = content.compared
    heading = f"{compared.new.label} against {compared.old.label}"
    body = filled(
        "compare.html",
        heading=safe(heading),
        under=safe(_counts(content)),
        overview=_overview(content),
        table=_table(),
        lists=_failed(compared) + _alone(compared),
        card=_reading(content),
    )
    return page(
        title=heading, kind="compare", body=body, notes=_notes(content, album), data=_data(content, album)
    )


def _order(pairs: Sequence[Pair]) -> list[int]:
    """Failures, then the greatest changes, among equals the earlier ones."""

    def key(place: int) -> tuple[float, int]:
        difference = pairs[place].difference
        return (float("-inf") if difference is None else -abs(difference), place)

    return sorted(range(len(pairs)), key=key)


def _counts(content: Content) -> str:
    compared = content.compared
    parts = [plural(len(compared.pairs), "image" if content.same_images else "pair")]
    if compared.failed:
        parts.append(f"{len(compared.failed):,} without both scores")
    alone = len(compared.only_old) + len(compared.only_new)
    if alone:
        parts.append(f"{plural(alone, 'image')} without a partner")
    models = " and ".join(dict.fromkeys((compared.old.model, compared.new.model)))
    return f"{', '.join(parts)}. Judged by {models}."


def _overview(content: Content) -> str:
    found = content.compared.difference
    if found is None:
        return '<p class="note">No pair has both scores; see the errors below.</p>'
    drawn, reach = difference_histogram([pair.difference or 0.0 for pair in content.compared.changed])
    return (
        f'<p class="verdict">{safe(verdict(found))}</p>'
        f'<div class="overview"><div>{_figures(content.compared, found)}</div>'
        f'<div class="plots"><figure class="chart">{_scatter(content)}'
        '<p class="axis-name">old, from left to right; new, from bottom to top</p></figure>'
        f'<figure class="chart">{drawn}<div class="ticks" aria-hidden="true"><span>{signed(-reach)}</span>'
        f"<span>0</span><span>{signed(reach)}</span></div>"
        '<p class="axis-name">difference, new less old</p></figure></div></div>'
    )


def _figures(compared: Compared, found: PairedDifference) -> str:
    headline = (
        f'<p class="headline"><b>{signed(found.mean)}</b><span>mean difference</span></p>'
        f'<p class="quiet">{safe(interval(found, 3)).replace("-", _MINUS)}</p>'
    )
    numbers = figures(
        [
            ("higher", f"{found.higher:,}"),
            ("lower", f"{found.lower:,}"),
            ("equal", f"{found.equal:,}"),
            ("median difference", signed(found.median)),
            ("sign test", safe(p_value(found.sign_p))),
            ("Wilcoxon", safe(p_value(found.wilcoxon_p))),
            (
                "beyond both intervals",
                f"{compared.beyond(1):,} <small>higher,</small> {compared.beyond(-1):,} <small>lower</small>",
            ),
        ]
    )
    return headline + _balance(found) + numbers


def _balance(found: PairedDifference) -> str:
    """How many rose, stayed and fell, as one bar."""
    parts, left = [], 0.0
    for kind, count in (("down", found.lower), ("same", found.equal), ("up", found.higher)):
        width = 100 * count / found.pairs
        parts.append(f'<rect class="{kind}" x="{left:.3f}" y="0" width="{width:.3f}" height="1"/>')
        left += width
    told = f"{found.lower:,} lower, {found.equal:,} equal, {found.higher:,} higher"
    return (
        '<svg class="balance" viewBox="0 0 100 1" preserveAspectRatio="none" role="img" '
        f'aria-label="{told}">{"".join(parts)}</svg>'
    )


def _scatter(content: Content) -> str:
    changed = content.compared.changed
    points = [
        Point(pair.old.quality or 0.0, pair.new.quality or 0.0, _kind(pair))
        for pair in reversed(changed[:MOST_POINTS])
    ]
    told = (
        f"Scatter plot of {plural(len(points), 'pair')}, old quality from left to right, new from bottom to "
        "top. Above the diagonal the new image is better."
    )
    return scatter(points, told)


def _kind(pair: Pair) -> str:
    if not pair.beyond:
        return "same"
    return "up" if (pair.difference or 0.0) > 0 else "down"


def _table() -> str:
    options = {
        "all": "all pairs",
        "higher": "higher",
        "lower": "lower",
        "beyond": "beyond both intervals",
        "failed": "errors only",
    }
    return filled(
        "table.html",
        heading="All pairs",
        range="Difference",
        lowest="-4",
        highest="+4",
        choices=choices(options),
    )


def _failed(compared: Compared) -> str:
    if not compared.failed:
        return ""
    rows = "".join(
        f'<tr><th scope="row">{safe(row.source)}</th><td>{safe(row.error or "")}</td></tr>'
        for pair in compared.failed[:LISTED_ALONE]
        for row in _broken(pair)
    )
    return (
        '<section class="errors" aria-labelledby="errors-title">'
        f'<h2 id="errors-title">{plural(len(compared.failed), "pair")} without both scores</h2>'
        '<table><thead><tr><th scope="col">image</th><th scope="col">reason</th></tr></thead>'
        f"<tbody>{rows}</tbody></table>{_more(len(compared.failed))}</section>"
    )


def _broken(pair: Pair) -> list[Row]:
    """Rows of a pair that have an error; one of two that are the same."""
    rows = [row for row in (pair.old, pair.new) if row.quality is None]
    same = len(rows) == 2 and (rows[0].source, rows[0].error) == (rows[1].source, rows[1].error)
    return rows[:1] if same else rows


def _alone(compared: Compared) -> str:
    sides = [(compared.old.label, compared.only_old), (compared.new.label, compared.only_new)]
    parts = "".join(
        f"<div><h3>{len(paths):,} only in {safe(label)}</h3><ul>"
        f"{''.join(f'<li>{safe(path)}</li>' for path in paths[:LISTED_ALONE])}</ul>{_more(len(paths))}</div>"
        for label, paths in sides
        if paths
    )
    if not parts:
        return ""
    return (
        '<section class="listed" aria-labelledby="alone-title"><h2 id="alone-title">Images without a partner'
        f'</h2><div class="columns">{parts}</div></section>'
    )


def _more(count: int) -> str:
    hidden = count - LISTED_ALONE
    return f'<p class="note">and {hidden:,} more</p>' if hidden > 0 else ""


def _reading(content: Content) -> str:
    old, new = content.cards
    models = [("Model", f"{old.name}, version {old.version}: {old.summary}")]
    if old.model != new.model:
        models = [
            ("Old model", f"{old.name}, version {old.version}: {old.summary}"),
            ("New model", f"{new.name}, version {new.version}: {new.summary}"),
            ("Two models", "a difference says how far they disagree, not which of them is right"),
        ]
    return facts(
        [
            *models,
            ("Scale", "1 (bad) to 5 (excellent), higher is better; a difference is new less old"),
            ("Mean difference", "its interval is a BCa bootstrap over pairs, with a fixed seed"),
            ("Sign test", "are rises and falls equally likely? exact, two-sided"),
            (
                "Wilcoxon",
                "signed-rank test, two-sided: exact for 50 differences or fewer, else normal with ties",
            ),
            ("Beyond both intervals", _BEYOND),
        ]
    )


def _notes(content: Content, album: Album) -> Iterator[str]:
    listed, total = len(content.pairs), len(content.compared.pairs)
    if listed < total:
        yield f"The table lists {listed:,} of {total:,} pairs, those that changed most; figures are of all."
    if len(content.compared.changed) > MOST_POINTS:
        yield f"The scatter plot shows the {MOST_POINTS:,} pairs that changed most."
    if len(album.pictures) + album.missing < len(content.sources(2 * listed)):
        yield "Pictures of the pairs that changed most (--report-thumbnails sets how many)."
    if album.missing:
        yield f"{plural(album.missing, 'picture')} could not be read again after scoring."
    if album.full:
        yield "Further pictures would have made the page too large."
    yield "Made by Foveal. This page holds everything it shows and connects to nothing."


def _data(content: Content, album: Album) -> dict[str, Any]:
    pairs = content.pairs
    roots = (
        common_folder([pair.old.source for pair in pairs]),
        common_folder([pair.new.source for pair in pairs]),
    )
    old, new = ([getattr(pair, side) for pair in pairs] for side in ("old", "new"))
    return {
        "labels": [content.compared.old.label, content.compared.new.label],
        "models": [content.compared.old.model, content.compared.new.model],
        "same": content.same_images,
        "coverages": [card.calibration.coverage for card in content.cards],
        "names": [pair.name for pair in pairs],
        "sides": [_side(rows, root) for rows, root in zip((old, new), roots, strict=True)],
        "difference": rounded(pair.difference for pair in pairs),
        "beyond": [place for place, pair in enumerate(pairs) if pair.beyond],
        "pictures": album.pictures,
    }


def _side(rows: Sequence[Row], root: str) -> dict[str, Any]:
    return {
        "root": root,
        "sources": [row.source[len(root) :] for row in rows],
        "quality": rounded(row.quality for row in rows),
        "low": rounded(row.low for row in rows),
        "high": rounded(row.high for row in rows),
        "warnings": {place: list(row.warnings) for place, row in enumerate(rows) if row.warnings},
        "errors": {place: row.error or "" for place, row in enumerate(rows) if row.quality is None},
    }


def _cost(pair: Pair) -> int:
    """Bytes that a pair takes in the page, nearly."""
    texts = [
        pair.name,
        *((row.source, row.warnings, row.error or "") for row in (pair.old, pair.new)),
    ]
    return 64 + len(as_json({"": texts}))
