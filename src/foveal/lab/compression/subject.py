"""What is to be compressed: a trained model, in two parts where it can be cut, or a finished artifact."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from foveal.artifact.card import Card, ViewSpec
from foveal.artifact.file import Artifact, read_artifact
from foveal.lab.compression.layers import with_float_weights
from foveal.lab.compression.split import Body, can_split, export_body, export_head
from foveal.lab.export import chain, to_artifact
from foveal.lab.export_trained import make_card, model_graph
from foveal.lab.trained import TrainedModel
from foveal.runtime.engine import input_shapes

if TYPE_CHECKING:
    import onnx


@dataclass(frozen=True)
class Subject:
    """A model that is to be compressed.

    Attributes:
        original: the model as an artifact before anything is done to it.
        body: what is quantised: views in; features out if there is a head apart, else all outputs.
        parts: the body and its features, where there is a head apart.
        trained: the model whose head can be fitted anew; None if there is none.
        file_size: bytes of the file that it was read from; None of a trained model.
    """

    original: Artifact
    body: onnx.ModelProto
    parts: Body | None = None
    trained: TrainedModel | None = None
    file_size: int | None = None

    @property
    def card(self) -> Card:
        """The card before compression."""
        return self.original.card

    @property
    def views(self) -> Mapping[str, ViewSpec]:
        """What its graph is fed with."""
        return self.card.views

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of one image in each input."""
        return input_shapes(self.card)

    def artifact(self, model: bytes, card: Card) -> Artifact:
        """An artifact from a compressed graph."""
        return to_artifact(model, card, self.original.tokenizer)


def subject_of_model(model: TrainedModel) -> Subject:
    """Take a trained model: cut in two if its training began behind a frozen body, else whole.

    Raises:
        MissingPartError: the tokenizer of a model that reads prompts cannot be stored.
    """
    import onnx

    card = make_card(model, 1, {})
    if not can_split(model.network):
        graph, tokenizer = model_graph(model)
        artifact = to_artifact(graph, card, tokenizer)
        return Subject(artifact, onnx.load_from_string(graph))
    body = export_body(model)
    whole = to_artifact(chain(body.onnx, export_head(model.network, body)), card)
    return Subject(whole, onnx.load_from_string(body.onnx), body, model)


def subject_of_artifact(path: Path) -> Subject:
    """Take a finished artifact; where its weights are in int8 already they are rounded further.

    Raises:
        ArtifactError: it cannot be read.
    """
    import onnx

    artifact = read_artifact(path)
    body = with_float_weights(onnx.load_from_string(artifact.model_bytes()))
    return Subject(artifact, body, file_size=path.stat().st_size)
