"""From a model to a small artifact: weights on coarse grids, integer activations, a head that fits them."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from foveal.artifact.card import Card
from foveal.artifact.file import Artifact, read_artifact, write_artifact
from foveal.errors import FovealError
from foveal.evaluation.conformal import calibration_factor
from foveal.evaluation.correlation import plcc, srcc
from foveal.lab.compression.allocation import steps_by_sensitivity, steps_for_bits
from foveal.lab.compression.finetune import FinetuneConfig, finetune_body
from foveal.lab.compression.integer import with_integer_activations, with_levels
from foveal.lab.compression.layers import find_layers, read_weights
from foveal.lab.compression.moments import Moments, collect_moments
from foveal.lab.compression.quantizers import Quantized, compensate, round_to, spread_scale
from foveal.lab.compression.rated_views import RatedViews
from foveal.lab.compression.refit import (
    Features,
    RatedFeatures,
    RefitConfig,
    compute_features,
    refit_head,
)
from foveal.lab.compression.sensitivity import measure_sensitivity
from foveal.lab.compression.sequential import QuantizedGraph, SequentialConfig, quantize_graph
from foveal.lab.compression.split import export_head
from foveal.lab.compression.structured import StructuredConfig, prune_structured
from foveal.lab.compression.subject import Subject
from foveal.lab.compression.tidy import tidy
from foveal.lab.export import chain
from foveal.lab.models.base import QualityModel
from foveal.lab.training.inference import OrderedInference

if TYPE_CHECKING:
    import onnx

Progress = Callable[[str, int, int], None]
"""Told what is being done, how much of it is done, and how much there is."""
FP32_BITS = 32


class CompressionError(FovealError):
    """A model cannot be made as small as that; the message says how small it can."""


@dataclass(frozen=True)
class CompressionConfig:
    """How a model is compressed.

    Attributes:
        integer: int8 activations too, so that integer kernels run it; else weights only.
        calibration: images that layers are fitted on.
        sensitivity_images: images on which each layer's sensitivity is measured.
        trust: how far the measured sensitivity decides on steps, from 0 (all alike) to 1; it is measured on
            few images, and three quarters did best (docs/results.md).
        head_step: step of the grid of the head's weights, in standard deviations. A head reads thousands of
            features and needs few bits: at 2, 1.3 bits a weight cost .001 of SRCC (docs/results.md).
        sequential: how layers are fitted.
        refit: how the head is fitted anew.
        refit_images: images of the training part that the head is fitted on, at most; 0 takes all.
        finetune: how the compressed body learns from the original one; None leaves it as it is. Only for
            models with a head apart.
        finetune_images: images of the training part that it learns on, at most; 0 takes all.
        structured: whole units that leave before anything is rounded; None keeps them all. Not together with
            fine-tuning, whose network has them all.
    """

    integer: bool = True
    calibration: int = 64
    sensitivity_images: int = 16
    trust: float = 0.75
    head_step: float = 2.0
    sequential: SequentialConfig = field(default_factory=lambda: SequentialConfig(together=4))
    refit: RefitConfig = field(default_factory=RefitConfig)
    refit_images: int = 0
    finetune: FinetuneConfig | None = None
    finetune_images: int = 0
    structured: StructuredConfig | None = None

    def __post_init__(self) -> None:
        for name in ("calibration", "sensitivity_images"):
            if getattr(self, name) < 2:
                raise ValueError(f"{name} is {getattr(self, name)}, expected 2 or more")
        if self.structured is not None and self.finetune is not None:
            raise ValueError("structured pruning and fine-tuning exclude each other")
        if not 0 <= self.trust <= 1:
            raise ValueError(f"trust is {self.trust}, expected 0 to 1")
        if not self.head_step > 0:
            raise ValueError(f"head_step is {self.head_step}, expected above 0")
        for name in ("refit_images", "finetune_images"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}, expected 0 or more")


@dataclass(frozen=True)
class Compressed:
    """A compressed model and what it came to.

    Attributes:
        artifact: to be written with ``compact=True``.
        size: bytes of its file.
        original_size: bytes of the file before compression; of a trained model, of its fp32 artifact.
        bits: mean bits of the weights of all layers, by the entropy of their levels.
        quantized: levels and scales by layer's name.
        srcc: on the validation part; None without ratings.
        original_srcc: likewise, before compression.
    """

    artifact: Artifact
    size: int
    original_size: int
    bits: float
    quantized: Mapping[str, Quantized]
    srcc: float | None = None
    original_srcc: float | None = None

    @property
    def file_ratio(self) -> float:
        """CR_file: how many times smaller the file is, everything included."""
        return self.original_size / self.size

    @property
    def paper_ratio(self) -> float:
        """CR_paper: 32 over the mean bits of a weight; counts nothing else."""
        return FP32_BITS / self.bits

    @property
    def drop(self) -> float | None:
        """By how much the validation SRCC fell."""
        return None if self.srcc is None or self.original_srcc is None else self.original_srcc - self.srcc


class Compressor:
    """Compresses one model to any size; what all sizes have in common is computed once.

    Args:
        subject: the model.
        train: images of the training part; rated if the head is to be fitted anew.
        validation: rated images of the validation part; None if there are no ratings: then agreement is not
            measured, and the head stays as it is.
        config: how.
        progress: told what is going on.
    """

    def __init__(
        self,
        subject: Subject,
        train: RatedViews,
        validation: RatedViews | None = None,
        config: CompressionConfig | None = None,
        progress: Progress | None = None,
    ) -> None:
        self.subject = subject
        self.train = train
        self.validation = validation
        self.config = config or CompressionConfig()
        self._tell = progress or (lambda what, done, total: None)
        if subject.card.prompt is not None:
            raise CompressionError(
                f"{subject.card.model}: models that read prompts can only be coded without loss (--lossless)"
            )
        self._calibration = list(train.some(self.config.calibration))
        self.body = self._prepared(subject.body)
        self.layers = find_layers(self.body)
        if not self.layers:
            raise CompressionError(f"{subject.card.model}: its graph has no layers that could be compressed")
        self.weights = read_weights(self.body, self.layers)
        self._relative: dict[str, float] | None = None
        self._moments: Mapping[str, Moments] | None = None
        self._other_bytes: float | None = None
        self._original_srcc: float | None = None
        self._teacher: Features | None = None
        self.original_size = subject.file_size or _file_size(subject.original, compact=False)

    def _prepared(self, body: onnx.ModelProto) -> onnx.ModelProto:
        """The graph that is quantised: in fp32, without the units that are to leave."""
        if self.config.finetune is not None:
            return body  # its weights must be those of the network that is tuned
        if self.config.structured is None:
            return tidy(body)
        pruned = prune_structured(
            body,
            self._calibration,
            self.config.structured,
            lambda done, total: self._tell("pruning", done, total),
        )
        if not pruned.removed:
            raise CompressionError(
                f"{self.subject.card.model}: its graph has no MLPs or heads that could lose any; do not prune"
            )
        return tidy(pruned.model)

    @property
    def weight_count(self) -> int:
        """Weights of all layers that are compressed."""
        return sum(layer.size for layer in self.layers)

    def moments(self) -> Mapping[str, Moments]:
        """Of each layer's inputs before compression, by layer's name."""
        if self._moments is None:
            vectors = self.config.sequential.vectors
            self._moments = collect_moments(self.body, self.layers, self._calibration, vectors)
        return self._moments

    def relative_steps(self) -> Mapping[str, float]:
        """How coarse each layer's grid may be against the others, by its measured sensitivity."""
        if self._relative is None:
            few = self._calibration[:: max(1, len(self._calibration) // self.config.sensitivity_images)]
            sensitivity = measure_sensitivity(
                self.body,
                self.layers,
                self.moments(),
                few,
                lambda done, total: self._tell("measuring sensitivity", done, total),
            )
            sizes = {layer.name: layer.size for layer in self.layers}
            self._relative = steps_by_sensitivity(sensitivity, sizes, self.config.trust)
        return self._relative

    def estimate_size(self, bits: float) -> int:
        """About how many bytes a file of so many bits a weight has; seconds in place of minutes.

        Layers are rounded as they would be, but each for itself, and the entropy of their levels is added to
        what does not depend on bits.
        """
        levels = self._rounded(bits)
        weighed = sum(item.entropy * item.levels.size for item in levels.values()) / 8
        if self._other_bytes is None:
            body = with_levels(self.body, self.layers, levels).SerializeToString()
            if self.subject.parts is not None and self.subject.trained is not None:
                head, _ = self._compressed_head(self.subject.trained.network)
                body = chain(body, head.SerializeToString())
            size = _file_size(self.subject.artifact(body, self.subject.card), compact=True)
            self._other_bytes = size - weighed
        return round(self._other_bytes + weighed)

    def _rounded(self, bits: float) -> dict[str, Quantized]:
        steps = steps_for_bits(self.weights, self.relative_steps(), bits)
        return {
            name: compensate(
                self.weights[name],
                self.moments()[name].second,
                spread_scale(self.weights[name], step),
                damping=self.config.sequential.damping,
            )
            for name, step in steps.items()
        }

    def original_srcc(self) -> float | None:
        """Agreement before compression on the validation part."""
        if self.validation is None:
            return None
        if self._original_srcc is None:
            quality, _ = self._judge(self.subject.original, self.validation)
            self._original_srcc = _agreement(quality, self.validation)
        return self._original_srcc

    def at_bits(self, bits: float) -> Compressed:
        """Compress to so many bits a weight on average.

        Raises:
            ValueError: bits are out of range.
        """
        return self.with_steps(steps_for_bits(self.weights, self.relative_steps(), bits))

    def with_steps(self, steps: Mapping[str, float]) -> Compressed:
        """Compress with a given step of each layer's grid, in standard deviations of its weights."""
        scales = {name: spread_scale(self.weights[name], step) for name, step in steps.items()}
        fitted = quantize_graph(
            self.body,
            self.layers,
            scales,
            self._calibration,
            config=self.config.sequential,
            progress=lambda done, total: self._tell("fitting layers", done, total),
        )
        if self.config.finetune is not None:
            fitted = self._finetuned(fitted, self.config.finetune)
        if self.config.integer and not _has_integer_activations(self.body):
            self._tell("calibrating activations", 0, 1)
            body = with_integer_activations(fitted.model, self.layers, fitted.layers, self._calibration)
        else:
            body = with_levels(fitted.model, self.layers, fitted.layers)
        quantized = dict(fitted.layers)
        serialized = body.SerializeToString()
        if self.subject.parts is not None and self.subject.trained is not None:
            network = self._refit(serialized, self.subject.trained.network)
            head, levels = self._compressed_head(network)
            serialized = chain(serialized, head.SerializeToString())
            quantized |= levels
        return self._finish(serialized, quantized)

    def _finetuned(self, start: QuantizedGraph, config: FinetuneConfig) -> QuantizedGraph:
        """The body after it has learnt from the original one."""
        if self.subject.parts is None or self.subject.trained is None:
            raise CompressionError(
                f"{self.subject.card.model}: only models with a head of their own on a frozen backbone can "
                "be fine-tuned; leave that out"
            )
        images = self.train.some(self.config.finetune_images or len(self.train))
        if self._teacher is None:
            self._teacher = self._features(self.subject.body.SerializeToString(), images)
        return finetune_body(
            self.subject.trained,
            start,
            self.layers,
            images,
            self._teacher,
            config=config,
            progress=lambda done, total, _: self._tell("fine-tuning", done, total),
        )

    def _features(self, body: bytes, images: RatedViews) -> Features:
        if self.subject.parts is None:
            raise ValueError("there is no head apart")
        outputs = self.subject.parts.features
        return compute_features(body, self.subject.shapes, outputs, self._told(images))

    def _refit(self, body: bytes, network: QualityModel) -> QualityModel:
        if self.train.rated is None or self.validation is None:
            return network
        train = self.train if not self.config.refit_images else self.train.some(self.config.refit_images)
        parts = [RatedFeatures(self._features(body, part), _rated(part)) for part in (train, self.validation)]
        fitted, _ = refit_head(network, parts[0], parts[1], self.config.refit)
        return fitted

    def _compressed_head(self, network: QualityModel) -> tuple[onnx.ModelProto, dict[str, Quantized]]:
        """The head as a graph, its weights on a coarse grid."""
        import onnx

        if self.subject.parts is None:
            raise ValueError("there is no head apart")
        graph = onnx.load_from_string(export_head(network, self.subject.parts))
        layers = find_layers(graph)
        quantized = {
            name: round_to(weights, spread_scale(weights, self.config.head_step))
            for name, weights in read_weights(graph, layers).items()
        }
        return with_levels(graph, layers, quantized), quantized

    def _finish(self, model: bytes, quantized: Mapping[str, Quantized]) -> Compressed:
        """Judge the validation part, calibrate the interval anew, and see how large the file is."""
        # What was measured of the original does not hold of this one.
        card = replace(self.subject.card, measured={})
        measured = None
        if self.validation is not None:
            # What is measured is what the file holds: some weights are in half precision there.
            stored = _as_stored(self.subject.artifact(model, card))
            quality, spread = self._judge(stored, self.validation)
            measured = _agreement(quality, self.validation)
            card = _calibrated(card, quality, spread, _rated(self.validation)[:, 0])
            linear = float(plcc(quality, _rated(self.validation)[:, 0]))
            figures = {"validation SRCC": round(measured, 4), "validation PLCC": round(linear, 4)}
            card = replace(card, measured=figures)
        artifact = self.subject.artifact(model, card)
        weights = sum(item.levels.size for item in quantized.values())
        bits = sum(item.entropy * item.levels.size for item in quantized.values()) / weights
        size = _file_size(artifact, compact=True)
        return Compressed(artifact, size, self.original_size, bits, quantized, measured, self.original_srcc())

    def _judge(
        self, artifact: Artifact, images: RatedViews
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Quality and spread of each image, as the ground floor would give them."""
        shapes = {name: [1, *shape] for name, shape in self.subject.shapes.items()}
        infer = OrderedInference(artifact.model_bytes(), shapes)
        rows = [(float(row[0]), float(row[1])) for row in infer(self._told(images))]
        quality, spread = np.asarray(rows).T
        return quality, spread

    def _told(self, images: RatedViews) -> Iterator[dict[str, NDArray[np.uint8]]]:
        for done, views in enumerate(images, 1):
            yield views
            self._tell("judging images", done, len(images))


def _has_integer_activations(model: onnx.ModelProto) -> bool:
    """Whether a graph was quantised before; its activations stay on the grids that they have."""
    return any(node.op_type == "QuantizeLinear" for node in model.graph.node)


def _rated(images: RatedViews) -> NDArray[np.float64]:
    if images.rated is None:
        raise ValueError("these images have no ratings")
    return images.rated


def _agreement(quality: NDArray[np.float64], images: RatedViews) -> float:
    return float(srcc(quality, _rated(images)[:, 0]))


def _calibrated(
    card: Card, quality: NDArray[np.float64], spread: NDArray[np.float64], rated: NDArray[np.float64]
) -> Card:
    """The card with an interval that holds for what the compressed model says."""
    old = card.calibration
    factor = calibration_factor(quality, spread, rated, coverage=old.coverage)
    return replace(card, calibration=replace(old, factor=factor, count=len(rated), measured_coverage=None))


def _as_stored(artifact: Artifact) -> Artifact:
    """The artifact as it comes back from its compact file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trial"
        write_artifact(path, artifact, store_float16=True, compact=True)
        return read_artifact(path)


def _file_size(artifact: Artifact, *, compact: bool) -> int:
    """Bytes of an artifact's file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trial"
        write_artifact(path, artifact, store_float16=compact, compact=compact)
        return path.stat().st_size
