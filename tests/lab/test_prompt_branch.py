"""Does the prompt branch do the work? Pictures whose content is known, with prompts that fit and that do not.

Every test picture stands there twice, with its own prompt and with one that differs in a single word, so
that nothing can be known without the prompt; scenes of the test part were never shown in training.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from contrastive import train_clip
from numpy.typing import NDArray
from rendered import MATCHING, MISMATCHING, all_scenes, draw_pairs, rate
from scipy.stats import rankdata

import foveal
from foveal.lab.export_trained import export_model
from foveal.lab.models.mst_clipiqa import MstClipIqa
from foveal.lab.trained import TrainedModel
from foveal.lab.training.feature_rows import read_features
from foveal.lab.training.judging import judge
from foveal.lab.training.recipe import recipe_from
from foveal.lab.training_run import train
from foveal.ratings.table import Ratings

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
HELD_OUT = 48
TRAINED, VALIDATED, TESTED = 1500, 80, 200
EXPORTED = 40
Scores = NDArray[np.float64]


def auc(scores: Scores, positive: NDArray[np.bool_]) -> float:
    """Probability that a matching row scores above a mismatching one, ties half (Mann and Whitney)."""
    ranks, count = rankdata(scores), int(positive.sum())
    wins = ranks[positive].sum() - count * (count + 1) / 2
    return float(wins / (count * (len(positive) - count)))


@dataclass(frozen=True)
class Branch:
    """A trained model, and test pictures with prompts that fit and that do not."""

    model: TrainedModel
    test: Ratings
    cache: Path

    @property
    def matching(self) -> NDArray[np.bool_]:
        """Which rows have the picture's own prompt."""
        return self.test.quality("correspondence") > (MATCHING + MISMATCHING) / 2

    @property
    def network(self) -> MstClipIqa:
        """The network."""
        network = self.model.network
        assert isinstance(network, MstClipIqa)
        return network

    def correspondence(self, prompts: tuple[str, ...] | None = None) -> Scores:
        """What the network says of the test pictures, with their prompts or with others."""
        rows = read_features(
            self.network, replace(self.test, prompts=prompts or self.test.prompts), self.cache
        )
        quality, _ = judge(self.network.head, rows, batch=256)
        return quality[:, 1]


@pytest.fixture(scope="module")
def branch(tmp_path_factory: pytest.TempPathFactory) -> Branch:
    """About a minute on one core: two encoders, then the head on cached features."""
    folder = tmp_path_factory.mktemp("branch")
    generator = np.random.default_rng(2)
    scenes = all_scenes()
    order = generator.permutation(len(scenes))
    held, seen = ([scenes[index] for index in part] for part in (order[:HELD_OUT], order[HELD_OUT:]))
    train_clip(folder / "clip", seen, seed=2)
    (folder / "pictures").mkdir()
    parts = {
        "train": draw_pairs(seen, TRAINED, generator),
        "validation": draw_pairs(seen, VALIDATED, generator),
        "test": draw_pairs(held, TESTED, generator),
    }
    rated = rate(folder / "pictures", parts, generator)
    run = train(
        recipe_from(recipe(folder / "clip")), rated, folder=folder / "run", cache=folder / "c", cpu=True
    )
    return Branch(run.model, rated.part("test"), folder / "c")


def recipe(clip: Path) -> dict[str, Any]:
    """MST-CLIPIQA on one CLIP: the whole picture, and its middle; quality never looks at the prompt."""
    return {
        "ratings": {"path": "", "low": 1, "high": 5},
        "split": {"kind": "given"},
        "backbone": {"name": str(clip)},
        "text_backbone": {"name": str(clip)},
        "targets": ["quality", "correspondence"],
        "model": {
            "kind": "mst-clipiqa",
            "fine_view": "crop",
            "levels": "learned",
            "prompt": True,
            "prompted": ["correspondence"],
            "dropout": 0.1,
        },
        "training": {
            "epochs": 30,
            "batch": 128,
            "lr": 2e-3,
            "group_lr": {"alpha": 0.02},
            "weight_decay": 0.1,
            "validation_batch": 512,
            "losses": {"mse": 1.0, "spread": 0.1},
        },
    }


def test_correspondence_tells_fitting_prompts_of_new_scenes(branch: Branch) -> None:
    assert auc(branch.correspondence(), branch.matching) >= 0.95


def test_without_the_prompt_branch_it_is_chance(branch: Branch) -> None:
    # A table of nothing but empty prompts is refused, so the first picture keeps its own and is not counted.
    prompts = (branch.test.prompts[0], *[""] * (len(branch.test) - 1))
    without = branch.correspondence(prompts)
    assert 0.45 <= auc(without[1:], branch.matching[1:]) <= 0.55
    alpha = branch.network.head.prompt.alpha
    before = alpha.detach().clone()
    assert before.abs().max() > 0
    with torch.no_grad():
        alpha.zero_()
        try:
            assert 0.45 <= auc(branch.correspondence(), branch.matching) <= 0.55
        finally:
            alpha.copy_(before)


def test_prompts_of_other_scenes_do_no_better_than_chance(branch: Branch) -> None:
    shuffled = np.random.default_rng(0).permutation(np.array(branch.test.prompts))
    assert 0.4 <= auc(branch.correspondence(tuple(shuffled)), branch.matching) <= 0.6


def test_the_exported_file_says_the_same(branch: Branch, tmp_path: Path) -> None:
    path = tmp_path / "branch.foveal.safetensors"
    agreement = export_model(branch.model, path)
    assert max(agreement.quality, agreement.aspects) <= 1e-3
    few = branch.test.take(range(EXPORTED))
    assessor = foveal.load(path)
    rows = list(assessor.stream(few.images, prompts=few.prompts))
    said = np.array([row.aspects["correspondence"] for row in rows])
    expected = np.clip(branch.correspondence()[:EXPORTED], 1, 5)
    assert np.abs(said - expected).max() <= 0.02  # features are cached in half precision
    bare = assessor(few.images[0], prompt="")
    assert "correspondence" not in bare.aspects
    assert any("correspondence" in warning for warning in bare.warnings)
