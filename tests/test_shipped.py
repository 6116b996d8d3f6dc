"""The shipped assessor: what its card promises, and that it judges the examples as a person would."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

import foveal
from foveal import weights
from foveal.assessment import Assessment
from foveal.assessor import Assessor
from foveal.evaluation.correlation import srcc
from foveal.ratings.biq2021 import read_biq2021

REPOSITORY = Path(__file__).resolve().parents[1]
EXAMPLES = REPOSITORY / "examples"
PHOTOS = sorted((EXAMPLES / "photos").glob("*.jpg"))
COPIES = sorted((EXAMPLES / "degraded").glob("*.jpg"))


@pytest.fixture(scope="module")
def assessor() -> Assessor:
    return foveal.load()


@pytest.fixture(scope="module")
def qualities(assessor: Assessor) -> dict[str, float]:
    """Quality of every example by name, without the suffix."""
    rows = [assessor(path) for path in PHOTOS + COPIES]
    return {path.stem: row.quality for path, row in zip(PHOTOS + COPIES, rows, strict=True)}


def test_it_is_small() -> None:
    assert weights.available()[foveal.DEFAULT_MODEL].stat().st_size <= 6_000_000


def test_its_card_says_all_that_a_user_must_know(assessor: Assessor) -> None:
    card = assessor.card
    assert card.name == foveal.DEFAULT_MODEL
    assert card.version
    assert card.range == (1, 5)
    assert card.direction == "higher is better"
    assert card.licence == "Apache-2.0"
    assert "BIQ2021" in card.training_data
    assert card.summary
    assert card.created
    assert set(card.views) == {"whole", "fragments"}
    assert card.trained_on is not None
    assert card.trained_on.min_side <= 512 <= card.trained_on.max_side
    assert (REPOSITORY / card.recipe).is_file()


def test_its_card_has_measured_figures(assessor: Assessor) -> None:
    measured = assessor.card.measured
    for part in ("validation", "official test", "clean part"):
        for figure in ("SRCC", "PLCC"):
            assert 0.7 < measured[f"BIQ2021 {part} {figure}"] < 1
    calibration = assessor.card.calibration
    assert calibration.coverage == 0.9
    assert calibration.count >= 500
    assert calibration.measured_coverage is not None
    assert abs(calibration.measured_coverage - calibration.coverage) <= 0.02


def test_examples_get_usable_assessments(assessor: Assessor) -> None:
    for path in PHOTOS:
        row = assessor(path)
        assert 1 <= row.interval.low < row.quality < row.interval.high <= 5
        assert row.interval.high - row.interval.low < 3  # else it would say nothing
        assert row.model == assessor.card.model
        assert row.warnings == ()


def test_degraded_copies_score_below_their_originals(qualities: dict[str, float]) -> None:
    below = {name: qualities[name] < qualities[name.partition("--")[0]] for name in qualities if "--" in name}
    assert len(below) == len(COPIES) == 26
    wrong = [name for name, is_below in below.items() if not is_below]
    assert len(wrong) <= 0.1 * len(below), wrong


def test_stronger_degradation_scores_lower(qualities: dict[str, float]) -> None:
    series: dict[str, list[tuple[float, float]]] = {}
    for name, quality in qualities.items():
        photo, _, what = name.partition("--")
        if what:
            kind, severity = what.rsplit("-", 1)
            series.setdefault(f"{photo} {kind}", []).append((float(severity), quality))
    assert len(series) == 13
    wrong = []
    for name, steps in series.items():
        assert [severity for severity, _ in sorted(steps)] == [0.4, 0.8]
        (_, mild), (_, strong) = sorted(steps)
        if strong >= mild:
            wrong.append(name)
    assert len(wrong) <= 0.1 * len(series), wrong


def test_a_score_depends_on_the_image_alone(assessor: Assessor, qualities: dict[str, float]) -> None:
    paths = (PHOTOS + COPIES)[::-1]
    streams = [
        assessor.stream(paths),
        assessor.stream(paths, workers=5),
        foveal.load(threads=3).stream(paths),
    ]
    for stream in streams:
        rows = [row for row in stream if isinstance(row, Assessment)]
        assert [row.quality for row in rows] == [qualities[path.stem] for path in paths]
    assert foveal.score(PHOTOS[0]).quality == qualities[PHOTOS[0].stem]


def test_examples_do_not_all_score_alike(qualities: dict[str, float]) -> None:
    assert np.ptp(list(qualities.values())) > 1
    assert sum(abs(a - b) < 1e-6 for a, b in combinations(qualities.values(), 2)) == 0


def test_it_is_the_trained_one(assessor: Assessor, shared_folder: Path) -> None:
    # It has seen these images in training: this shows that the file holds trained weights, fed as they were
    # there. It is no figure of how good the assessor is; the card has those.
    ratings = read_biq2021(shared_folder / "data" / "BIQ2021", missing="drop").part("train")
    assert len(ratings) >= 200
    rows = [row for row in assessor.stream(ratings.images) if isinstance(row, Assessment)]
    assert srcc([row.quality for row in rows], ratings.quality()) > 0.70
