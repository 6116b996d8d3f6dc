from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from foveal.evaluation.degradation import severity_trend
from foveal.imaging.degradations import DEGRADATIONS

Pixels = NDArray[np.uint8]


def picture(seed: int) -> Pixels:
    rng = np.random.default_rng(seed)
    coarse = rng.integers(40, 200, (8, 8, 3), np.uint8)
    return np.kron(coarse, np.ones((8, 8, 1), np.uint8)) + rng.integers(0, 30, (64, 64, 3), np.uint8)


PHOTOS = [("one", picture(1)), ("two", picture(2))]


def likeness(pixels: Pixels) -> float:
    """How near a picture is to the first photograph."""
    return -float(np.mean((pixels.astype(float) - PHOTOS[0][1]) ** 2))


def test_an_assessor_that_sees_the_damage_has_minus_one_everywhere() -> None:
    report = severity_trend(likeness, PHOTOS[:1], ("noise", "downscale", "contrast-loss", "underexposure"))
    assert report.mean == pytest.approx(-1.0)
    assert len(report.trends) == 4
    first = report.trends[0]
    assert (first.image, first.kind) == ("one", "noise")
    assert first.severities == (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
    assert first.scores[0] == 0.0
    assert list(first.scores) == sorted(first.scores, reverse=True)


def test_wrong_direction_and_indifference_show() -> None:
    backwards = severity_trend(lambda pixels: -likeness(pixels), PHOTOS[:1], kinds=("noise",))
    assert backwards.mean == pytest.approx(1.0)
    assert severity_trend(lambda _: 3.0, PHOTOS, kinds=("blur",)).mean == 0.0


def test_each_kind_and_severity_is_applied_and_the_untouched_image_is_among_them() -> None:
    seen: list[bytes] = []

    def assess(pixels: Pixels) -> float:
        seen.append(pixels.tobytes())
        return float(len(seen))

    report = severity_trend(assess, PHOTOS[:1], severities=(1.0, 0.5))
    assert [trend.kind for trend in report.trends] == list(DEGRADATIONS)
    assert all(trend.severities == (0.0, 0.5, 1.0) for trend in report.trends)
    assert seen[0] == PHOTOS[0][1].tobytes()
    assert len(seen) == 1 + 2 * len(DEGRADATIONS)
    assert len(set(seen)) == len(seen)


def test_the_trend_is_spearmans_with_its_ties() -> None:
    scores = iter([5.0, 4.0, 4.5, 4.0])
    (trend,) = severity_trend(lambda _: next(scores), PHOTOS[:1], ("blur",), (0.0, 0.3, 0.6, 1.0)).trends
    # Ranks 1 2 3 4 and 4 1.5 3 1.5: the sums of products of deviations are -3, 5 and 4.5.
    assert trend.spearman == pytest.approx(-3.0 / np.sqrt(5 * 4.5))


def test_the_table_has_means_of_rows_and_columns() -> None:
    values = {("one", "blur"): -1.0, ("one", "noise"): 1.0, ("two", "blur"): -1.0, ("two", "noise"): 0.0}
    steps = {-1.0: [3.0, 2.0, 1.0], 1.0: [3.0, 4.0, 5.0], 0.0: [3.0, 3.0, 3.0]}
    scores = iter(
        [
            score
            for image in ("one", "two")
            for score in (3.0, *steps[values[image, "blur"]][1:], *steps[values[image, "noise"]][1:])
        ]
    )
    table = severity_trend(lambda _: next(scores), PHOTOS, ("blur", "noise"), (0.5, 1.0)).table()
    assert table.headings == ("image", "blur", "noise", "mean")
    assert [row[0] for row in table.rows] == ["one", "two", "mean"]
    np.testing.assert_allclose([row[1:] for row in table.rows], [[-1, 1, 0], [-1, 0, -0.5], [-1, 0.5, -0.25]])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"images": []}, "no images"),
        ({"kinds": ()}, "no kinds"),
        ({"kinds": ("rain",)}, "unknown degradation 'rain'"),
        ({"severities": (0.0, 1.0)}, "at least three"),
        ({"severities": (0.0, 1.0, 2.0)}, "severity is 2.0"),
        ({"images": [PHOTOS[0], PHOTOS[0]]}, "one under blur comes twice"),
        ({"assess": lambda _: float("nan")}, "scores of one under blur holds 6 NaN"),
    ],
)
def test_unfit_arguments_are_refused(arguments: dict[str, object], message: str) -> None:
    usual: dict[str, object] = {"assess": lambda p: float(p.mean()), "images": PHOTOS, "kinds": ("blur",)}
    with pytest.raises(ValueError, match=message):
        severity_trend(**{**usual, **arguments})
