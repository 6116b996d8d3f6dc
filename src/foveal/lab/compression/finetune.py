"""Distillation-aware fine-tuning: a body on coarse grids learns to give the features it gave before.

Weights stay on their grids (rounded in the forward pass, passed by in the backward pass: Bengio et al. 2013),
so the artifact grows by nothing. No rating is looked at: the teacher is the body before compression.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils import parametrize

from foveal.lab.compression.layers import Layer, with_initializers
from foveal.lab.compression.quantizers import MOST, Quantized
from foveal.lab.compression.rated_views import RatedViews
from foveal.lab.compression.refit import Features
from foveal.lab.compression.sequential import QuantizedGraph
from foveal.lab.compression.split import BodyGraph
from foveal.lab.export_trained import runnable_copy
from foveal.lab.trained import TrainedModel
from foveal.lab.training.judging import autocast

if TYPE_CHECKING:
    import onnx

Progress = Callable[[int, int, float], None]


@dataclass(frozen=True)
class FinetuneConfig:
    """How a compressed body is fine-tuned.

    Attributes:
        epochs: passes over the training images.
        batch: images a step, all their views together.
        lr: peak learning rate of weights on grids (Adam), which starts at its peak and ends at nothing.
        free_lr: of biases, norms and embeddings, which have no grid.
        precision: ``bf16`` or ``fp32`` arithmetic.
        seed: of the order of images.
    """

    epochs: int = 2
    batch: int = 12
    lr: float = 1e-4
    free_lr: float = 3e-4
    precision: str = "bf16"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch < 1:
            raise ValueError(f"{self.epochs} epochs in batches of {self.batch}, expected 1 or more each")
        if not (self.lr > 0 and self.free_lr > 0):
            raise ValueError("lr and free_lr must be above 0")
        if self.precision not in ("bf16", "fp32"):
            raise ValueError(f"precision is {self.precision!r}, expected 'bf16' or 'fp32'")


class OnGrid(nn.Module):
    """Rounds weights to their grid; gradients pass as if it did not.

    Args:
        scale: of each output, (outputs,).
    """

    def __init__(self, scale: Tensor) -> None:
        super().__init__()
        self.scale: Tensor
        self.register_buffer("scale", scale)

    def forward(self, weights: Tensor) -> Tensor:
        """(outputs, ...) -> the same shape, on the grid."""
        scale = self.scale.view(-1, *[1] * (weights.ndim - 1))
        rounded = torch.clamp(torch.round(weights.detach() / scale), -MOST, MOST) * scale
        # The difference is zero exactly, its gradient one: what comes out lies on the grid to the last bit.
        passed: Tensor = rounded + (weights - weights.detach())
        return passed


def finetune_body(  # noqa: PLR0917
    model: TrainedModel,
    start: QuantizedGraph,
    layers: Sequence[Layer],
    images: RatedViews,
    teacher: Features,
    config: FinetuneConfig | None = None,
    progress: Progress | None = None,
) -> QuantizedGraph:
    """Fine-tune the body of a model whose layers lie on grids.

    Args:
        model: the model before compression.
        start: its body, quantised; where fine-tuning starts.
        layers: of the body.
        images: of the training part.
        teacher: features of these images before compression, by view.
        config: how.
        progress: told of each step: how many are done, how many there are, and the loss.

    Returns:
        The body with other levels on the same grids, and other biases, norms and embeddings.

    Raises:
        ValueError: there are no images, features and images differ in number, or it is not known which
            module a layer is.
    """
    config = config or FinetuneConfig()
    if not len(images):
        raise ValueError("no images to fine-tune on: give some of the training part")
    if any(len(rows) != len(images) for rows in teacher.values()):
        raise ValueError("there must be features of each image")
    body = BodyGraph(runnable_copy(model).network)
    body.load_state_dict(_state(body, start, layers), strict=False)
    grids, free = _prepare(body, start, layers)
    wanted, weights = _standardised(teacher)
    optimizer = torch.optim.Adam([
        {"params": grids, "lr": config.lr},
        {"params": free, "lr": config.free_lr},
    ])  # fmt: skip
    steps = config.epochs * math.ceil(len(images) / config.batch)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: 0.5 + 0.5 * math.cos(math.pi * min(1.0, step / steps))
    )
    body.train(False)  # no dropout: the teacher had none
    for done, (rows, views) in enumerate(_batches(images, config), 1):
        with autocast(torch.device("cpu"), "bf16" if config.precision == "bf16" else "fp32"):
            given = body(*(views[name] for name in body.network.views))
        loss = torch.stack([
            (((own.float() - wanted[name][rows]) * weights[name]) ** 2).mean()
            for name, own in zip(body.network.views, given, strict=True)
        ]).mean()  # fmt: skip
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        schedule.step()
        if progress is not None:
            progress(done, steps, float(loss.detach()))
    return _result(body, start, layers)


def _state(body: nn.Module, start: QuantizedGraph, layers: Sequence[Layer]) -> dict[str, Tensor]:
    """What the quantised graph holds, by the names of the body's parameters."""
    from onnx import numpy_helper

    own = dict(body.named_parameters())
    held = {item.name: item for item in start.model.graph.initializer}
    state = {n: torch.from_numpy(numpy_helper.to_array(held[n]).copy()) for n in own if n in held}
    for layer in layers:
        name = f"{layer.name}.weight"
        if name not in own:
            raise ValueError(f"layer {layer.name}: the model has no module of this name to be trained")
        state[name] = torch.from_numpy(start.layers[layer.name].weights).view_as(own[name])
    return state


