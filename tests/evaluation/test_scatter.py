from __future__ import annotations

import subprocess
import sys
from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from foveal.errors import MissingExtraError
from foveal.evaluation.logistic import fit_logistic, logistic_4
from foveal.evaluation.scatter import COLOURS, scatter_svg, subset_colours

SVG = "{http://www.w3.org/2000/svg}"
HREF = "{http://www.w3.org/1999/xlink}href"
N = 60
RNG = np.random.default_rng(0)
RATED = RNG.uniform(1.2, 4.8, N)
PREDICTED = np.clip(3 + 1.5 * np.tanh(RATED - 3) + RNG.normal(0, 0.2, N), 1, 5)
SUBSETS = ["b"] * 35 + ["_a $x_1$"] * 25


def parsed(svg: str) -> ElementTree.Element:
    return ElementTree.fromstring(svg)  # noqa: S314 - the text is our own


def groups(root: ElementTree.Element, start: str) -> list[ElementTree.Element]:
    return [group for group in root.iter(f"{SVG}g") if group.get("id", "").startswith(start)]


def points(root: ElementTree.Element) -> NDArray[np.float64]:
    """Places of all points in the order in which they are drawn, float64 [n, 2], in the picture's unit."""
    axes = groups(root, "axes_1")[0]
    uses = [
        use
        for group in axes.findall(f"{SVG}g")
        if group.get("id", "").startswith("PathCollection")
        for use in group.iter(f"{SVG}use")
    ]
    return np.array([(float(use.get("x", "nan")), float(use.get("y", "nan"))) for use in uses])


def curve(root: ElementTree.Element) -> NDArray[np.float64]:
    """Corners of the thick line, float64 [m, 2]."""
    path = next(path for path in root.iter(f"{SVG}path") if "stroke-width: 2;" in path.get("style", ""))
    words = path.get("d", "").replace("M", " ").replace("L", " ").split()
    return np.array(words, np.float64).reshape(-1, 2)


def texts(root: ElementTree.Element) -> list[str]:
    return ["".join(text.itertext()) for text in root.iter(f"{SVG}text")]


def test_every_point_and_the_curve_are_where_they_belong() -> None:
    root = parsed(scatter_svg(PREDICTED, RATED, title="mine"))
    places = points(root)
    assert len(places) == N
    # One affine map takes all data to their places; the other way it takes the curve to the data.
    across, up = (np.polyfit(places[:, axis], data, 1) for axis, data in ((0, PREDICTED), (1, RATED)))
    np.testing.assert_allclose(np.polyval(across, places[:, 0]), PREDICTED, atol=1e-4)
    np.testing.assert_allclose(np.polyval(up, places[:, 1]), RATED, atol=1e-4)
    assert across[0] > 0 > up[0]
    x, y = np.polyval(across, curve(root)[:, 0]), np.polyval(up, curve(root)[:, 1])
    np.testing.assert_allclose(y, logistic_4(x, fit_logistic(PREDICTED, RATED).parameters), atol=1e-3)
    assert (x.min(), x.max()) == pytest.approx((PREDICTED.min(), PREDICTED.max()), abs=1e-3)


def test_figures_and_alternative_text() -> None:
    svg = scatter_svg(-PREDICTED, RATED, title="mine & <yours>", subsets=SUBSETS)
    root = parsed(svg)
    srcc = f"SRCC {stats.spearmanr(-PREDICTED, RATED).statistic:.3f}"
    plcc = f"PLCC {stats.pearsonr(-PREDICTED, RATED).statistic:.3f}"
    assert srcc.startswith("SRCC -")
    assert f"{srcc}, {plcc} (60 images)" in texts(root)
    assert "mine & <yours>" in texts(root)
    assert root.get("role") == "img"
    title, description = root.find(f"{SVG}title"), root.find(f"{SVG}desc")
    assert title is not None
    assert description is not None
    assert root.get("aria-labelledby") == f"{title.get('id')} {description.get('id')}"
    assert title.text == "mine & <yours>"
    assert description.text is not None
    for said in ("60 images", srcc, plcc, "_a $x_1$ (25 images), b (35 images)"):
        assert said in description.text


