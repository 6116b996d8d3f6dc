"""From a distilled network to the artifact: int8 trunk, head fitted on its features, calibrated interval."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from foveal.artifact.card import Calibration
from foveal.evaluation.conformal import calibration_factor
from foveal.imaging.views import SIDE
from foveal.lab.export import chain, example_views, quantize, to_onnx
from foveal.lab.models.compact import CompactNet, pool_maps
from foveal.lab.training.bank import Sources
from foveal.lab.training.head import Head, HeadConfig, HeadData, fit_head, judge_features
from foveal.lab.training.inference import OrderedInference

INPUTS = ("whole", "fragments")
_FEATURES = ("pooled_whole", "pooled_fragments")

Features = NDArray[np.float32]


class PooledTrunk(nn.Module):
    """The trunk alone: uint8 views of both kinds -> their pooled features."""

    def __init__(self, network: CompactNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, whole: Tensor, fragments: Tensor) -> tuple[Tensor, Tensor]:
        """(batch, side, side, 3) each -> (batch, features) each."""
        images = self.network.normalise(torch.cat([whole, fragments]))
        pooled = pool_maps(self.network.trunk(images))
        return pooled[: len(whole)], pooled[len(whole) :]


def export_trunk(network: CompactNet, pixels: NDArray[np.uint8], pairs: Sequence[tuple[int, int]]) -> bytes:
    """The trunk as an int8 ONNX model, calibrated on pairs of rows (whole, fragments) of ``pixels``."""
    model = to_onnx(PooledTrunk(network), example_views(2), INPUTS, _FEATURES)
    views = [{"whole": pixels[w][None], "fragments": pixels[f][None]} for w, f in pairs]
    return quantize(model, views)


def compute_features(trunk: bytes, pixels: NDArray[np.uint8], width: int) -> Features:
    """Pooled features of every view, float32 (views, width), two views a run."""
    infer = OrderedInference(trunk, {name: [1, SIDE, SIDE, 3] for name in INPUTS})
    features = np.empty((len(pixels), width), np.float32)

    def pairs() -> Iterator[dict[str, NDArray[np.uint8]]]:
        for row in range(0, len(pixels), 2):
            second = min(row + 1, len(pixels) - 1)
            yield {"whole": pixels[row][None], "fragments": pixels[second][None]}

    for number, (first, second) in enumerate(infer(pairs())):
        features[2 * number] = first
        features[min(2 * number + 1, len(pixels) - 1)] = second
    return features


def head_data(
    sources: Sources, features: Features, quality: dict[str, float], held_out: set[str]
) -> HeadData:
    """The training part as a head reads it: neither held-out images nor their degraded copies."""
    rated = [i for i, name in enumerate(sources.names) if name in quality and name not in held_out]
    series = [
        [[sources.whole[source][0], sources.fragments[source][0]], list(mild), list(strong)]
        for source, mild, strong in sources.series
        if sources.names[source] not in held_out
    ]
    return HeadData(
        features=features,
        pairs=(
            np.array([sources.whole[i] for i in rated]),
            np.array([sources.fragments[i] for i in rated]),
        ),
        quality=np.array([quality[sources.names[i]] for i in rated], np.float32),
        series=np.array(series),
    )


def assessor_rows(sources: Sources, names: set[str]) -> tuple[list[str], list[tuple[int, int]]]:
    """Names, sorted, and the rows of the views that the assessor itself would cut (draw 0)."""
    kept = sorted((name, i) for i, name in enumerate(sources.names) if name in names)
    return [name for name, _ in kept], [(sources.whole[i][0], sources.fragments[i][0]) for _, i in kept]


def fit_and_calibrate(
    data: HeadData,
    config: HeadConfig,
    held_out: tuple[Sequence[tuple[int, int]], Features],
    coverage: float = 0.9,
) -> tuple[Head, Calibration, Features]:
    """Fit the head on the training part and calibrate its interval on the held-out part.

    Args:
        data: the training part.
        config: the head's recipe.
        held_out: rows (whole, fragments) of held-out images, and their rated quality (n,).
        coverage: what the interval is to cover.

    Returns:
        The head, the calibration, and its scores of the held-out images.
    """
    head = fit_head(data, config)
    rows, rated = held_out
    predicted, spread = judge_features(head, data.features, rows)
    factor = calibration_factor(predicted, spread, rated, coverage=coverage)
    return head, Calibration(coverage=coverage, factor=factor, count=len(rated)), predicted


def assemble(trunk: bytes, head: Head) -> bytes:
    """The whole assessor as one ONNX model: int8 trunk, fp32 head."""
    example = (torch.randn(2, head.features), torch.randn(2, head.features))
    return chain(trunk, to_onnx(head, example, _FEATURES, ("quality", "spread")))
