"""Calibration: probabilities become as often right as they say, words are worth what they stand for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from constructed_explainer import constructed_explainer
from foveal.explanation.judge import Judge
from foveal.lab.reasoning.calibrate import calibrate, fit_temperature, soften
from foveal.lab.reasoning.levels import Q_ALIGN, Q_BENCH, LevelSet


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_the_temperature_of_too_sure_or_unsure_probabilities_is_found(temperature: float) -> None:
    random = np.random.default_rng(0)
    logits = random.normal(0, 2, (20_000, 5))
    true = soften(np.exp(logits), 1.0)
    levels = np.array([random.choice(5, p=row) for row in true])
    told = soften(true, 1 / temperature)
    assert fit_temperature(told, levels) == pytest.approx(temperature, rel=0.05)
    assert soften(told, temperature) == pytest.approx(true, abs=1e-3)


def test_softening_keeps_the_likeliest_and_adds_up() -> None:
    chances = np.random.default_rng(1).dirichlet(np.ones(5), 100)
    softened = soften(chances, 3.0)
    assert softened.sum(axis=1) == pytest.approx(1)
    assert np.array_equal(softened.argmax(axis=1), chances.argmax(axis=1))
    assert softened.max(axis=1).mean() < chances.max(axis=1).mean()


@pytest.mark.parametrize("levels", [Q_ALIGN, Q_BENCH])
def test_words_are_worth_the_middles_of_their_ranges(levels: LevelSet) -> None:
    assert np.array_equal(levels.level_of(levels.middles), np.arange(len(levels.words)))
    scores = np.linspace(1.0001, 5, 4000)
    means = [scores[levels.level_of(scores) == place].mean() for place in range(len(levels.words))]
    assert levels.middles == pytest.approx(means, abs=0.01)


def test_what_does_not_fit_together_is_refused() -> None:
    with pytest.raises(ValueError, match="do not fit"):
        fit_temperature(np.ones((3, 5)) / 5, [0, 1])
    with pytest.raises(ValueError, match="do not fit"):
        fit_temperature(np.empty((0, 5)), [])


def test_an_explainer_is_calibrated_on_images(tmp_path: Path) -> None:
    model = constructed_explainer()
    paths, random = [], np.random.default_rng(2)
    for number in range(12):
        paths.append(tmp_path / f"{number}.png")
        noise = random.integers(0, 20 * number + 20, (60, 80, 3)).astype(np.uint8)
        Image.fromarray(noise).save(paths[-1])
    mos = np.linspace(1.1, 4.9, len(paths))
    told: list[tuple[int, int]] = []
    calibrated, found = calibrate(model, paths, mos, lambda done, of: told.append((done, of)))
    assert told[-1] == (12, 12)
    settings = calibrated.settings
    assert settings.temperature == found.temperature > 0
    assert list(settings.levels) == list(model.settings.levels)
    worth = tuple(settings.levels.values())
    assert (worth[0], worth[-1]) == (pytest.approx(4.6), pytest.approx(1.4))
    assert {"srcc", "rmse", "confidence", "accuracy"} <= set(found.figures)


def test_the_judge_divides_by_its_temperature() -> None:
    model = constructed_explainer()
    from foveal.explanation.decoder import Decoder

    texts = ["very noisy. soft.", "sharp."]
    rows = [
        Judge(Decoder(model.judge, settings.judge), settings).judge(texts)
        for settings in (model.settings, replace(model.settings, temperature=2.5))
    ]
    assert rows[1] == pytest.approx(soften(rows[0], 2.5))


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan"), float("inf")])
def test_other_temperatures_are_refused(temperature: float) -> None:
    with pytest.raises(ValueError, match="temperature"):
        replace(constructed_explainer().settings, temperature=temperature)
