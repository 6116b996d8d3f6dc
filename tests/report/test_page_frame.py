"""The frame: nothing is fetched, nothing runs that is not ours, and everything can be read."""

from __future__ import annotations

import base64
import hashlib
import itertools
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foveal.errors import OutputError
from foveal.explanation.colours import STOPS
from foveal.report.file import check_target, write_page
from foveal.report.page import as_json, asset, page
from report_pages import Page

CSS = asset("page.css")
SCRIPTS = {kind: asset("common.js") + asset(f"{kind}.js") for kind in ("score", "compare")}
TOKENS = dict(re.findall(r"--([\w-]+): light-dark\((#\w{6}, #\w{6})\);", CSS))
TEXT = [
    ("ink", "paper"),
    ("ink", "raised"),
    ("ink", "sunken"),
    ("ink", "tint"),
    ("quiet", "paper"),
    ("quiet", "raised"),
    ("quiet", "sunken"),
    ("quiet", "tint"),
    ("accent", "paper"),
    ("accent", "raised"),
    ("accent", "sunken"),
    ("on-accent", "accent"),
    ("alert", "paper"),
    ("alert", "raised"),
    ("alert", "sunken"),
    ("alert", "tint"),
]
GRAPHICS = [
    ("edge", "paper"),
    ("edge", "raised"),
    ("accent", "tint"),
    ("band", "paper"),
    ("up", "paper"),
    ("down", "paper"),
    ("up", "raised"),
    ("down", "raised"),
    ("rim", "paper"),
    ("rim", "raised"),
]


def luminance(colour: str) -> float:
    """Relative luminance as WCAG 2.2 defines it."""
    channels = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def test_contrast_is_measured_right() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#767676", "#ffffff") == pytest.approx(
        4.54, abs=0.01
    )  # the well-known lightest grey of AA


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize(("least", "pairs"), [(4.5, TEXT), (3.0, GRAPHICS)])
def test_contrast_is_that_of_wcag_aa_in_light_and_dark(
    least: float, pairs: list[tuple[str, str]], dark: bool
) -> None:
    for front, back in pairs:
        colours = [TOKENS[name].split(", ")[dark] for name in (front, back)]
        assert contrast(*colours) >= least, (front, back, dark)


def test_no_colour_goes_past_the_tokens() -> None:
    rest = re.sub(r"--[\w-]+: light-dark\([^)]*\);", "", CSS)
    assert re.findall(r"#[0-9a-fA-F]{3,8}\b", rest) == []
    assert set(re.findall(r"var\(--([\w-]+)", CSS)) <= TOKENS.keys() | {"row"}
    assert [stop for stop in STOPS if not re.fullmatch(r"#\w{6}", stop)] == []


@pytest.mark.parametrize("kind", SCRIPTS)
def test_scripts_never_make_markup_or_code_of_text_and_call_nobody(kind: str) -> None:
    forbidden = (
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|createContextualFragment|srcdoc"
        r"|\beval\b|new Function|setTimeout\(\"|\bimport\b|fetch\(|XMLHttpRequest|WebSocket|EventSource"
        r"|sendBeacon|http:|https:|localStorage|location\s*="
    )
    assert re.findall(forbidden, SCRIPTS[kind]) == []


def test_styles_ask_for_nothing() -> None:
    assert re.findall(r"url\(|@import|http|expression\(", CSS) == []
    assert "prefers-color-scheme" not in CSS  # light-dark() follows it, and the switch
    for query in ("@media print", "prefers-reduced-motion: no-preference", "forced-colors"):
        assert query in CSS
    # Whatever moves, moves only for those who have nothing against it.
    still = re.sub(
        r"@media \(prefers-reduced-motion: no-preference\) \{(?:[^{}]|\{(?:[^{}]|\{[^{}]*\})*\})*\}", "", CSS
    )
    assert re.findall(r"transition|animation", still) == []


def made(kind: str = "score", title: str = "A title", **data: object) -> str:
    body = '<h2 id="table-title">t</h2>'
    return page(title=title, kind=kind, body=body, notes=["a <note>"], data=data)


@pytest.mark.parametrize("kind", SCRIPTS)
def test_the_policy_admits_this_style_and_this_script_and_nothing_else(kind: str) -> None:
    html = made(kind)
    read = Page(html)
    policy = next(attrs["content"] for tag, attrs in read.elements if attrs.get("http-equiv"))
    assert policy is not None
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    for name, content in (("style-src", read.raw["style"]), ("script-src", read.raw["script"])):
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert rules.pop(name) == f"'sha256-{digest}'"
    assert rules == {
        "default-src": "'none'",
        "img-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    # It stands before anything that it is about.
    assert html.index("Content-Security-Policy") < html.index("<style") < html.index("<script")


@pytest.mark.parametrize("kind", SCRIPTS)
def test_the_frame_points_nowhere_and_holds_no_handler(kind: str) -> None:
    read = Page(made(kind))
    for _, attributes in read.elements:
        assert not [name for name in attributes if name.startswith("on") or name == "style"]
        for name in ("src", "href", "action", "srcset", "data"):
            assert (attributes.get(name) or "#").startswith(("#", "data:image/"))
    assert "http:" not in read.html
    assert "https:" not in read.html


hostile = st.text(
    st.characters() | st.sampled_from("<>&'\"/\\$`\u2028\u2029\udce9\u202e\0\n")
) | st.sampled_from(
    ["</script><img src=x onerror=alert(1)>", "<!--<script>", "]]>", "${alert(1)}", "$title", "&lt;b&gt;"]
)


@settings(max_examples=50, deadline=None)
@given(texts=st.lists(hostile))
def test_any_text_survives_in_the_data_and_none_of_it_is_markup(texts: list[str]) -> None:
    written = as_json({"texts": texts})
    assert written.isascii()
    assert not set(written) & set("<>&")
    assert Page(made(texts=texts)).data["texts"] == texts


@settings(max_examples=50, deadline=None)
@given(title=hostile)
def test_any_title_is_text(title: str) -> None:
    read = Page(made(title=title))
    scripts = [attributes.get("type") for tag, attributes in read.elements if tag == "script"]
    assert scripts == ["application/json", None]
    assert "img" not in read.tags()
    read.html.encode()  # no stray bytes


def test_every_part_that_scripts_reach_for_is_there() -> None:
    templates = asset("frame.html") + asset("table.html")
    ids = set(re.findall(r'id="([\w-]+)"', templates))
    for name in set(itertools.chain(*(re.findall(r'\bat\("([\w-]+)"\)', text) for text in SCRIPTS.values()))):
        assert name in ids | {"scatter"}, name


def test_pages_are_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "page.html"
    assert write_page(target, "né") == 3
    assert target.read_bytes() == "né".encode()

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_bytes", full)
        with pytest.raises(OutputError, match=r"page\.html: cannot be written \(No space left on device\)"):
            write_page(target, "other")
    assert target.read_bytes() == "né".encode()
    assert list(tmp_path.iterdir()) == [target]


def test_places_for_no_page_are_refused(tmp_path: Path) -> None:
    check_target(tmp_path / "page.HTML")
    (tmp_path / "folder.html").mkdir()
    for name, said in (
        ("photo.jpg", "ends in .html"),
        ("nowhere/page.html", "there is no folder"),
        ("folder.html", "is a folder"),
    ):
        with pytest.raises(OutputError, match=said):
            check_target(tmp_path / name)
