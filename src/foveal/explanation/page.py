"""Explanations as one HTML page that needs nothing else, for light and dark, and for screen readers."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Sequence
from html import escape
from string import Template

from PIL import Image

from foveal.assessment import HIGHEST, LOWEST
from foveal.explanation.colours import STOPS, hexadecimal
from foveal.explanation.explanation import Explanation, Seen, Told, WhatIf
from foveal.explanation.picture import overlay, thumbnail
from foveal.explanation.sentences import FIRMLY, grade, label, local, moved, moves, share
from foveal.imaging.views import Pixels

_LONGEST = 480
_PAGE = Template("""\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>$title</title>
<style>
:root { color-scheme: light dark; --ink: #1f2328; --quiet: #59636e; --paper: #ffffff; --pale: #d0d7de;
  --soft: #f6f8fa; --band: #b6c2cf; --alert: #fff4e5; --alert-edge: #b34700; --link: #0059a3; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6edf3; --quiet: #9198a1; --paper: #0d1117; --pale: #3d444d; --soft: #161b22;
    --band: #4c5866; --alert: #33200d; --alert-edge: #ff9d5c; --link: #79c0ff; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 76rem; padding: 1rem 1.25rem 4rem; background: var(--paper);
  color: var(--ink); font: 1rem/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; overflow-wrap: anywhere; } h2 { font-size: 1.3rem; overflow-wrap: anywhere; }
h3 { font-size: 1rem; margin: 1.5rem 0 0.4rem; }
a { color: var(--link); } p { max-width: 52rem; margin: 0.5rem 0; } small { color: var(--quiet); }
article + article { border-top: 2px solid var(--pale); margin-top: 3rem; padding-top: 1rem; }
.top { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 17rem), 1fr)); gap: 1.5rem; }
@media (max-width: 40rem) { .top > div { order: -1; } }
figure { margin: 0; } figure img { display: block; width: 100%; height: auto; border-radius: 4px; }
figcaption { font-size: 0.85rem; color: var(--quiet); margin-top: 0.4rem; }
.scale { height: 0.7rem; border-radius: 2px; margin-top: 0.5rem; }
.ticks { display: flex; justify-content: space-between; font-size: 0.8rem; color: var(--quiet); }
.ticks span { display: flex; width: 0; justify-content: center; white-space: nowrap; }
.ticks span:first-child { justify-content: start; } .ticks span:last-child { justify-content: end; }
.score { font-size: 2.6rem; font-weight: 700; line-height: 1.1; }
.score small { font-size: 1.1rem; font-weight: 500; }
.axis { width: 100%; height: auto; display: block; margin-top: 0.5rem; }
.axis text { fill: var(--quiet); font-size: 13px; text-anchor: middle; }
.alert { background: var(--alert); border-left: 4px solid var(--alert-edge); padding: 0.5rem 1rem;
  margin: 1.25rem 0; } .alert h3, .alert p { margin: 0.2rem 0; } .alert ul { margin: 0.2rem 0; }
blockquote { margin: 0.4rem 0; padding-left: 1rem; border-left: 4px solid var(--pale); max-width: 52rem; }
.levels { display: grid; grid-template-columns: max-content 1fr max-content; gap: 0.25rem 0.75rem;
  align-items: center; margin: 0; max-width: 30rem; font-variant-numeric: tabular-nums; }
.levels dt.likeliest { font-weight: 700; } .levels dd { margin: 0; }
.track { background: var(--soft); border: 1px solid var(--pale); border-radius: 3px; height: 1rem; }
.track i { display: block; height: 100%; border-right: 2px solid var(--quiet); }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 0.92rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; font-weight: 600; padding: 0.25rem 0; }
th, td { border-bottom: 1px solid var(--pale); padding: 0.4rem 0.7rem; text-align: left;
  vertical-align: top; }
thead th { background: var(--soft); } tbody th { font-weight: 600; white-space: nowrap; }
tr.differs td.told { background: var(--alert); }
.sign { display: inline-block; width: 1.1em; font-weight: 700; }
.if { display: grid; grid-template-columns: minmax(9rem, 1fr) max-content max-content; gap: 0 0.75rem; }
.if .most { font-weight: 700; text-decoration: underline 2px; text-underline-offset: 3px; }
.hidden { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%);
  white-space: nowrap; }
