"""An explainer that is known to the last weight, and its file."""

from __future__ import annotations

from pathlib import Path

import pytest

import foveal
from constructed_explainer import constructed_explainer
from foveal.assessor import Assessor
from foveal.explanation.explainer import Explainer
from foveal.explanation.file import ExplainerModel, write_explainer_file


@pytest.fixture(scope="session")
def explainer_model() -> ExplainerModel:
    return constructed_explainer()


@pytest.fixture(scope="session")
def explainer_path(explainer_model: ExplainerModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("explainers") / "constructed.foveal-explainer.safetensors"
    write_explainer_file(path, explainer_model)
    return path


@pytest.fixture(scope="session")
def tiny_assessor(tiny_model_path: Path) -> Assessor:
    return foveal.load(tiny_model_path, threads=1)


@pytest.fixture(scope="session")
def explainer(explainer_model: ExplainerModel, tiny_assessor: Assessor) -> Explainer:
    return Explainer(explainer_model, tiny_assessor)
