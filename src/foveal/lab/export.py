"""From a trained network to what the ground floor runs: an ONNX graph, in fp32 or int8."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from foveal.artifact.card import Card
from foveal.artifact.file import Artifact
from foveal.artifact.onnx_wire import detach_initializers
from foveal.imaging.views import SIDE

OUTPUTS = ("quality", "spread")
_OPSET = 18

Views = Mapping[str, NDArray[np.uint8]]
"""A batch of each view by input name, uint8 (batch, side, side, 3)."""


def to_onnx(network: nn.Module, inputs: Sequence[str], side: int = SIDE) -> bytes:
    """Export a network of uint8 NHWC views to ONNX with a free batch axis; batch norm is folded.

    Args:
        network: takes the views in the order of ``inputs``, returns quality and spread.
        inputs: names of the graph's inputs.
        side: side of a view in pixels.

    Returns:
        A serialized ONNX model.
    """
    network = network.eval()
    # Two different images: with a batch of one the exporter would take the batch axis for a constant.
    example = tuple(torch.randint(0, 256, (2, side, side, 3), dtype=torch.uint8) for _ in inputs)
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program: Any = torch.onnx.export(
            network,
            example,
            input_names=list(inputs),
            output_names=list(OUTPUTS),
            dynamic_shapes=tuple({0: "batch"} for _ in inputs),
            opset_version=_OPSET,
            dynamo=True,
            verbose=False,
        )
    program.save(buffer)
    return buffer.getvalue()


def quantize(model: bytes, calibration: Sequence[Views], *, fast: bool = True) -> bytes:
    """Post-training int8 quantisation of weights (per channel) and activations, as QDQ nodes.

    Both engines turn these into integer kernels. NNCF chooses the ranges and corrects biases on the
    calibration images, which must come from the training part.

    Args:
        model: a serialized fp32 ONNX model.
        calibration: single views by input name; a few hundred.
        fast: fast bias correction; the slow one is layer by layer and rarely better.

    Returns:
        A serialized ONNX model.
    """
    import nncf
    import onnx

    quantized = nncf.quantize(
        onnx.load_from_string(model),
        nncf.Dataset([dict(views) for views in calibration]),
        subset_size=len(calibration),
        preset=nncf.QuantizationPreset.MIXED,
        fast_bias_correction=fast,
    )
    serialized: bytes = quantized.SerializeToString()
    return serialized


def to_artifact(model: bytes, card: Card) -> Artifact:
    """Take the weights out of an ONNX model and put the card beside them."""
    graph, weights = detach_initializers(model)
    return Artifact(card=card, graph=graph, weights=weights)
