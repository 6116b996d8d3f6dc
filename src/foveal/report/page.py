"""The frame of a page: one file that holds everything, asks nobody for anything, runs no script but ours."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from html import escape
from importlib.resources import files
from string import Template
from typing import Any

import foveal
from foveal.cli.text import one_line
from foveal.explanation.colours import STOPS
from foveal.explanation.sentences import GRADES

PAGE_BYTES = 64 * 2**20
"""Most that a page takes: rows first, then explanations, then thumbnails."""
ROW_BYTES = PAGE_BYTES // 4
"""Most that the rows take of it."""

_KINDS = {"score": "report", "compare": "comparison"}
"""Names of the scripts, and what the pages call themselves."""
_MARKUP = {ord("<"): "\\u003c", ord(">"): "\\u003e", ord("&"): "\\u0026"}


def safe(text: str) -> str:
    """Text of a file, or from one, as it may stand in HTML: no markup, no control codes."""
    return escape(one_line(text))


@cache
def asset(name: str) -> str:
    """One of the files that pages are made of."""
    return (files("foveal.report") / "assets" / name).read_text(encoding="utf-8")


def filled(name: str, **parts: str) -> str:
    """A template with its parts put in; they are HTML."""
    return Template(asset(name)).substitute(parts)


def page(*, title: str, kind: str, body: str, notes: Iterable[str], data: Mapping[str, Any]) -> str:
    """A whole page.

    Its security policy admits pictures in the page itself, this style sheet and this script by their hashes,
    and nothing else: neither a request nor a script that a file name might smuggle in.

    Args:
        title: plain text.
        kind: ``score`` or ``compare``: which script it has.
        body: HTML.
        notes: sentences at its foot, plain text.
        data: what the script shows; plain values.
    """
    css = asset("page.css")
    script = f'(() => {{\n"use strict";\n{asset("common.js")}\n{asset(f"{kind}.js")}}})();\n'
    policy = (
        f"default-src 'none'; img-src data:; style-src '{_digest(css)}'; script-src '{_digest(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    return filled(
        "frame.html",
        policy=policy,
        version=escape(foveal.__version__),
        title=safe(title),
        css=css,
        kind=_KINDS[kind],
        body=body,
        notes="\n".join(f"<p>{safe(note)}</p>" for note in notes),
        data=as_json({"stops": STOPS, "grades": GRADES, **data}),
        script=script,
    )


def as_json(data: Mapping[str, Any]) -> str:
    """Values as JSON that no HTML parser can mistake for markup: ASCII, without angle brackets."""
    return json.dumps(data, separators=(",", ":"), allow_nan=False).translate(_MARKUP)


def affordable(order: Sequence[int], cost: Callable[[int], int], budget: int) -> list[int]:
    """The first items, in order, that fit into a budget together; sorted."""
    taken = []
    for item in order:
        budget -= cost(item)
        if budget < 0:
            break
        taken.append(item)
    return sorted(taken)


def chip(colour: str) -> str:
    """A spot of colour beside words that say the same."""
    return (
        '<svg class="chip" viewBox="0 0 10 10" aria-hidden="true">'
        f'<circle cx="5" cy="5" r="4.6" fill="{colour}"/></svg>'
    )


def figures(pairs: Iterable[tuple[str, str]]) -> str:
    """A list of figures; labels and values are HTML."""
    rows = "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in pairs)
    return f'<dl class="figures">{rows}</dl>'


def facts(pairs: Iterable[tuple[str, str]]) -> str:
    """A list of facts, plain text; those that are empty are left out."""
    rows = "".join(f"<dt>{safe(name)}</dt><dd>{safe(value)}</dd>" for name, value in pairs if value)
    return f'<dl class="facts">{rows}</dl>'


def choices(options: Mapping[str, str]) -> str:
    """What a selection offers, plain text by value."""
    return "".join(f'<option value="{name}">{safe(text)}</option>' for name, text in options.items())


def rounded(values: Iterable[float | None]) -> list[float | None]:
    """Numbers as pages hold them: twice as fine as anything that is shown, and short."""
    return [None if value is None else round(value, 4) for value in values]


def common_folder(paths: Sequence[str]) -> str:
    """The longest beginning that all paths share, up to and with a separator; it is written only once."""
    if not paths:
        return ""
    first, last = min(paths), max(paths)
    same = 0
    while same < min(len(first), len(last)) and first[same] == last[same]:
        same += 1
    return first[: max(first.rfind("/", 0, same), first.rfind("\\", 0, same)) + 1]


def signed(difference: float) -> str:
    """A difference with its sign, as it is printed."""
    return f"{difference:+.2f}".replace("-", "\N{MINUS SIGN}")


def plural(count: int, noun: str) -> str:
    """A count with its noun: ``1 image``, ``2,000 images``."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def _digest(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode('ascii')}"
