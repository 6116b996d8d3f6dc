"""Reports in a browser: sorting, filtering, keys, colours, printing, and tables of any length."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from foveal.imaging.limits import Limits
from foveal.pipeline.rows import Row
from foveal.report.compare import Side, compared
from foveal.report.compare_page import Content as Pairs
from foveal.report.compare_page import compare_page
from foveal.report.details import Details
from foveal.report.gather import Gathered
from foveal.report.pairing import Pairing, Partners
from foveal.report.score_page import Content, score_page
from foveal.report.thumbnails import Album, read_pictures
from report_pages import card, row

pytestmark = pytest.mark.slow
COUNT = 5000
QUALITIES = np.random.default_rng(1).uniform(1, 5, COUNT).round(4)
FAILED = range(0, COUNT, 250)
"""Places of images without a score."""
WARNED = range(1, COUNT, 100)
Keys = pytest.importorskip("selenium.webdriver.common.keys").Keys
Wait = pytest.importorskip("selenium.webdriver.support.ui").WebDriverWait


def many() -> list[Row]:
    rows = []
    for place, quality in enumerate(QUALITIES.tolist()):
        warnings = ["odd: very"] if place in WARNED else []
        name = f"photos/set{place % 7}/{place:04d}.jpg"
        rows.append(
            row(name, None if place in FAILED else quality, *warnings, real=None if place in FAILED else 2.0)
        )
    return rows


def content(rows: Sequence[Row], *aspects: str) -> Content:
    gathered = Gathered()
    for one in rows:
        gathered.add(one)
    return Content.of(card(*aspects), gathered)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory, make_photo: Callable[..., NDArray[np.uint8]]) -> Path:
    """Five thousand images; the worst and the best one have a picture."""
    folder = tmp_path_factory.mktemp("report")
    Image.fromarray(make_photo(60, 90)).save(folder / "x.png")
    chosen = content(many(), "real")
    wanted = [(place, str(folder / "x.png")) for place, _ in chosen.sources(2)]
    album = read_pictures(wanted, limits=Limits(), budget=1 << 20)
    path = folder / "report.html"
    path.write_text(score_page(chosen, album, Details()), encoding="utf-8")
    return path


@pytest.fixture
def page(browser: Any, report: Path) -> Any:
    browser.get(report.as_uri())
    return browser


def find(page: Any, selector: str) -> Any:
    return page.find_element("css selector", selector)


def shown_rows(page: Any) -> list[str]:
    """Texts of the rows that are there, top to bottom, beginning with the name."""
    script = (
        "return [...document.querySelectorAll('#table tbody tr:not(.gap)')]"
        ".map((row) => row.querySelector('.image').innerText + row.innerText)"
    )
    return list(page.execute_script(script))


def until(page: Any, condition: Callable[[], object]) -> None:
    Wait(page, 30).until(lambda _: condition())


def panel_text(page: Any) -> str:
    """All that the panel says; read from the page, as what just fades in counts as hidden elsewhere."""
    return str(page.execute_script("return document.getElementById('panel').innerText"))


def title_of(page: Any) -> str:
    return str(page.execute_script("return document.getElementById('panel-title').textContent"))


def press(page: Any, *keys: str) -> None:
    for key in keys:
        page.switch_to.active_element.send_keys(key)


def focused(page: Any) -> str:
    return str(page.execute_script("return document.activeElement.querySelector('.image b')?.textContent"))


def name(place: int) -> str:
    return f"{place:04d}.jpg"


def test_only_rows_in_sight_are_there(page: Any) -> None:
    for where in (0, 0.37, 0.5, 1):
        page.execute_script(
            "const s = document.getElementById('scroll');"
            "s.scrollTop = arguments[0] * (s.scrollHeight - s.clientHeight)",
            where,
        )
        first = round(where * (COUNT - 1))
        until(page, lambda first=first: any(abs(int(text[:4]) - first) < 40 for text in shown_rows(page)))
        rows = shown_rows(page)
        assert 10 < len(rows) < 200
        assert [int(text[:4]) for text in rows] == list(range(int(rows[0][:4]), int(rows[0][:4]) + len(rows)))
    assert rows[-1].startswith(name(COUNT - 1))
    # Scrolling reaches exactly as far as all rows are high.
    sizes = page.execute_script(
        "const s = document.getElementById('scroll'), row = s.querySelector('tbody tr:not(.gap)');"
        "return [s.scrollHeight, row.getBoundingClientRect().height, s.querySelector('thead').offsetHeight]"
    )
    assert sizes[0] == pytest.approx(COUNT * sizes[1] + sizes[2], abs=2)
    assert page.execute_script(
        "return document.getElementById('table').getAttribute('aria-rowcount')"
    ) == str(COUNT + 1)


def test_headings_sort_by_mouse_and_keys_and_say_so(page: Any) -> None:
    heading = find(page, "th.quality button")
    ordered = sorted(
        (place for place in range(COUNT) if place not in FAILED), key=lambda place: QUALITIES[place]
    )
    heading.click()
    assert find(page, "th.quality").get_attribute("aria-sort") == "ascending"
    assert shown_rows(page)[0].startswith(name(ordered[0]))
    heading.send_keys(Keys.ENTER)
    assert find(page, "th.quality").get_attribute("aria-sort") == "descending"
    assert shown_rows(page)[0].startswith(name(ordered[-1]))
    find(page, "th.image button").click()
    assert find(page, "th.quality").get_attribute("aria-sort") == "none"
    find(page, "th.quality button").click()
    page.execute_script("document.getElementById('scroll').scrollTop = 1e9")
    # Whatever the direction, what has no score comes last.
    until(page, lambda: "error" in shown_rows(page)[-1])


def test_filters_narrow_the_table_and_the_count_is_told(page: Any) -> None:
    count = find(page, "#count")
    assert count.text == "5,000 images"
    assert (
        page.execute_script("return document.getElementById('count').tagName") == "OUTPUT"
    )  # read out when it changes
    find(page, "#find").send_keys("SET3 42")
    fitting = [place for place in range(COUNT) if place % 7 == 3 and "42" in name(place)]
    until(page, lambda: count.text == f"{len(fitting)} of 5,000 images")
    assert shown_rows(page)[0].startswith(name(fitting[0]))
    find(page, "button[type=reset]").click()
    until(page, lambda: count.text == "5,000 images")
    find(page, "#from").send_keys("2.5")
    find(page, "#to").send_keys("2.6")
    inside = sum(2.5 <= QUALITIES[place] <= 2.6 for place in range(COUNT) if place not in FAILED)
    until(page, lambda: count.text == f"{inside} of 5,000 images")
    find(page, "button[type=reset]").click()
    for choice, expected in (
        ("failed", len(FAILED)),
        ("warned", len(WARNED)),
        ("scored", COUNT - len(FAILED)),
    ):
        page.execute_script(
            "const only = document.getElementById('only'); only.value = arguments[0];"
            "only.dispatchEvent(new Event('change'))",
            choice,
        )
        until(page, lambda expected=expected: count.text == f"{expected:,} of 5,000 images")
    find(page, "#find").send_keys("nothing like this")
    until(page, lambda: find(page, "#nothing").is_displayed())
    assert shown_rows(page) == []


def test_a_bar_of_the_histogram_filters(page: Any) -> None:
    page.execute_script(
        "document.querySelectorAll('.bin')[12].dispatchEvent(new MouseEvent('click', {bubbles: true}))"
    )
    inside = sum(2.2 <= QUALITIES[place] <= 2.3 for place in range(COUNT) if place not in FAILED)
    assert find(page, "#count").text == f"{inside} of 5,000 images"
    assert [find(page, field).get_attribute("value") for field in ("#from", "#to")] == ["2.2", "2.3"]


def test_keys_move_open_and_close(page: Any) -> None:
    page.execute_script("document.querySelector('tbody tr[tabindex=\"0\"]').focus()")
    assert focused(page) == name(0)
    press(page, Keys.ARROW_DOWN, Keys.ARROW_DOWN, Keys.ARROW_UP)
    assert focused(page) == name(1)
    press(page, Keys.PAGE_DOWN)
    assert int(focused(page)[:4]) > 5
    press(page, Keys.END)
    assert focused(page) == name(COUNT - 1)
    press(page, Keys.HOME, Keys.ARROW_DOWN)
    assert focused(page) == name(1)
    press(page, Keys.ENTER)
    assert find(page, "#panel").get_attribute("open")
    assert title_of(page) == name(1)
    press(page, Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, Keys.ARROW_LEFT, Keys.ARROW_RIGHT)
    assert title_of(page) == name(3)
    press(page, Keys.ESCAPE)
    until(page, lambda: not find(page, "#panel").get_attribute("open"))
    assert focused(page) == name(3)  # where reading stopped, not where it began


def test_tab_reaches_one_row_and_its_focus_is_seen(page: Any) -> None:
    stops = page.execute_script("return document.querySelectorAll('tbody tr[tabindex=\"0\"]').length")
    assert stops == 1
    find(page, "th:last-child button").send_keys(Keys.TAB)
    assert focused(page) == name(0)
    shadow = page.execute_script(
        "return getComputedStyle(document.activeElement.querySelector('td')).boxShadow"
    )
    assert shadow.count("inset") >= 2
    # Scrolled out of sight the row is gone, but keys still work from where it was.
    page.execute_script("document.getElementById('scroll').scrollTop = 1e9")
    until(page, lambda: shown_rows(page)[-1].startswith(name(COUNT - 1)))
    press(page, Keys.ARROW_DOWN)
    assert focused(page) == name(1)


def test_the_panel_tells_all_of_an_image(page: Any) -> None:
    worst = int(np.argmin([9 if place in FAILED else QUALITIES[place] for place in range(COUNT)]))
    find(page, ".cards .card").click()
    panel = find(page, "#panel")
    assert title_of(page) == name(worst)
    words = panel_text(page)
    low, high = max(1, QUALITIES[worst] - 0.5), QUALITIES[worst] + 0.5
    for said in (f"{QUALITIES[worst]:.2f}", f"90 % interval {low:.2f} to {high:.2f}", "real", "photos/set"):
        assert said in words
    assert "this page explains no image (--report-details sets how many)" in words
    picture = panel.find_element("css selector", "img")
    assert picture.get_attribute("naturalWidth") == "90"
    assert name(worst) in picture.get_attribute("alt")
    find(page, "#close").click()
    until(page, lambda: not panel.get_attribute("open"))
    assert page.execute_script("return document.activeElement.className") == "card"


def test_errors_and_warnings_are_in_the_panel(page: Any) -> None:
    for place, said in ((FAILED[0], "is broken"), (WARNED[0], "odd: very")):
        page.execute_script(
            "document.querySelector(`tbody tr[aria-rowindex='${arguments[0]}']`).click()", place + 2
        )
        assert said in panel_text(page)
        find(page, "#close").click()


def background(page: Any) -> float:
    """Lightness of the page, 0 to 255."""
    text = page.execute_script("return getComputedStyle(document.body).backgroundColor")
    return float(np.mean([float(part) for part in text[text.index("(") + 1 : -1].split(",")[:3]]))


def emulate(page: Any, feature: str, value: str) -> None:
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [{"name": feature, "value": value}]})


def test_colours_follow_the_system_and_the_switch(page: Any) -> None:
    try:
        for scheme, is_dark, other in (("light", False, "Dark"), ("dark", True, "Light")):
            emulate(page, "prefers-color-scheme", scheme)
            page.refresh()
            assert (background(page) < 100) is is_dark
            assert find(page, "#theme").text == other
            find(page, "#theme").click()
            assert (background(page) < 100) is not is_dark
    finally:
        emulate(page, "prefers-color-scheme", "light")


def test_nothing_moves_for_those_who_do_not_want_it(page: Any) -> None:
    seconds = "return getComputedStyle(document.querySelector('.plain')).transitionDuration"
    assert page.execute_script(seconds) != "0s"
    try:
        emulate(page, "prefers-reduced-motion", "reduce")
        assert page.execute_script(seconds) == "0s"
        find(page, ".card").click()
        assert (
            page.execute_script("return getComputedStyle(document.getElementById('panel')).animationName")
            == "none"
        )
    finally:
        emulate(page, "prefers-reduced-motion", "no-preference")


def test_printing_has_rows_and_no_controls(page: Any) -> None:
    page.execute_script(
        "addEventListener('beforeprint', () => { window.printed = ["
        "document.querySelectorAll('#table tbody tr:not(.gap)').length,"
        "document.getElementById('printed').textContent] })"
    )
    page.execute_cdp_cmd("Page.printToPDF", {})
    assert page.execute_script("return window.printed") == [1000, "Printed: the first 1,000 of 5,000 rows."]
    assert len(shown_rows(page)) < 200
    try:
        page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
        assert not find(page, "#tools").is_displayed()
        assert not find(page, "#theme").is_displayed()
        assert background(page) > 200
    finally:
        page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


@pytest.mark.parametrize("width", [320, 390, 768, 1280])
def test_pages_fit_any_width(page: Any, width: int) -> None:
    size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    try:
        page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        assert page.execute_script("return document.documentElement.scrollWidth") <= width
        inner = "const s = document.getElementById('scroll'); return s.scrollWidth - s.clientWidth"
        # The page is laid out anew for the width, which takes a busy machine a moment.
        Wait(page, 10).until(lambda _: page.execute_script(inner) == 0)
        # Columns give way, the least important first, so that names can be read.
        heads = page.execute_script(
            "return [...document.querySelectorAll('#table th')]"
            ".map((one) => [one.className, one.offsetWidth])"
        )
        assert dict(heads)["image"] > 110
        assert dict(heads)["quality"] > 100
        assert len(heads) == {320: 2, 390: 3, 768: 5, 1280: 6}[width]
        assert len(find(page, "#table tbody tr:not(.gap)").find_elements("css selector", "td")) == len(heads)
        find(page, ".card").click()
        assert (
            page.execute_script(
                "const p = document.getElementById('panel'); return p.scrollWidth - p.clientWidth"
            )
            <= 0
        )
    finally:
        page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_nothing_is_asked_for_and_nothing_goes_wrong(page: Any) -> None:
    page.get_log("browser")
    page.refresh()
    find(page, ".card").click()
    assert page.execute_script("return performance.getEntriesByType('resource').map((one) => one.name)") == []
    assert page.get_log("browser") == []  # neither faults nor offences against the policy


def test_hostile_names_are_shown_as_they_are(browser: Any, tmp_path: Path) -> None:
    names = [
        "</script><img src=x onerror=\"document.title='caught'\">.jpg",
        "\u202egpj.exe",
        "line\nbreak",
        "caf\udce9",
    ]
    rows = [Row(one, 2.0, 1.5, 2.5, "paper@1", (one,)) for one in names]
    rows += [Row(one, None, None, None, "paper@1", error=one) for one in names]
    path = tmp_path / "hostile.html"
    details = {place: {**_told(one), "picture": "", "map": ""} for place, one in enumerate(names)}
    path.write_text(score_page(content(rows), Album(), Details(details, "seer@1")), encoding="utf-8")
    browser.get_log("browser")
    browser.get(path.as_uri())
    for place in range(len(rows)):
        script = "document.querySelector(`tbody tr[aria-rowindex='${arguments[0]}']`).click()"
        browser.execute_script(script, place + 2)
        assert names[0] not in browser.title
        find(browser, "#close").click()
    assert browser.title.startswith("Image quality")
    assert browser.execute_script("return document.querySelectorAll('img[src=x], script').length") == 2
    words = find(browser, "#table").text
    assert "<img src=x onerror=" in words
    assert "\\u202egpj.exe" in words
    assert "line\\x0abreak" in words
    assert "caf\\udce9" in words
    assert [one for one in browser.get_log("browser") if "data:" not in one["message"]] == []


def _told(text: str) -> dict[str, Any]:
    return {
        "local": text,
        "description": text,
        "attributes": [{"name": text, "polarity": 1, "said": text, "measured": text, "differs": True}],
        "verdict": [text, 2.0],
        "moves": [text],
        "disagreements": [text],
    }


@pytest.fixture
def comparison(browser: Any, tmp_path: Path) -> Any:
    rng = np.random.default_rng(2)
    before = rng.uniform(1.5, 4.5, 300)
    after = np.clip(before + rng.normal(0, 0.5, 300), 1, 5)
    sides = [
        [row(f"{side}/{place:03d}.png", quality) for place, quality in enumerate(column)]
        for side, column in (("old", before.tolist()), ("new", after.tolist()))
    ]
    partners = tuple(
        Partners(f"{place:03d}.png", f"old/{place:03d}.png", f"new/{place:03d}.png") for place in range(300)
    )
    found = compared(Pairing(partners), Side("old", "paper@1"), Side("new", "paper@1"), sides)
    path = tmp_path / "comparison.html"
    path.write_text(compare_page(Pairs.of(found, (card(), card())), Album()), encoding="utf-8")
    browser.get(path.as_uri())
    browser.changes = after - before
    browser.places = (before, after)
    return browser


def test_pairs_stand_in_the_order_of_their_change(comparison: Any) -> None:
    order = np.argsort(-np.abs(comparison.changes))
    assert [text[:3] for text in shown_rows(comparison)[:10]] == [f"{place:03d}" for place in order[:10]]
    find(comparison, "th.change button").click()
    assert shown_rows(comparison)[0].startswith(f"{int(np.argmax(comparison.changes)):03d}")
    find(comparison, "th.change button").click()
    assert shown_rows(comparison)[0].startswith(f"{int(np.argmin(comparison.changes)):03d}")
    find(comparison, "#from").send_keys("0.2")
    expected = int((comparison.changes.round(4) >= 0.2).sum())
    until(comparison, lambda: find(comparison, "#count").text == f"{expected} of 300 pairs")


def test_a_point_of_the_plot_opens_its_pair(comparison: Any) -> None:
    most = int(np.argmax(np.abs(comparison.changes)))
    old, new = (float(column[most]) for column in comparison.places)
    comparison.execute_script(
        "const plot = document.getElementById('scatter'), m = plot.getScreenCTM();"
        "const p = new DOMPoint(34 + 90 * (arguments[0] - 1), 394 - 90 * (arguments[1] - 1))"
        ".matrixTransform(m);"
        "plot.dispatchEvent(new MouseEvent('click', { clientX: p.x, clientY: p.y, bubbles: true }))",
        old,
        new,
    )
    assert title_of(comparison) == f"{most:03d}.png"
    for said in (
        f"old/{most:03d}.png",
        f"new/{most:03d}.png",
        f"{old:.2f}",
        f"{new:.2f}",
        "No picture in this page",
    ):
        assert said in panel_text(comparison)
    assert comparison.get_log("browser") == []
