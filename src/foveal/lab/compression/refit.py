"""Fitting a head anew to what a compressed body gives."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray

from foveal.lab.models.base import QualityModel
from foveal.lab.training.config import LEAST_BATCH, TrainingConfig
from foveal.lab.training.feature_rows import FeatureRows
from foveal.lab.training.fit import fit
from foveal.lab.training.inference import OrderedInference
from foveal.lab.training.losses import LossWeights

Features = Mapping[str, NDArray[np.float32]]
"""Features of each view by its name, (images, d)."""


@dataclass(frozen=True)
class RefitConfig:
    """How a head is fitted anew.

    It goes on from its weights at a low rate, so that a few epochs do.

    Attributes:
        training: see :class:`~foveal.lab.training.config.TrainingConfig`.
    """

    training: TrainingConfig = field(
        default_factory=lambda: TrainingConfig(
            epochs=15,
            batch=128,
            lr=3e-4,
            weight_decay=0.05,
            ema=0.99,
            validation_batch=250,
            losses=LossWeights(mse=1.0, plcc=0.3, spread=0.1),
        )
    )


@dataclass(frozen=True)
class RatedFeatures:
    """What a head is fitted to.

    Attributes:
        features: by view.
        rated: people's scores, float (images, targets) on 1-5, NaN where one is missing.
    """

    features: Features
    rated: NDArray[np.float64]


def compute_features(
    body: bytes,
    inputs: Mapping[str, tuple[int, ...]],
    outputs: Mapping[str, str],
    images: Iterable[Mapping[str, NDArray[np.uint8]]],
) -> Features:
    """Run a body over images.

    Args:
        body: serialized ONNX model.
        inputs: shape of one image's input by name.
        outputs: name of the body's output by view.
        images: views of each, (1, ...) by input name.

    Raises:
        ValueError: there are no images.
    """
    infer = OrderedInference(body, {name: [1, *shape] for name, shape in inputs.items()})
    rows = list(infer(dict(views) for views in images))
    if not rows:
        raise ValueError("no images to compute features of")
    columns = [np.stack(column) for column in zip(*rows, strict=True)]
    return dict(zip(outputs, columns, strict=True))


def refit_head(
    network: QualityModel, train: RatedFeatures, validation: RatedFeatures, config: RefitConfig | None = None
) -> tuple[QualityModel, float]:
    """Fit the head of a model to features that have changed.

    Args:
        network: a model with a frozen head; it stays as it is.
        train: features of the training part.
        validation: of the validation part, which chooses the epoch.
        config: how.

    Returns:
        A copy of the model with the fitted head, and its SRCC on the validation part.

    Raises:
        ValueError: the model has no head of its own, or there are too few images.
    """
    config = config or RefitConfig()
    fitted = copy.deepcopy(network)
    head = fitted.frozen_head()
    if head is None:
        raise ValueError(f"{type(network).__name__} as trained here has no head of its own")
    learnt, chooses = _rows(train, config), _rows(validation, config)
    fitted.standardise(learnt.features)
    # Few ratings make one batch, not an error.
    training = replace(config.training, batch=max(LEAST_BATCH, min(config.training.batch, len(learnt))))
    with tempfile.TemporaryDirectory() as folder:
        result = fit(head, fitted.parameter_groups(), learnt, chooses, training, folder=folder, cpu=True)
    return fitted.eval(), float(result.validation["srcc"])


def _rows(part: RatedFeatures, config: RefitConfig) -> FeatureRows:
    features = {name: [torch.from_numpy(rows)] for name, rows in part.features.items()}
    rated = torch.from_numpy(part.rated.astype(np.float32))
    return FeatureRows(features, rated, config.training.seed)
