"""A tiny assessor that reads prompts, for tests: a graph whose answers a test can work out by hand."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import tokenizers
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from tokenizers import models, normalizers, pre_tokenizers

from foveal.artifact.card import AspectSpec, Calibration, Card, PromptSpec, ViewSpec
from foveal.artifact.file import Artifact
from foveal.artifact.onnx_wire import detach_initializers

LENGTH = 8
SIDE = 28
WORDS = ["[PAD]", "[UNK]", "red", "fox", "in", "snow", "castle", "by", "night"]
ASPECTS = {"correspondence": AspectSpec(needs_prompt=True), "authenticity": AspectSpec()}
MODEL = "prompted@0.0.1"


def make_tokenizer(length: int = LENGTH) -> tokenizers.Tokenizer:
    """Whole words, in small letters; what is not in :data:`WORDS` is ``[UNK]``."""
    words = {word: number for number, word in enumerate(WORDS)}
    tokenizer = tokenizers.Tokenizer(models.WordLevel(words, unk_token="[UNK]"))  # noqa: S106 - no password
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.enable_truncation(length)
    tokenizer.enable_padding(length=length)
    return tokenizer


def altered(**changes: Any) -> bytes:
    """The stored tokenizer with parts of its JSON exchanged."""
    return json.dumps({**json.loads(make_tokenizer().to_str()), **changes}).encode()


def make_model(*, length: int = LENGTH, broken: bool = False) -> onnx.ModelProto:
    """A graph on one view: m is the mean of its values in 0-1, t the mean number of the prompt's tokens.

    quality = 1 + 4 m, spread = 0.2, authenticity = 5 - 4 m, correspondence = 1 + 4 sigmoid(t - 4 + m), which
    is NaN without a prompt; authenticity is NaN too if ``broken``.
    """
    weights = []
    nodes = []

    def constant(name: str, value: Any, dtype: type = np.float32) -> str:
        weights.append(numpy_helper.from_array(np.array(value, dtype), name))
        return name

    def node(kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    one, four, five = constant("one", 1), constant("four", 4), constant("five", 5)
    node("Cast", ["whole"], "pixels", to=TensorProto.FLOAT)
    node("ReduceMean", ["pixels", constant("all", [1, 2, 3], np.int64)], "mean", keepdims=0)
    node("Div", ["mean", constant("white", 255)], "m")
    node("Mul", ["m", four], "m4")
    node("Add", ["m4", one], "quality")
    node("Mul", ["m", constant("none", 0)], "zero")
    node("Add", ["zero", constant("fifth", 0.2)], "spread")
    node("Sub", [five, "m4"], "inverted")
    node("Add", ["inverted", constant("bias", np.nan if broken else 0)], "authenticity")
    for name in ("prompt_ids", "prompt_mask"):
        node("Cast", [name], f"{name}.float", to=TensorProto.FLOAT)
    node("Mul", ["prompt_ids.float", "prompt_mask.float"], "read")
    tokens = constant("tokens", [1], np.int64)
    node("ReduceSum", ["read", tokens], "sum", keepdims=0)
    node("ReduceSum", ["prompt_mask.float", tokens], "count", keepdims=0)
    node("Div", ["sum", "count"], "t")
    node("Sub", ["t", four], "centred")
    node("Add", ["centred", "m"], "evidence")
    node("Sigmoid", ["evidence"], "share")
    node("Mul", ["share", four], "scaled")
    node("Add", ["scaled", one], "correspondence")

    inputs = [helper.make_tensor_value_info("whole", TensorProto.UINT8, ["N", SIDE, SIDE, 3])]
    inputs += [
        helper.make_tensor_value_info(name, TensorProto.INT64, ["N", length])
        for name in ("prompt_ids", "prompt_mask")
    ]
    outputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N"])
        for name in ("quality", "spread", *ASPECTS)
    ]
    graph = helper.make_graph(nodes, "prompted", inputs, outputs, initializer=weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model


def make_card(**changes: Any) -> Card:
    """The card of :func:`make_model`."""
    values: dict[str, Any] = {
        "name": "prompted",
        "version": "0.0.1",
        "licence": "Apache-2.0",
        "summary": "A graph for tests.",
        "training_data": "none",
        "views": {"whole": ViewSpec("whole", SIDE)},
        "calibration": Calibration(coverage=0.9, factor=1.5, count=100),
        "aspects": ASPECTS,
        "prompt": PromptSpec(LENGTH),
    }
    return Card(**{**values, **changes})


def make_artifact(model: onnx.ModelProto | None = None, **changes: Any) -> Artifact:
    """An artifact of :func:`make_model`; ``changes`` are those of its fields."""
    graph, weights = detach_initializers((model or make_model()).SerializeToString())
    values: dict[str, Any] = {
        "card": make_card(),
        "graph": graph,
        "weights": weights,
        "tokenizer": make_tokenizer().to_str().encode(),
    }
    return Artifact(**{**values, **changes})


def expected_correspondence(view: NDArray[np.uint8], words: Sequence[str]) -> float:
    """What the graph says of a view (side, side, 3) and the words of a prompt, worked out without it."""
    numbers = [WORDS.index(word) for word in words[:LENGTH]]
    evidence = float(np.mean(numbers)) - 4 + float(view.mean()) / 255
    return 1 + 4 / (1 + float(np.exp(-evidence)))
