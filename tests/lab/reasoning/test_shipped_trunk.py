"""The trunk that is read out of the shipped file sees what the shipped assessor sees."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch

from foveal.artifact.file import read_artifact
from foveal.imaging.decode import decode
from foveal.lab.models.compact import CompactNet, Trunk, pool_maps
from foveal.lab.reasoning.small.build import compact_tower
from foveal.lab.reasoning.small.image_processor import two_views
from foveal.lab.reasoning.small.shipped import shipped_trunk

PHOTOS = Path(__file__).parents[3] / "examples" / "photos"


def test_tokens_are_normalised_and_finite() -> None:
    tower = compact_tower(*shipped_trunk())
    with torch.no_grad():
        tokens = tower(
            torch.from_numpy(two_views(decode(PHOTOS / "astronaut.jpg").pixels)[None])
        ).last_hidden_state[0]
    assert tokens.shape == (49, tower.config.hidden_size)
    assert torch.isfinite(tokens).all()
    assert tokens.std() > 0.5


def test_pooled_maps_are_those_of_the_shipped_graph() -> None:
    """Against ONNX Runtime on the shipped file itself; activations are rounded there, so not to the bit."""
    artifact = read_artifact(files("foveal") / "weights" / "foveal-compact.foveal.safetensors")  # type: ignore[arg-type]
    model = onnx.load_from_string(artifact.model_bytes())
    norms = [node for node in model.graph.node if node.op_type == "BatchNormalization"]
    wanted = [node.input[0] for node in norms]
    model.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in wanted)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    config, state = shipped_trunk()
    trunk = Trunk(config)
    trunk.load_state_dict(state)
    trunk.eval()
    views = two_views(decode(PHOTOS / "coffee.jpg").pixels).reshape(3, 2, 224, 224).transpose(1, 2, 3, 0)
    shipped = session.run(wanted, {"whole": views[:1], "fragments": views[1:]})
    with torch.no_grad():
        own = pool_maps(trunk(CompactNet.normalise(torch.from_numpy(np.ascontiguousarray(views)))))
    for ours, theirs in zip(own.numpy(), shipped, strict=True):
        assert np.corrcoef(ours, theirs[0])[0, 1] > 0.995