</style>
</head>
<body>
$body
</body>
</html>
""")
_ANY, _LEFT, _WIDTH = 400, 16, 368
_SIGNS = {1: ("+", "speaks for it"), -1: ("\N{MINUS SIGN}", "speaks against it"), 0: ("", "takes no side")}


def to_html(explained: Sequence[tuple[Explanation, Pixels]], failures: Sequence[tuple[str, str]] = ()) -> str:
    """Write one page about one image or several.

    Args:
        explained: each explanation, and the image that it is about, uint8 (height, width, 3).
        failures: names of images that could not be explained, and why; they are listed.
    """
    names = [explanation.source or "image" for explanation, _ in explained]
    title = f"Why {names[0]} looks as it does" if len(names) == 1 else f"{len(names)} images explained"
    parts = [f"<header><h1>{escape(_shown(title))}</h1>"]
    if len(names) > 1:
        links = (
            f'<li><a href="#image-{number}">{escape(_shown(name))}</a>, {explanation.quality:.2f}</li>'
            for number, (name, (explanation, _)) in enumerate(zip(names, explained, strict=True))
        )
        parts.append(f'<nav aria-label="Images"><ol>{"".join(links)}</ol></nav>')
    parts.append("</header><main>")
    parts += _failed(failures)
    for number, (explanation, pixels) in enumerate(explained):
        heading = f"<h2>{escape(_shown(names[number]))}</h2>" if len(names) > 1 else ""
        parts.append(f'<article id="image-{number}">{heading}')
        parts += _article(explanation, pixels)
        parts.append("</article>")
    return _PAGE.substitute(title=escape(_shown(title)), body="\n".join([*parts, "</main>"]))


def _failed(failures: Sequence[tuple[str, str]]) -> Iterator[str]:
    if failures:
        items = "".join(
            f"<li>{escape(_shown(name))}: {escape(_shown(reason))}</li>" for name, reason in failures
        )
        yield f'<aside class="alert"><h3>Not explained</h3><ul>{items}</ul></aside>'


def _article(explanation: Explanation, pixels: Pixels) -> Iterator[str]:
    picture = thumbnail(pixels, _LONGEST)
    yield '<div class="top">'
    yield f'<figure><img src="{_source(picture)}" alt="The image"></figure>'
    yield from _map(explanation, picture)
    yield from _score(explanation)
    yield "</div>"
    yield from _alert(explanation)
    yield "<section><h3>What is seen</h3>"
    yield f"<blockquote>{escape(_shown(explanation.description)) or '(nothing was described)'}</blockquote>"
    yield "</section><section><h3>What moves the verdict</h3>"
    yield from (f"<p>{escape(sentence)}</p>" for sentence in moves(explanation))
    if explanation.seen:
        yield _table(explanation)
    yield f"</section><p><small>{escape(_origin(explanation))}</small></p>"


def _map(explanation: Explanation, picture: Image.Image) -> Iterator[str]:
    where = escape(local(explanation.quality_map))
    yield f'<figure><img src="{_source(overlay(picture, explanation.quality_map))}" '
    yield f'alt="Map of local quality: {where}">'
    yield f'<div class="scale" style="background: linear-gradient(to right, {", ".join(STOPS)})"></div>'
    yield '<div class="ticks"><span>1 bad</span><span>2</span><span>3</span><span>4</span>'
    yield f"<span>5 excellent</span></div><figcaption>Local quality: {where}.</figcaption></figure>"


def _score(explanation: Explanation) -> Iterator[str]:
    verdict, interval = explanation.verdict, explanation.interval
    coverage = share(interval.coverage)
    yield "<div>"
    yield f'<div class="score">{explanation.quality:.2f} <small>{grade(explanation.quality)}</small></div>'
    yield f"<p>{coverage} interval {interval.low:.2f} to {interval.high:.2f}, "
    yield "on the scale from 1 (bad) to 5 (excellent).</p>"
    yield _axis(explanation)
    yield f"<h3>Verdict from the description alone: {escape(verdict.level)}, {verdict.quality:.2f}</h3>"
    yield '<dl class="levels">'
    for number, (word, probability) in enumerate(verdict.probabilities.items()):
        kind = ' class="likeliest"' if word == verdict.level else ""
        colour = hexadecimal(HIGHEST - (HIGHEST - LOWEST) * number / (len(verdict.probabilities) - 1))
        yield f"<dt{kind}>{escape(word)}</dt>"
        yield f'<dd class="track"><i style="width: {100 * probability:.1f}%; background: {colour}"></i></dd>'
        yield f"<dd>{share(probability)}</dd>"
    yield f"</dl><small>{FIRMLY}</small></div>"


def _axis(explanation: Explanation) -> str:
    """Score, interval and verdict on one axis."""
    interval, verdict = explanation.interval, explanation.verdict

    def across(quality: float) -> float:
        return _LEFT + _WIDTH * (quality - LOWEST) / (HIGHEST - LOWEST)

    ticks = "".join(
        f'<line x1="{across(tick):.1f}" x2="{across(tick):.1f}" y1="26" y2="32" stroke="var(--quiet)"/>'
        f'<text x="{across(tick):.1f}" y="46">{tick}</text>'
        for tick in range(int(LOWEST), int(HIGHEST) + 1)
    )
    low, high, centre = across(interval.low), across(interval.high), across(verdict.quality)
    told = (
        f"Score {explanation.quality:.2f}, interval {interval.low:.2f} to {interval.high:.2f}, "
        f"verdict {verdict.quality:.2f}"
    )
    return (
        f'<svg class="axis" viewBox="0 0 {_ANY} 50" role="img" aria-label="{told}">'
        f'<rect x="{low:.1f}" y="8" width="{high - low:.1f}" height="16" rx="3" fill="var(--band)"/>'
        f'<line x1="{_LEFT}" x2="{_LEFT + _WIDTH}" y1="29" y2="29" stroke="var(--quiet)"/>{ticks}'
        f'<circle cx="{across(explanation.quality):.1f}" cy="16" r="6.5" fill="var(--ink)"/>'
        f'<path d="M{centre:.1f} 7.5l8.5 8.5l-8.5 8.5l-8.5 -8.5z" fill="none" stroke="var(--alert-edge)" '
        'stroke-width="2.5"/></svg>'
        '<small aria-hidden="true">● score in its interval, ◇ verdict</small>'
    )


def _alert(explanation: Explanation) -> Iterator[str]:
    texts = [disagreement.text for disagreement in explanation.disagreements]
    for heading, lines in (("This does not fit together", texts), ("To be noted", explanation.warnings)):
        if lines:
            items = "".join(f"<li>{escape(_shown(line))}</li>" for line in lines)
            yield f'<aside class="alert"><h3>{heading}</h3><ul>{items}</ul></aside>'


def _table(explanation: Explanation) -> str:
    most = {change for change in (explanation.up, explanation.down) if change is not None}
    rows = "".join(_row(one, most) for one in explanation.seen)
    heads = "".join(
        f'<th scope="col">{head}</th>'
        for head in ("attribute", "described as", "measured, among photographs", "verdict if said otherwise")
    )
    return (
        '<div class="wide" role="region" tabindex="0" aria-label="Attributes"><table>'
        "<caption>Attributes: + speaks for the image, \N{MINUS SIGN} against it; underlined: what would move "
        f"the verdict most</caption><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _row(one: Seen, most: set[WhatIf]) -> str:
    sign, meaning = _SIGNS[one.polarity]
    kind = ' class="differs"' if one.differs else ""
    measured = "<small>no formula measures it</small>" if one.measured is None else _told(one.measured)
    note = " <b>≠</b><span class='hidden'> differs from what is said</span>" if one.differs else ""
    changes = "".join(_change(change, change in most) for change in one.what_if)
    return (
        f'<tr{kind}><th scope="row">{escape(label(one.attribute))}</th>'
        f'<td class="told"><span class="sign" aria-hidden="true">{sign}</span>{_told(one.said)}'
        f'<span class="hidden">, {meaning}</span></td><td class="told">{measured}{note}</td>'
        f'<td><div class="if">{changes}</div></td></tr>'
    )


def _change(change: WhatIf, most: bool) -> str:
    kind = ' class="most"' if most else ""
    return (
        f"<span>{escape(change.phrase)}</span><span{kind}>{moved(change)}</span>"
        f"<span>{escape(change.level)}</span>"
    )


def _told(told: Told) -> str:
    where = "" if told.place is None else f" <small>({escape(_shown(told.place))})</small>"
    return f"{escape(_shown(told.phrase))}{where}"


def _origin(explanation: Explanation) -> str:
    return (
        f"Score and interval: {explanation.assessment.model}, which looks at the image. Description, verdict "
        f"and map: {explanation.model}. The verdict comes from the description alone; the judge never sees "
        "the image. What would move it says how this model reasons, not what editing the image would do."
    )


def _source(picture: Image.Image) -> str:
    """A picture as a data address."""
    written = io.BytesIO()
    picture.save(written, "JPEG", quality=88)
    return f"data:image/jpeg;base64,{base64.b64encode(written.getvalue()).decode()}"


def _shown(text: str) -> str:
    """Text without control codes and stray bytes, which names of files may hold."""
    return "".join(mark if mark.isprintable() else mark.encode("unicode_escape").decode() for mark in text)
