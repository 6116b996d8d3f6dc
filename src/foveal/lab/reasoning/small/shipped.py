"""The shipped assessor's trunk as a network again: its weights, read out of its own file."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from importlib.resources import as_file, files

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from foveal.artifact.file import read_artifact
from foveal.errors import CorruptArtifactError
from foveal.lab.models.compact import CompactConfig, Trunk

_FILE = "foveal-compact.foveal.safetensors"
_WEIGHT = re.compile(r".*trunk\.(stages\.\d+\.(?:0|\d+\.(?:reduce|mix|expand))\.0)\.weight_\d+\.levels")
_BATCH_NORM = 1e-5
"""What torch's batch normalisation adds to a variance."""


def shipped_trunk() -> tuple[CompactConfig, dict[str, Tensor]]:
    """Shape and weights of the trunk of ``foveal-compact``.

    The file holds each convolution with its batch normalisation folded in and its weights on a grid. Here the
    convolution gets these weights, and the normalisation what is left to do: add the bias. Activations are
    not rounded as the shipped int8 network rounds them.

    Raises:
        CorruptArtifactError: the shipped file does not hold such a trunk.
    """
    with as_file(files("foveal") / "weights" / _FILE) as path:
        weights = read_artifact(path).weights
    state: dict[str, Tensor] = {}
    for name, levels in weights.items():
        found = _WEIGHT.fullmatch(name)
        if found is None:
            continue
        convolution = found.group(1)
        scale = weights[name.removesuffix("levels") + "scale"]
        state[f"{convolution}.weight"] = torch.from_numpy(_dequantised(levels, scale))
        state |= _passing(convolution, _bias(weights, convolution))
    config = _config(state)
    if set(state) != set(Trunk(config).state_dict()):
        raise CorruptArtifactError(f"{_FILE}: its graph does not hold the trunk that was expected")
    return config, state


def _dequantised(levels: NDArray[np.generic], scale: NDArray[np.generic]) -> NDArray[np.float32]:
    """Integers (outputs, ...) times the scale of each output."""
    column = np.asarray(scale, np.float32).reshape(-1, *[1] * (levels.ndim - 1))
    return np.asarray(levels, np.float32) * column


def _bias(weights: Mapping[str, NDArray[np.generic]], convolution: str) -> Tensor:
    for name, values in weights.items():
        if name.endswith(f"trunk.{convolution}.weight_bias"):
            return torch.from_numpy(np.array(values, np.float32))
    raise CorruptArtifactError(f"{_FILE}: {convolution} has no bias")


def _passing(convolution: str, bias: Tensor) -> dict[str, Tensor]:
    """A batch normalisation that only adds a bias."""
    norm = convolution[: -len("0")] + "1"
    return {
        f"{norm}.weight": torch.full_like(bias, math.sqrt(1 + _BATCH_NORM)),
        f"{norm}.bias": bias,
        f"{norm}.running_mean": torch.zeros_like(bias),
        f"{norm}.running_var": torch.ones_like(bias),
        f"{norm}.num_batches_tracked": torch.tensor(0),
    }


def _config(state: Mapping[str, Tensor]) -> CompactConfig:
    entries = [state.get(f"stages.{stage}.0.0.weight") for stage in range(4)]
    widths = tuple(0 if entry is None else len(entry) for entry in entries)
    depths = tuple(
        sum(name.startswith(f"stages.{stage}.") and name.endswith("mix.0.weight") for name in state)
        for stage in range(4)
    )
    return CompactConfig(widths=widths, depths=depths)  # type: ignore[arg-type]