def _prepare(
    body: nn.Module, start: QuantizedGraph, layers: Sequence[Layer]
) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Put weights on their grids, and tell what is trained: those, and what the graph holds beside them."""
    named = _held_once(start.model)
    for parameter in body.parameters():
        parameter.requires_grad_(False)
    grids: list[nn.Parameter] = []
    free: list[nn.Parameter] = []
    weights = {f"{layer.name}.weight" for layer in layers}
    for name, parameter in body.named_parameters():
        if name in weights or name in named:
            parameter.requires_grad_(True)
            (grids if name in weights else free).append(parameter)
    for layer in layers:
        module = body.get_submodule(layer.name)
        scale = torch.from_numpy(start.layers[layer.name].scale)
        parametrize.register_parametrization(module, "weight", OnGrid(scale), unsafe=True)
    return grids, free


def _held_once(model: onnx.ModelProto) -> set[str]:
    """Initializers with one use; exporters store equal ones once, whatever modules they belong to."""
    uses = Counter(name for node in model.graph.node for name in node.input)
    return {item.name for item in model.graph.initializer if uses[item.name] == 1}


def _standardised(teacher: Features) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Features to reach, and what each column's error is multiplied by."""
    wanted = {name: torch.from_numpy(np.asarray(rows, np.float32)) for name, rows in teacher.items()}
    weights = {name: 1 / rows.std(dim=0, correction=0).clamp_min(1e-3) for name, rows in wanted.items()}
    return wanted, weights


def _batches(
    images: RatedViews, config: FinetuneConfig
) -> Iterator[tuple[NDArray[np.int64], dict[str, Tensor]]]:
    """Rows of the images of each batch, and their views."""
    generator = np.random.default_rng(config.seed)
    for _ in range(config.epochs):
        order = generator.permutation(len(images))
        waiting = iter(images.take(order))
        for first in range(0, len(order), config.batch):
            rows = order[first : first + config.batch]
            cuts = [next(waiting) for _ in rows]
            yield (
                rows,
                {
                    name: torch.from_numpy(np.concatenate([cut[name] for cut in cuts]))
                    for name in images.views
                },
            )


def _result(body: nn.Module, start: QuantizedGraph, layers: Sequence[Layer]) -> QuantizedGraph:
    """The graph with what was learnt."""
    done: dict[str, Quantized] = {}
    arrays: dict[str, NDArray[Any]] = {}
    for layer in layers:
        module: Any = body.get_submodule(layer.name)
        scale = start.layers[layer.name].scale
        weights = module.weight.detach().reshape(len(scale), -1).numpy()
        done[layer.name] = Quantized(np.rint(weights / scale[:, None]).astype(np.int8), scale)
        arrays[layer.weight] = layer.tensor(done[layer.name].weights)
        parametrize.remove_parametrizations(module, "weight")
    weights_of = {f"{layer.name}.weight" for layer in layers}
    held = _held_once(start.model)
    for name, parameter in body.named_parameters():
        if name in held and name not in weights_of:
            arrays[name] = parameter.detach().numpy().copy()
    return QuantizedGraph(with_initializers(start.model, arrays), done)
