"""The page at ``/``: one file with everything in it, and a policy that runs nothing else."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass
from importlib.resources import files

from foveal.explanation.colours import STOPS
from foveal.service.settings import Settings


@dataclass(frozen=True, slots=True)
class Page:
    """The page and the policy that goes with it.

    Attributes:
        html: UTF-8.
        policy: value of Content-Security-Policy: its style and its script, by their hashes, images that the
            user chose, and this service; nothing else.
        tag: value of ETag.
    """

    html: bytes
    policy: str
    tag: str


def make_page(settings: Settings) -> Page:
    """Put the page together.

    Args:
        settings: the page is told the limits, so that it can say at once what will be refused.
    """
    assets = files("foveal.service").joinpath("assets")
    page, style, script = (
        assets.joinpath(name).read_text(encoding="utf-8") for name in ("page.html", "page.css", "page.js")
    )
    told = {
        "stops": STOPS,
        "maxImage": settings.max_image,
        "maxName": settings.max_name,
        "maxPrompt": settings.max_prompt,
        "explains": settings.explain_workers > 0,
    }
    script = script.replace('"{{settings}}"', json.dumps(told))
    style = style.replace("{{stops}}", ", ".join(STOPS))
    html = page.replace("{{style}}", style).replace("{{script}}", script).encode()
    policy = "; ".join(
        (
            "default-src 'none'",
            f"script-src '{_hash(script)}'",
            f"style-src '{_hash(style)}'",
            "img-src blob: data:",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
            "require-trusted-types-for 'script'",
            "trusted-types 'none'",
        )
    )
    return Page(html, policy, f'"{hashlib.sha256(html).hexdigest()[:32]}"')


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode('ascii')}"
