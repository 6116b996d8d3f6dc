"""The page in a real browser, as people and keyboards use it. Screenshots go to FOVEAL_SHOTS, if set."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from service_helpers import MakePhoto

import foveal
from constructed_explainer import constructed_explainer
from foveal.explanation.file import write_explainer_file
from served import Served, served

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
webdriver = pytest.importorskip("selenium.webdriver")

from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.support.ui import WebDriverWait  # noqa: E402

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
TOKEN = "a-token-for-this-test"  # noqa: S105
PATIENCE = 120

# Luminance and contrast as WCAG 2.2 defines them; the background is that of the nearest painted ancestor.
CONTRAST = """
const parse = (text) => text.match(/[\\d.]+/g).map(Number);
const level = (c) => { c /= 255; return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4; };
const luminance = ([r, g, b]) => 0.2126 * level(r) + 0.7152 * level(g) + 0.0722 * level(b);
const behind = (e) => {
  for (; e; e = e.parentElement) {
    const c = parse(getComputedStyle(e).backgroundColor);
    if (c.length === 3 || c[3] > 0) return c;
  }
  return [255, 255, 255];
};
const found = [];
for (const e of document.querySelectorAll("*")) {
  const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
  const style = getComputedStyle(e);
  if (!own || !e.getClientRects().length || e.closest(".unseen, :disabled, svg, script, style")) continue;
  const pair = [luminance(parse(style.color)), luminance(behind(e))].sort((a, b) => b - a);
  found.push([(pair[0] + 0.05) / (pair[1] + 0.05), e.className + " " + e.textContent.trim().slice(0, 40)]);
}
return found;
"""
# What a drop or a paste brings, made from the picture of a canvas.
GIVE = """
const [kind, done] = arguments;
const canvas = document.createElement("canvas");
canvas.width = canvas.height = 96;
const context = canvas.getContext("2d");
for (let i = 0; i < 96; i += 1) {
  context.fillStyle = `hsl(${4 * i} 60% 50%)`;
  context.fillRect(i, 0, 1, 96);
}
canvas.toBlob((blob) => {
  const data = new DataTransfer();
  data.items.add(new File([blob], kind + ".png", { type: "image/png" }));
  const event = kind === "paste"
    ? new ClipboardEvent("paste", { clipboardData: data, bubbles: true, cancelable: true })
    : new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true });
  document.body.dispatchEvent(event);
  done();
});
"""

# Counts the images that are being decoded.
WATCH = """
const own = window.createImageBitmap;
window.decoding = window.most = 0;
window.createImageBitmap = async (...given) => {
  window.decoding += 1;
  window.most = Math.max(window.most, window.decoding);
  try { return await own(...given); } finally { window.decoding -= 1; }
};
"""


class Page:
    """The page, as a test uses it."""

    def __init__(self, driver: Any, address: str) -> None:
        self.driver = driver
        self.address = address

    def open(self, scheme: str = "light") -> None:
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        self.driver.get(self.address)

    def one(self, selector: str) -> Any:
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def all(self, selector: str) -> list[Any]:
        found: list[Any] = self.driver.find_elements(By.CSS_SELECTOR, selector)
        return found

    def until(self, holds: Any) -> Any:
        return WebDriverWait(self.driver, PATIENCE, 0.1).until(lambda _: holds())

    def ready(self) -> None:
        self.until(lambda: self.one("#state").text == "Ready")

    def give(self, *files: Path) -> None:
        before = len(self.all(".card"))
        self.one("#files").send_keys("\n".join(map(str, files)))
        self.until(lambda: len(self.all(".card")) == before + len(files))
        self.settle()

    def settle(self) -> None:
        self.until(lambda: self.one("#summary").text and "to come" not in self.one("#summary").text)

    def shot(self, name: str) -> None:
        folder = os.environ.get("FOVEAL_SHOTS")
        if folder:
            self.driver.save_screenshot(str(Path(folder) / f"{name}.png"))

    def complaints(self) -> list[str]:
        """What the browser complains of: errors of scripts, violations of the policy."""
        entries = self.driver.get_log("browser")
        return [entry["message"] for entry in entries if "Failed to load resource" not in entry["message"]]


@pytest.fixture(scope="module")
def explaining(tiny_model_path: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """Arguments of a service that explains."""
    explainer = tmp_path_factory.mktemp("explainer") / "constructed.foveal-explainer.safetensors"
    write_explainer_file(explainer, constructed_explainer())
    return "--model", str(tiny_model_path), "--explainer", str(explainer)


@pytest.fixture(scope="module")
def running(explaining: tuple[str, ...]) -> Iterator[Served]:
    with served(*explaining) as running:
        yield running


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    binary = next(filter(None, map(shutil.which, BROWSERS)), None)
    if binary is None:
        pytest.skip("no Chromium here")
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1280,1000"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver")))
    driver.set_script_timeout(PATIENCE)
    yield driver
    driver.quit()


@pytest.fixture
def page(browser: Any, running: Served) -> Iterator[Page]:
    page = Page(browser, f"http://127.0.0.1:{running.port}/")
    page.open()
    page.ready()
    yield page
    assert page.complaints() == []


@pytest.fixture(scope="module")
def photos(make_photo: MakePhoto, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("photos")
    paths = [folder / f"photo <b>&amp; {seed}.png" for seed in range(3)]
    for seed, path in enumerate(paths):
        Image.fromarray(make_photo(200, 300 - 40 * seed, seed)).save(path)
    return paths


def test_images_are_scored_as_in_python(
    page: Page, photos: list[Path], tiny_model_path: Path, tmp_path: Path
) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("hello", encoding="ascii")
    page.give(*photos, text)
    assessor = foveal.load(tiny_model_path)
    own = [assessor(path) for path in photos]
    assert [one.text for one in page.all(".score b")] == [f"{one.quality:.2f}" for one in own]
    first = page.one(".card .scale").get_attribute("aria-label")
    assert first.startswith(f"Quality {own[0].quality:.2f} of 5, ")
    assert f"interval {own[0].interval.low:.2f} to {own[0].interval.high:.2f}" in first
    assert [one.text for one in page.all(".name")] == [*(path.name for path in photos), "notes.txt"]
    assert page.all(".name b") == [], "names are text, never markup"
    assert page.one(".fault").text == "is not an image in a known format"
    mean = np.mean([one.quality for one in own])
    assert page.one("#summary").text == f"3 judged, 1 failed, mean {mean:.2f}"
    page.shot("cards")
    page.one("#order").send_keys("worst")
    names = [one.text for one in page.all(".name")]
    worst = sorted(zip(own, photos, strict=True), key=lambda pair: pair[0].quality)
    assert names == [*(path.name for _, path in worst), "notes.txt"]


def test_images_are_pasted_and_dropped(page: Page) -> None:
    for kind in ("paste", "drop"):
        page.driver.execute_async_script(GIVE, kind)
    page.until(lambda: len(page.all(".score b")) == 2)
    assert [one.text for one in page.all(".name")] == ["paste.png", "drop.png"]
    first, second = (one.text for one in page.all(".score b"))
    assert first == second


def test_many_images_are_decoded_a_few_at_a_time(page: Page, make_photo: MakePhoto, tmp_path: Path) -> None:
    paths = [tmp_path / f"{number}.png" for number in range(10)]
    for number, path in enumerate(paths):
        Image.fromarray(make_photo(600, 800, number)).save(path)
    page.driver.execute_script(WATCH)
    page.give(*paths)
    page.until(lambda: len(page.all(".thumb canvas")) == len(paths))
    assert page.driver.execute_script("return [window.decoding, window.most]") == [0, 2]


def test_explanations(page: Page, photos: list[Path]) -> None:
    page.give(photos[0])
    page.one('[data-act="why"]').send_keys(Keys.ENTER)
    page.until(lambda: page.all("#why .why"))
    assert page.one("#why-title").text == photos[0].name
    assert "rendering" in page.one("#why blockquote").text
    assert "Verdict from the description alone" in page.one("#why").text
    assert page.one("canvas.map").get_attribute("aria-label").startswith("Map of local quality")
    assert len(page.all("#why tbody tr")) >= 3
    page.shot("why")
    painted = "const c = document.querySelector('canvas.map'); return c.toDataURL();"
    before = page.driver.execute_script(painted)
    page.one("#strength").send_keys(Keys.HOME)
    assert page.driver.execute_script(painted) != before
    page.one("#why").send_keys(Keys.ESCAPE)
    page.until(lambda: not page.one("#why").is_displayed())
    focused = page.driver.switch_to.active_element
    assert focused.get_attribute("data-act") == "why", "back where one was"


def test_two_images_are_compared(page: Page, photos: list[Path]) -> None:
    page.give(*photos)
    assert not page.one("#compare-open").is_enabled()
    for place in (0, 1, 2):  # the first makes room for the third
        page.all('[data-act="pick"]')[place].send_keys(Keys.SPACE)
    pressed = [one.get_attribute("aria-pressed") for one in page.all('[data-act="pick"]')]
    assert pressed == ["false", "true", "true"]
    page.one("#compare-open").click()
    headings = [one.text for one in page.all("#sides h3")]
    assert headings == [f"Left: {photos[1].name}", f"Right: {photos[2].name}"]
    scores = [float(one.text) for one in page.all("#sides b")]
    higher = "right" if scores[1] > scores[0] else "left"
    assert page.one("#difference").text.startswith(
        f"The {higher} one scores {abs(scores[0] - scores[1]):.2f}"
    )
    page.shot("compare")
    at = "return document.getElementById('stage').style.getPropertyValue('--at');"
    assert page.driver.execute_script(at) == "50%"
    page.one("#slider").send_keys(Keys.ARROW_RIGHT * 10)
    assert page.driver.execute_script(at) == "60%"
    page.one("#beside").send_keys(Keys.SPACE)
    assert not page.one("#slider").is_displayed()
    left, right = (page.one(f"#stage-{side}").rect for side in ("left", "right"))
    assert left["x"] + left["width"] <= right["x"]
    assert {page.one(f"#stage-{side}").value_of_css_property("clip-path") for side in ("left", "right")} == {
        "none"
    }
    page.shot("beside")


def test_all_is_reached_by_the_keyboard(page: Page, photos: list[Path]) -> None:
    page.give(photos[0])
    page.one("body").click()
    reached = set()
    for _ in range(30):
        page.driver.switch_to.active_element.send_keys(Keys.TAB)
        active = page.driver.switch_to.active_element
        reached.add(active.get_attribute("id") or active.get_attribute("data-act"))
    assert {"choose", "order", "clear", "why", "pick", "remove"} <= reached
    page.one('[data-act="remove"]').send_keys(Keys.ENTER)
    page.until(lambda: not page.all(".card"))
    assert page.driver.switch_to.active_element.get_attribute("id") == "choose"
    assert not page.one("#results").is_displayed()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_can_be_read(page: Page, photos: list[Path], scheme: str) -> None:
    page.open(scheme)
    page.ready()
    page.give(photos[0])
    page.one('[data-act="why"]').click()
    page.until(lambda: page.all("#why .why"))
    page.shot(f"scheme-{scheme}")
    found = page.driver.execute_script(CONTRAST)
    assert len(found) > 30
    poor = [(round(ratio, 2), text) for ratio, text in found if ratio < 4.5]
    assert poor == []


def test_small_screens_need_no_scrolling_sideways(page: Page, photos: list[Path]) -> None:
    page.driver.set_window_size(500, 900)
    try:
        metrics = {"width": 360, "height": 740, "deviceScaleFactor": 1, "mobile": True}
        page.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        page.open()
        page.ready()
        page.give(*photos)
        page.shot("narrow")
        width = page.driver.execute_script("return document.documentElement.scrollWidth")
        assert width <= 360
        page.one('[data-act="why"]').click()
        page.until(lambda: page.all("#why .why"))
        page.shot("narrow-why")
        assert page.driver.execute_script("return document.documentElement.scrollWidth") <= 360
    finally:
        page.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        page.driver.set_window_size(1280, 1000)


def test_the_token_is_asked_for_and_kept_in_the_tab(
    browser: Any, tiny_model_path: Path, photos: list[Path]
) -> None:
    arguments = ("--model", str(tiny_model_path), "--explain-workers", "0")
    with served(*arguments, environment={"FOVEAL_SERVE_TOKEN": TOKEN}) as running:
        page = Page(browser, f"http://127.0.0.1:{running.port}/")
        page.open()
        page.until(lambda: page.one("#token-form").is_displayed())
        page.shot("token")
        page.one("#token").send_keys("not-the-token" + Keys.ENTER)
        page.until(lambda: page.one("#token-note").text == "That token was refused.")
        page.one("#token").send_keys(TOKEN + Keys.ENTER)
        page.ready()
        page.give(photos[0])
        assert page.one(".score b").text
        assert page.all('[data-act="why"]') == [], "nothing is explained here"
        page.open()
        page.ready()
        assert not page.one("#token-form").is_displayed()
        assert page.complaints() == []


def test_images_may_come_before_the_token(
    browser: Any, explaining: tuple[str, ...], photos: list[Path]
) -> None:
    with served(*explaining, environment={"FOVEAL_SERVE_TOKEN": TOKEN}) as running:
        page = Page(browser, f"http://127.0.0.1:{running.port}/")
        page.open()
        page.until(lambda: page.one("#token-form").is_displayed())
        page.one("#files").send_keys("\n".join(map(str, photos)))
        page.until(lambda: len(page.all(".card")) == len(photos))
        page.one('[data-act="remove"]').click()
        page.one("#token").send_keys(TOKEN + Keys.ENTER)
        page.ready()
        page.settle()
        assert len(page.all(".score b")) == len(photos) - 1
        assert len(page.all('[data-act="why"]')) == len(photos) - 1, "the model is known by now"
        page.one('[data-act="why"]').click()
        page.until(lambda: page.all("#why .why"))
        assert page.complaints() == []
