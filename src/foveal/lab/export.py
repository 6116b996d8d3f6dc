"""From a trained network to what the ground floor runs: an ONNX graph, in fp32 or int8."""

from __future__ import annotations

import inspect
import io
import logging
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
from foveal.errors import FovealError
from foveal.imaging.views import SIDE

_OPSET = 18

Views = Mapping[str, NDArray[np.uint8]]
"""A batch of each view by input name, uint8 (batch, side, side, 3)."""


class GraphError(FovealError):
    """A network cannot be written as a graph; the message says why."""


def example_views(count: int, side: int = SIDE) -> tuple[torch.Tensor, ...]:
    """Random views to trace a network with, uint8 (2, side, side, 3) each.

    Two images a batch: with one the exporter would take the batch axis for a constant.
    """
    return tuple(torch.randint(0, 256, (2, side, side, 3), dtype=torch.uint8) for _ in range(count))


def to_onnx(
    network: nn.Module, example: tuple[torch.Tensor, ...], inputs: Sequence[str], outputs: Sequence[str]
) -> bytes:
    """Export a network to ONNX with a free batch axis; batch norm behind a convolution is folded into it.

    Args:
        network: takes ``inputs``, returns ``outputs``, in this order.
        example: a batch of two of each input.
        inputs: names of the graph's inputs.
        outputs: names of the graph's outputs.

    Returns:
        A serialized ONNX model.

    Raises:
        GraphError: torch cannot write it.
    """
    network = network.eval()
    # At every export it would say again that torchvision's operators are not there; they are not needed.
    logging.getLogger("torch.onnx._internal.exporter._registration").setLevel(logging.ERROR)
    buffer = io.BytesIO()
    free = tuple({0: "batch"} for _ in inputs)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            program: Any = torch.onnx.export(
                network,
                example,
                input_names=list(inputs),
                output_names=list(outputs),
                # The exporter wants the shapes of a forward(*views) one level deeper.
                dynamic_shapes=(free,) if _takes_any_number(network) else free,
                opset_version=_OPSET,
                dynamo=True,
                verbose=False,
            )
        except torch.onnx.OnnxExporterError as error:
            reason = str(error.__cause__ or error).strip().partition("\n")[0]
            raise GraphError(f"torch cannot write this model as a graph ({reason})") from error
    program.save(buffer)
    return buffer.getvalue()


def _takes_any_number(network: nn.Module) -> bool:
    kinds = [parameter.kind for parameter in inspect.signature(network.forward).parameters.values()]
    return inspect.Parameter.VAR_POSITIONAL in kinds


def quantize(model: bytes, calibration: Sequence[Views]) -> bytes:
    """Post-training int8 quantisation of weights (per channel) and activations, as QDQ nodes.

    Both engines turn these into integer kernels. NNCF chooses the ranges and corrects biases on the
    calibration images, which must come from the training part. A range is the mean of what single images
    reach: that suits maps and features, but would clip a score, so leave the head out.

    Args:
        model: a serialized fp32 ONNX model.
        calibration: single views by input name; a few hundred.

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
        fast_bias_correction=True,
        # Means and deviations over the plane are what the head reads: they cost little and stay in fp32.
        ignored_scope=nncf.IgnoredScope(types=["ReduceMean", "Mul", "Sub"], validate=False),
    )
    serialized: bytes = quantized.SerializeToString()
    return serialized


def chain(first: bytes, second: bytes) -> bytes:
    """Join two ONNX models: outputs of the first feed the inputs of the second that have their names."""
    import onnx
    from onnx import compose

    head = compose.add_prefix(
        onnx.load_from_string(second), "head/", rename_inputs=False, rename_outputs=False
    )
    body = onnx.load_from_string(first)
    head.ir_version = body.ir_version
    names = [(value.name, value.name) for value in head.graph.input]
    serialized: bytes = compose.merge_models(body, head, io_map=names).SerializeToString()
    return serialized


def to_artifact(model: bytes, card: Card, tokenizer: bytes | None = None) -> Artifact:
    """Take the weights out of an ONNX model and put the card beside them; exporter's notes are left out.

    Args:
        model: serialized ONNX model.
        card: what it is.
        tokenizer: of models that read prompts; see :class:`foveal.artifact.file.Artifact`.
    """
    graph, weights = detach_initializers(without_notes(model))
    return Artifact(card=card, graph=graph, weights=weights, tokenizer=tokenizer)


def without_notes(model: bytes) -> bytes:
    """The model without what its exporter noted: stack traces with paths of the machine, and docstrings."""
    import onnx

    proto = onnx.load_from_string(model)
    for message in (proto, proto.graph):
        message.ClearField("doc_string")
        message.ClearField("metadata_props")
    for messages in (proto.graph.node, proto.graph.value_info, proto.graph.initializer):
        for message in messages:
            message.ClearField("doc_string")
            message.ClearField("metadata_props")
    for value in (*proto.graph.input, *proto.graph.output):
        value.ClearField("doc_string")
        value.ClearField("metadata_props")
    serialized: bytes = proto.SerializeToString()
    return serialized
