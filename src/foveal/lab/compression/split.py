"""A model cut in two where its training begins: the frozen body, and the head that reads its features.

What compression changes in the body the head can be fitted to again, in seconds, on features that the
compressed body really gives.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from foveal.lab.export import example_views, to_onnx
from foveal.lab.export_trained import judgement_columns, runnable_copy
from foveal.lab.models.base import QualityModel
from foveal.lab.trained import TrainedModel
from foveal.runtime.engine import OUTPUTS

_FEATURES = "features_"


@dataclass(frozen=True)
class Body:
    """The part of a model that no training changes, as a graph.

    Attributes:
        onnx: serialized ONNX model: views in, features out.
        features: name of the output that holds each view's features, (batch, d), by the view's name.
        widths: d, by the view's name.
    """

    onnx: bytes
    features: Mapping[str, str]
    widths: Mapping[str, int]


def can_split(network: QualityModel) -> bool:
    """Whether a model has a head of its own that reads features of views alone."""
    return network.frozen_head() is not None and network.text is None and not network.has_map


def export_body(model: TrainedModel) -> Body:
    """The body of a model, in fp32.

    Raises:
        ValueError: the model cannot be split.
        GraphError: torch cannot write its body as a graph.
    """
    if not can_split(model.network):
        raise ValueError(f"a model of kind {model.record.kind} as trained here has no head of its own")
    network = runnable_copy(model).network
    features = {name: _FEATURES + name for name in network.views}
    example = tuple(view for spec in network.views.values() for view in example_views(1, spec.side))
    graph = BodyGraph(network).eval()
    with torch.inference_mode():
        widths = [encoded.shape[1] for encoded in graph(*example)]
    onnx = to_onnx(graph, example, list(network.views), list(features.values()))
    return Body(onnx, features, dict(zip(network.views, widths, strict=True)))


def export_head(network: QualityModel, body: Body) -> bytes:
    """The head of a model as a graph that takes what its body gives; its outputs are an artifact's.

    Args:
        network: a model that can be split.
        body: its body.

    Raises:
        ValueError: the model has no head of its own.
    """
    example = tuple(torch.zeros(2, body.widths[name]) for name in network.views)
    inputs = [body.features[name] for name in network.views]
    outputs = [*OUTPUTS, *network.targets[1:]]
    return to_onnx(HeadGraph(network).eval(), example, inputs, outputs)


class BodyGraph(nn.Module):
    """What is exported as a body: views in, features out, in the order of the network's views.

    Args:
        network: with a frozen head.
    """

    def __init__(self, network: QualityModel) -> None:
        super().__init__()
        self.network = network

    def forward(self, *views: Tensor) -> tuple[Tensor, ...]:
        """Uint8 (batch, side, side, 3) of each view -> (batch, d) of each."""
        encoded = self.network.encode_views(dict(zip(self.network.views, views, strict=True)))
        return tuple(encoded[name] for name in self.network.views)


class HeadGraph(nn.Module):
    """What is exported as a head: features in, in the order of the network's views, judgement out.

    Args:
        network: with a frozen head.

    Raises:
        ValueError: it has none.
    """

    def __init__(self, network: QualityModel) -> None:
        super().__init__()
        head = network.frozen_head()
        if head is None:
            raise ValueError("the model has no head of its own")
        self.head = head
        self.views = tuple(network.views)

    def forward(self, *features: Tensor) -> tuple[Tensor, ...]:
        """(batch, d) of each view -> (batch,) of each output."""
        return judgement_columns(self.head(dict(zip(self.views, features, strict=True))))