def test_the_legend_names_subsets_as_they_are_in_colours_that_differ() -> None:
    root = parsed(scatter_svg(PREDICTED, RATED, title="mine", subsets=SUBSETS))
    legend = texts(groups(root, "legend_1")[0])
    assert [text.strip("\u200b") for text in legend] == ["_a $x_1$ (25)", "b (35)"]
    colours = subset_colours(SUBSETS)
    assert colours == {"_a $x_1$": COLOURS[0], "b": COLOURS[1]}
    for name, count in (("b", 35), ("_a $x_1$", 25)):
        styled = [use for use in root.iter(f"{SVG}use") if colours[name].lower() in use.get("style", "")]
        assert len(styled) == count + 1  # one in the legend


def test_more_subsets_than_colours_share_one_and_need_no_legend() -> None:
    names = [f"set {index % 8}" for index in range(N)]
    assert set(subset_colours(names).values()) == {COLOURS[0]}
    root = parsed(scatter_svg(PREDICTED, RATED, title="mine", subsets=names))
    assert not groups(root, "legend")
    assert len(points(root)) == N


def test_scores_in_another_unit_have_an_axis_of_their_own() -> None:
    def of(predicted: NDArray[np.float64]) -> list[str]:
        return texts(parsed(scatter_svg(predicted, RATED, title="mine")))

    assert "predicted quality" in of(PREDICTED)
    assert "predicted score, in its own unit" in of(20 * PREDICTED)


def test_the_same_numbers_give_the_same_text_whatever_the_user_has_set() -> None:
    before = scatter_svg(PREDICTED, RATED, title="mine", subsets=SUBSETS)
    with mpl.rc_context({"axes.facecolor": "red", "svg.fonttype": "path", "font.size": 30}):
        assert scatter_svg(PREDICTED, RATED, title="mine", subsets=SUBSETS) == before
        assert mpl.rcParams["axes.facecolor"] == "red"
    assert "date" not in before.lower()
    assert mpl.__version__ not in before


def test_a_long_title_is_broken_into_lines_and_kept() -> None:
    title = "results/of/an/assessor/in/a/very/deep/folder/scores.csv on a set with a long name, all"
    root = parsed(scatter_svg(PREDICTED, RATED, title=title))
    assert title.replace(" ", "") in "".join(texts(root)).replace(" ", "")


def test_drawing_leaves_the_state_of_pyplot_alone() -> None:
    script = (
        "import sys; from foveal.evaluation.scatter import scatter_svg\n"
        "svg = scatter_svg([1, 2, 3, 4, 5, 6.], [1, 2, 3, 3, 4, 5.], title='x')\n"
        "print('matplotlib.pyplot' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert (done.stdout.strip(), done.stderr) == ("False", "")


def test_letters_that_matplotlib_lacks_are_no_warning(recwarn: pytest.WarningsRecorder) -> None:
    assert "写真" in scatter_svg(PREDICTED, RATED, title="写真")
    assert len(recwarn) == 0


def test_unfit_columns_are_refused() -> None:
    with pytest.raises(ValueError, match="predicted holds 1 NaN"):
        scatter_svg([1, 2, np.nan, 4, 5, 6], [1, 2, 3, 4, 5, 4], title="x")
    with pytest.raises(ValueError, match="rated scores are all 3"):
        scatter_svg([1, 2, 3, 4, 5, 6], [3] * 6, title="x")
    with pytest.raises(ValueError, match="2 labels of subsets for 60 images"):
        scatter_svg(PREDICTED, RATED, title="x", subsets=["a", "b"])


def test_without_matplotlib_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.backends.backend_svg", None)
    with pytest.raises(MissingExtraError, match=r"foveal\[evaluation\]"):
        scatter_svg(PREDICTED, RATED, title="x")
