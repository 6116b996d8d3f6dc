"""A small vision transformer as an ONNX graph: one block, pixels to quality, as exporters write it."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

SIDE, PATCH, WIDTH, HIDDEN, HEADS = 16, 4, 32, 64, 2
TOKENS = (SIDE // PATCH) ** 2
MEAN, DEVIATION = (123.7, 116.3, 103.5), (58.4, 57.1, 57.4)


@dataclass
class Drawing:
    """A graph in the making; weights are drawn by chance."""

    seed: int = 0
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    tensors: list[onnx.TensorProto] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.generator = np.random.default_rng(self.seed)

    def keep(self, name: str, value: NDArray[np.generic]) -> str:
        self.tensors.append(numpy_helper.from_array(value, name))
        return name

    def draw(self, name: str, *shape: int, width: float = 0.2) -> str:
        return self.keep(name, self.generator.normal(0, width, shape).astype(np.float32))

    def node(self, kind: str, inputs: list[str], output: str, **attributes: object) -> str:
        self.nodes.append(helper.make_node(kind, inputs, [output], name=f"n.{output}", **attributes))
        return output

    def linear(self, source: str, name: str, inputs: int, outputs: int) -> str:
        """As exporters write it: an unnamed transposed weight, and a bias that has kept its name."""
        self.node("MatMul", [source, self.draw(f"{name}.t", inputs, outputs)], f"{name}.mm")
        return self.node("Add", [f"{name}.mm", self.draw(f"{name}.bias", outputs)], f"{name}.out")

    def norm(self, source: str, name: str) -> str:
        gain = self.keep(f"{name}.gain", np.ones(WIDTH, np.float32))
        shift = self.draw(f"{name}.shift", WIDTH)
        return self.node("LayerNormalization", [source, gain, shift], f"{name}.out", axis=-1)

    def heads(self, source: str, permutation: list[int]) -> str:
        split = self.keep(f"{source}.split", np.array([-1, TOKENS, HEADS, WIDTH // HEADS], np.int64))
        self.node("Reshape", [source, split], f"{source}.heads")
        return self.node("Transpose", [f"{source}.heads"], f"{source}.turned", perm=permutation)

    def block(self, source: str, massive: float) -> str:
        first = self.norm(source, "norm1")
        query, key, value = (self.linear(first, name, WIDTH, WIDTH) for name in ("q", "k", "v"))
        self.node("MatMul", [self.heads(query, [0, 2, 1, 3]), self.heads(key, [0, 2, 3, 1])], "dots")
        self.node("Mul", ["dots", self.keep("root", np.array(0.25, np.float32))], "scaled")
        self.node("Softmax", ["scaled"], "shares", axis=-1)
        self.node("MatMul", ["shares", self.heads(value, [0, 2, 1, 3])], "mixed")
        self.node("Transpose", ["mixed"], "mixed.turned", perm=[0, 2, 1, 3])
        joined = self.keep("joined", np.array([-1, TOKENS, WIDTH], np.int64))
        self.node("Reshape", ["mixed.turned", joined], "attended")
        self.node("Add", [self.linear("attended", "o", WIDTH, WIDTH), source], "middle")
        inner = self.linear(self.norm("middle", "norm2"), "fc1", WIDTH, HIDDEN)
        if massive:
            peak = np.ones(HIDDEN, np.float32)
            peak[5] = massive
            inner = self.node("Mul", [inner, self.keep("peak", peak)], "fc1.peaked")
        self.node("Div", [inner, self.keep("root2", np.array(np.sqrt(2), np.float32))], "erf.in")
        self.node("Erf", ["erf.in"], "erf")
        self.node("Add", ["erf", self.keep("one", np.array(1, np.float32))], "erf.one")
        self.node("Mul", ["erf.one", self.keep("half", np.array(0.5, np.float32))], "erf.half")
        self.node("Mul", [inner, "erf.half"], "gelu")
        return self.node("Add", [self.linear("gelu", "fc2", HIDDEN, WIDTH), "middle"], "features")

    def pixels(self, view: str) -> str:
        self.node("Transpose", [view], f"{view}.nchw", perm=[0, 3, 1, 2])
        self.node("Cast", [f"{view}.nchw"], f"{view}.float", to=TensorProto.FLOAT)
        self.node("Sub", [f"{view}.float", "mean"], f"{view}.less")
        return self.node("Div", [f"{view}.less", "deviation"], f"{view}.normal")


def make_transformer(seed: int = 0, massive: float = 0.0) -> onnx.ModelProto:
    """``whole`` uint8 (batch, 16, 16, 3) -> ``quality`` float32 (batch, 1).

    Args:
        seed: of the weights.
        massive: factor of one hidden channel, which large vision transformers have of themselves.
    """
    drawing = Drawing(seed)
    for name, values in (("mean", MEAN), ("deviation", DEVIATION)):
        drawing.keep(name, np.array(values, np.float32).reshape(1, 3, 1, 1))
    weights = [drawing.draw("patch.weight", WIDTH, 3, PATCH, PATCH), drawing.draw("patch.bias", WIDTH)]
    stride = [PATCH, PATCH]
    drawing.node("Conv", [drawing.pixels("whole"), *weights], "patches", strides=stride, kernel_shape=stride)
    row = drawing.keep("row", np.array([-1, WIDTH, TOKENS], np.int64))
    drawing.node("Reshape", ["patches", row], "columns")
    drawing.node("Transpose", ["columns"], "tokens", perm=[0, 2, 1])
    features = drawing.block("tokens", massive)
    axis = drawing.keep("axis", np.array([1], np.int64))
    drawing.node("ReduceMean", [features, axis], "pooled", keepdims=0)
    head = [drawing.draw("head.weight", 16, WIDTH), drawing.draw("head.bias", 16)]
    drawing.node("Gemm", ["pooled", *head], "hidden", transB=1)
    drawing.node("ReduceMean", ["hidden", axis], "quality", keepdims=1)
    return finished(drawing, ["whole"], ("N", 1))


def finished(drawing: Drawing, views: list[str], shape: tuple[str | int, ...] = ()) -> onnx.ModelProto:
    """A checked model of a drawing that makes ``quality``."""
    given = [helper.make_tensor_value_info(v, TensorProto.UINT8, ["N", SIDE, SIDE, 3]) for v in views]
    made = [helper.make_tensor_value_info("quality", TensorProto.FLOAT, shape)]
    graph = helper.make_graph(drawing.nodes, "small", given, made, initializer=drawing.tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model


def draw_views(count: int, seed: int = 0) -> list[dict[str, NDArray[np.uint8]]]:
    """Pictures of one image each, uint8 (1, 16, 16, 3), from dark to bright."""
    generator = np.random.default_rng(seed)
    middles = generator.uniform(40, 215, (count, 1, 1, 1, 3))
    pictures = middles + generator.normal(0, 40, (count, 1, SIDE, SIDE, 3))
    return [{"whole": picture.clip(0, 255).astype(np.uint8)} for picture in pictures]
