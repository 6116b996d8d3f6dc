from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
import pytest
from PIL import Image

from foveal.lab.compression.importance import importance
from foveal.lab.compression.lapq import Plan, compress
from foveal.lab.compression.layer_plot import short_names, write_layer_plot

SVG = "{http://www.w3.org/2000/svg}"
NAMES = ("model.block.0.fc1", "model.block.0.fc2", "model.head")


def layers_and_compressed():
    rng = np.random.default_rng(0)
    weights = {name: rng.normal(0, 0.05, (12, 20)).astype(np.float32) for name in NAMES}
    plan = Plan({NAMES[0]: 1.0}, {NAMES[0]: 2, NAMES[1]: 4, NAMES[2]: 8})
    return importance(weights), compress(weights, plan)


def draw(path, title="LAPQ of $this$"):
    write_layer_plot(path, *layers_and_compressed(), beta=0.5, title=title)
    return path


@pytest.fixture(scope="module")
def svg(tmp_path_factory):
    return draw(tmp_path_factory.mktemp("plots") / "layers.svg")


def texts(path):
    root = ElementTree.fromstring(path.read_text(encoding="utf-8"))  # noqa: S314 - the text is our own
    return ["".join(text.itertext()).strip() for text in root.iter(f"{SVG}text")]


def widths(path):
    """Widths of all bars, in the order of drawing."""
    root = ElementTree.fromstring(path.read_text(encoding="utf-8"))  # noqa: S314 - the text is our own
    found = []
    for group in root.iter(f"{SVG}g"):
        path_of = group.find(f"{SVG}path")
        if not group.get("id", "").startswith("patch_") or path_of is None:
            continue
        if "stroke" not in path_of.get("style", "") and path_of.get("clip-path"):
            words = path_of.get("d").replace("M", " ").replace("L", " ").replace("z", " ").split()
            x = np.array(words, float).reshape(-1, 2)[:, 0]
            found.append(float(x.max() - x.min()))
    return found


def test_svg_names_every_layer_and_what_is_drawn(svg):
    said = texts(svg)
    for expected in ("block.0.fc1", "block.0.fc2", "head", "LAPQ of $this$", "pruned weights, %", "EWDS"):
        assert expected in said


def test_bars_are_as_long_as_sparsity_and_bits(svg):
    _, compressed = layers_and_compressed()
    bars = widths(svg)
    sparsity, bits = bars[-6:-3], bars[-3:]
    assert sparsity[0] > 0
    assert sparsity[1:] == [0, 0]
    assert compressed.layers[NAMES[0]].sparsity > 0.5
    assert np.array(bits) / bits[2] == pytest.approx([2 / 8, 4 / 8, 1], abs=1e-4)


def test_equal_input_gives_an_equal_file_whatever_the_users_settings(svg, tmp_path):
    with mpl.rc_context({"font.size": 30, "svg.hashsalt": "other"}):
        assert draw(tmp_path / "b.svg").read_bytes() == svg.read_bytes()


def test_png_is_a_picture(tmp_path):
    with Image.open(draw(tmp_path / "layers.PNG")) as picture:
        assert picture.format == "PNG"
        assert len(np.unique(np.asarray(picture.convert("RGB")).reshape(-1, 3), axis=0)) > 10


def test_bad_input_is_told(tmp_path):
    layers, compressed = layers_and_compressed()
    with pytest.raises(ValueError, match=r"layers.pdf: a plot is written as .png or .svg"):
        draw(tmp_path / "layers.pdf")
    del layers[NAMES[0]]
    with pytest.raises(ValueError, match="2 layers with importance, 3 compressed"):
        write_layer_plot(tmp_path / "x.svg", layers, compressed, beta=0.5, title="x")


def test_short_names_leave_out_what_all_begin_with():
    assert short_names(NAMES) == ["block.0.fc1", "block.0.fc2", "head"]
    assert short_names(["a.b", "a.c.d"]) == ["b", "c.d"]
    assert short_names(["net.fc"]) == ["fc"]
    assert short_names(["x", "y.z"]) == ["x", "y.z"]
    assert short_names(["a.b", "a.b"]) == ["b", "b"]
