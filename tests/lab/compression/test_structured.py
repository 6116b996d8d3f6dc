"""Structured pruning: what is found in graphs, what leaves, and that the rest makes up for it."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from foveal.lab.compression.inner_run import InnerRun
from foveal.lab.compression.layers import find_layers, read_weights
from foveal.lab.compression.moments import MomentSums
from foveal.lab.compression.quantizers import spread_scale
from foveal.lab.compression.sequential import quantize_graph
from foveal.lab.compression.structured import StructuredConfig, StructuredResult, prune_structured
from foveal.lab.compression.structured_blocks import Graph, find_mlps
from foveal.lab.compression.structured_choice import order_by_error, spread_of
from foveal.lab.compression.structured_cost import multiply_adds
from foveal.lab.compression.structured_heads import find_attentions
from foveal.lab.compression.structured_share import cheapest
from foveal.lab.export import to_onnx

TOKENS, WIDTH, HIDDEN, HEADS = 10, 16, 32, 4
Images = list[dict[str, NDArray[np.float32]]]


class Builder:
    """Writes small graphs on an input x, float (N, TOKENS, WIDTH), with random weights."""

    def __init__(self, seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.arrays: dict[str, NDArray[Any]] = {}

    def node(self, kind: str, *inputs: str, **attributes: Any) -> str:
        output = f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [output], **attributes))
        return output

    def constant(self, name: str, value: Any) -> str:
        self.arrays[name] = np.asarray(value)
        return name

    def linear(self, x: str, name: str, inputs: int, outputs: int, *, bias: str | None = "own") -> str:
        """x W + b; ``bias`` may name an initializer that is there already."""
        weight = f"{name}.weight"
        if weight not in self.arrays:
            self.constant(weight, self.rng.normal(0, inputs**-0.5, (inputs, outputs)).astype(np.float32))
        product = self.node("MatMul", x, weight)
        if bias is None:
            return product
        if bias == "own":
            bias = f"{name}.bias"
            if bias not in self.arrays:
                self.constant(bias, self.rng.normal(0, 0.3, outputs).astype(np.float32))
        return self.node("Add", product, bias)

    def mlp(self, x: str, name: str, hidden: int = HIDDEN, bias: str | None = "own") -> str:
        inner = self.node("Relu", self.linear(x, f"{name}.fc1", WIDTH, hidden, bias=bias))
        return self.linear(inner, f"{name}.fc2", hidden, WIDTH)

    def attention(self, x: str, name: str, mask: str | None = None) -> str:
        """Shapes are shared by all attentions of a graph, as exporters share equal constants."""
        size = WIDTH // HEADS
        split = self.constant("split", np.array([-1, TOKENS, HEADS, size], np.int64))
        merged = self.constant("merged", np.array([0, -1, WIDTH], np.int64))
        q, k, v = (
            self.node("Reshape", self.linear(x, f"{name}.{part}", WIDTH, WIDTH), split)
            for part in ("q_proj", "k_proj", "v_proj")
        )
        q = self.node("Transpose", q, perm=[0, 2, 1, 3])
        k = self.node("Transpose", self.node("Transpose", k, perm=[0, 2, 1, 3]), perm=[0, 1, 3, 2])
        v = self.node("Transpose", v, perm=[0, 2, 1, 3])
        scores = self.node("Mul", self.node("MatMul", q, k), self.constant("half", np.float32(0.5)))
        if mask is not None:
            scores = self.node("Add", scores, mask)
        context = self.node("MatMul", self.node("Softmax", scores, axis=-1), v)
        context = self.node("Transpose", context, perm=[0, 2, 1, 3])
        return self.linear(self.node("Reshape", context, merged), f"{name}.o_proj", WIDTH, WIDTH)

    def model(self, *outputs: str, rank: int = 3) -> onnx.ModelProto:
        given = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", TOKENS, WIDTH])
        results = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None] * rank) for name in outputs]
        arrays = [numpy_helper.from_array(value, name) for name, value in self.arrays.items()]
        graph = helper.make_graph(self.nodes, "small", [given], results, initializer=arrays)
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
        onnx.checker.check_model(made, full_check=True)
        return made


def transformer(seed: int = 0, depth: int = 2) -> onnx.ModelProto:
    """Attention and MLP with residual connections, and no norms."""
    builder, x = Builder(seed), "x"
    for number in range(depth):
        x = builder.node("Add", x, builder.attention(x, f"blocks.{number}.attention"))
        x = builder.node("Add", x, builder.mlp(x, f"blocks.{number}.mlp"))
    return builder.model(x)


@pytest.fixture(scope="module")
def images() -> Images:
    """Vectors whose numbers depend on each other, so that hidden units do."""
    rng = np.random.default_rng(9)
    mixing = rng.normal(size=(6, WIDTH)) / 2
    noise = 0.2 * rng.normal(size=(24, 1, TOKENS, WIDTH))
    return [{"x": x.astype(np.float32)} for x in rng.normal(size=(24, 1, TOKENS, 6)) @ mixing + noise]


def run(model: onnx.ModelProto, images: Images) -> NDArray[np.float32]:
    outputs = [value.name for value in model.graph.output]
    infer = InnerRun(model, outputs)
    return np.stack([np.concatenate([seen[name] for name in outputs]) for seen in map(infer, images)])


def array(model: onnx.ModelProto, name: str) -> NDArray[Any]:
    return next(numpy_helper.to_array(item) for item in model.graph.initializer if item.name == name)


def kept_of(result: StructuredResult, name: str) -> list[int]:
    return list(result.removed[name].kept)


def test_dead_units_leave_first_and_nothing_changes(images: Images) -> None:
    builder = Builder()
    made = builder.model(builder.mlp("x", "mlp"))
    dead = [1, 4, 5, 6, 20, 23, 30, 31]
    bias = array(made, "mlp.fc1.bias").copy()
    bias[dead[:4]] = -100  # never above zero
    columns = array(made, "mlp.fc2.weight").copy()
    columns[dead[4:]] = 0  # nobody listens
    for name, value in (("mlp.fc1.bias", bias), ("mlp.fc2.weight", columns)):
        item = next(item for item in made.graph.initializer if item.name == name)
        item.CopyFrom(numpy_helper.from_array(value, name))
    result = prune_structured(made, images, StructuredConfig(mlp=0.25, multiple=4))
    assert kept_of(result, "mlp.fc2") == [unit for unit in range(HIDDEN) if unit not in dead]
    np.testing.assert_array_equal(array(result.model, "mlp.fc2.weight"), np.delete(columns, dead, axis=0))
    np.testing.assert_array_equal(array(result.model, "mlp.fc1.bias"), np.delete(bias, dead))
    np.testing.assert_allclose(run(result.model, images), run(made, images), rtol=0, atol=1e-5)


def test_the_same_as_a_module_pruned_in_torch_by_least_squares(images: Images) -> None:
    builder = Builder(3)
    made = builder.model(builder.mlp("x", "mlp"))
    result = prune_structured(made, images, StructuredConfig(mlp=0.5, multiple=1, vectors=10**6, ridge=1e-7))
    kept = kept_of(result, "mlp.fc2")
    assert len(kept) == HIDDEN // 2
    weights = {name: torch.from_numpy(value.astype(np.float64)) for name, value in builder.arrays.items()}
    x = torch.from_numpy(np.concatenate([views["x"][0] for views in images])).double()
    hidden = torch.relu(x @ weights["mlp.fc1.weight"] + weights["mlp.fc1.bias"])
    wanted = hidden @ weights["mlp.fc2.weight"] + weights["mlp.fc2.bias"]
    known = torch.cat([hidden[:, kept], torch.ones(len(x), 1, dtype=torch.float64)], dim=1)
    expected = known @ torch.linalg.lstsq(known, wanted).solution
    got = run(result.model, images).reshape(-1, WIDTH)
    np.testing.assert_allclose(got, expected.numpy(), atol=2e-3)
    # And that is much nearer to the original than what the same units give as they were.
    plain = hidden[:, kept] @ weights["mlp.fc2.weight"][kept] + weights["mlp.fc2.bias"]
    plain += (wanted - plain).mean(dim=0)
    compensated = np.square(got - wanted.numpy()).mean()
    assert compensated < 0.6 * float(torch.square(plain - wanted).mean())


def test_chosen_units_are_nearly_the_best_and_better_than_those_of_least_weight(images: Images) -> None:
    builder = Builder(5)
    made = builder.model(builder.mlp("x", "mlp", hidden=10))
    original = run(made, images)

    def error(**options: Any) -> float:
        result = prune_structured(made, images, StructuredConfig(mlp=0.3, multiple=1, **options))
        return float(np.square(run(result.model, images) - original).mean())

    x = np.concatenate([views["x"][0] for views in images])
    hidden = np.maximum(x @ builder.arrays["mlp.fc1.weight"] + builder.arrays["mlp.fc1.bias"], 0)
    wanted = hidden @ builder.arrays["mlp.fc2.weight"]

    def best_with(kept: tuple[int, ...]) -> float:
        known = np.column_stack([hidden[:, kept], np.ones(len(x))])
        return float(np.square(known @ np.linalg.lstsq(known, wanted, rcond=None)[0] - wanted).mean())

    every = sorted(map(best_with, itertools.combinations(range(10), 7)))
    assert len(every) == 120
    assert error() <= 1.02 * every[6]
    assert error() < error(units="weights")


def test_errors_in_the_order_of_leaving_are_those_of_regressions() -> None:
    rng = np.random.default_rng(2)
    vectors = (
        rng.normal(size=(400, 4)) @ rng.normal(size=(4, 12)) + 0.5 * rng.normal(size=(400, 12)) + 2
    ).astype(np.float32)
    weights = rng.normal(size=(5, 12))
    sums = MomentSums()
    sums.add(vectors)
    for bias in (True, False):
        order = order_by_error(weights, spread_of(sums.moments(), bias=bias, ridge=1e-9), units=4)
        assert order.chunks.shape == (3, 1)
        assert (np.diff(order.errors) > 0).all()
        for count, error in enumerate(order.errors, 1):
            gone = order.chunks[:count].ravel()
            kept = [column for column in range(12) if column // 3 not in gone]
            known = np.column_stack([vectors[:, kept], np.ones(400)]) if bias else vectors[:, kept]
            wanted = vectors @ weights.T
            left = wanted - known @ np.linalg.lstsq(known, wanted, rcond=None)[0]
            assert error == pytest.approx(np.square(left).sum(axis=1).mean(), rel=1e-3)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.lists(st.floats(0, 9), max_size=4).map(sorted), min_size=1, max_size=4),
    st.integers(0, 16),
)
def test_the_cheapest_items_are_taken(queues: list[list[float]], budget: int) -> None:
    prices = {str(number): [(price, 0.0) for price in queue] for number, queue in enumerate(queues)}
    every = sorted(price for queue in queues for price in queue)
    if budget > len(every):
        with pytest.raises(ValueError, match=f"{budget} groups of units .* only {len(every)} can"):
            cheapest(prices, budget)
        return
    taken = cheapest(prices, budget)
    assert sum(taken.values()) == budget
    spent = sum(price for name, count in taken.items() for price, _ in prices[name][:count])
    assert spent == pytest.approx(sum(every[:budget]))


def test_a_head_that_gives_nothing_leaves_first_and_exactly(images: Images) -> None:
    made = transformer()
    name, size = "blocks.1.attention.o_proj.weight", WIDTH // HEADS
    rows = array(made, name).copy()
    rows[2 * size : 3 * size] = 0
    next(item for item in made.graph.initializer if item.name == name).CopyFrom(
        numpy_helper.from_array(rows, name)
    )
    result = prune_structured(made, images, StructuredConfig(heads=1 / 8))
    assert [one.count for one in result.removed.values()] == [0, 1]
    assert kept_of(result, "blocks.1.attention.o_proj") == [0, 1, 3]
    assert result.left_alone == ()
    np.testing.assert_allclose(run(result.model, images), run(made, images), rtol=0, atol=1e-5)
    for part in ("q_proj", "k_proj", "v_proj"):
        left = np.delete(array(made, f"blocks.1.attention.{part}.weight"), range(8, 12), axis=1)
        np.testing.assert_array_equal(array(result.model, f"blocks.1.attention.{part}.weight"), left)
    # The other attention has the shapes that both shared to itself now, and they are what they were.
    np.testing.assert_array_equal(array(result.model, "split"), [-1, TOKENS, HEADS, size])
    np.testing.assert_array_equal(array(result.model, "merged"), [0, -1, WIDTH])


@pytest.mark.parametrize("by", ["error", "even", "qlis"])
def test_a_transformer_that_lost_both(images: Images, by: Any) -> None:
    made = transformer(seed=1)
    before = made.SerializeToString()
    told: list[tuple[int, int]] = []
    config = StructuredConfig(mlp=0.4, heads=0.5, by=by, multiple=4)
    result = prune_structured(made, images, config, lambda done, of: told.append((done, of)))
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert made.SerializeToString() == before
    onnx.checker.check_model(result.model, full_check=True)
    assert run(result.model, images).shape == run(made, images).shape
    lost = {name: one.count for name, one in result.removed.items()}
    units = [count for name, count in lost.items() if "mlp" in name]
    heads = [count for name, count in lost.items() if "attention" in name]
    assert sum(units) == 24  # of 64, the most that 0.4 holds in fours
    assert sum(heads) == 4
    assert all(count % 4 == 0 for count in units)
    assert all(one.kept for one in result.removed.values())
    if by == "even":
        assert heads == [2, 2]
        assert units == [12, 12]
    shapes = {layer.name: layer.shape for layer in find_layers(result.model, least=1)}
    for number in range(2):
        hidden = HIDDEN - lost[f"blocks.{number}.mlp.fc2"]
        inner = WIDTH - lost[f"blocks.{number}.attention.o_proj"] * WIDTH // HEADS
        assert shapes[f"blocks.{number}.mlp.fc1"] == (WIDTH, hidden)
        assert shapes[f"blocks.{number}.attention.v_proj"] == (WIDTH, inner)
        assert shapes[f"blocks.{number}.attention.o_proj"] == (inner, WIDTH)
    assert result.weights[0] - result.weights[1] == 24 * (2 * WIDTH + 1) + 4 * (4 * (4 * WIDTH) + 3 * 4)
    per_head = TOKENS * 4 * (4 * WIDTH) + 2 * TOKENS * TOKENS * 4
    assert result.multiply_adds[0] - result.multiply_adds[1] == 24 * 2 * WIDTH * TOKENS + 4 * per_head
    assert multiply_adds(made, images[0]) == 2 * (64 * WIDTH * TOKENS + 4 * per_head)


def test_what_matters_less_to_the_outputs_loses_more(images: Images) -> None:
    builder = Builder(4)
    loud, quiet = builder.mlp("x", "loud"), builder.mlp("x", "quiet")
    softer = builder.node("Mul", quiet, builder.constant("little", np.float32(0.02)))
    made = builder.model(builder.node("Add", loud, softer))
    result = prune_structured(made, images, StructuredConfig(mlp=0.25, multiple=2))
    assert result.removed["loud.fc2"].count == 0
    assert result.removed["quiet.fc2"].count == 16


@pytest.mark.slow
def test_later_steps_take_the_result(images: Images) -> None:
    made = transformer(seed=2)
    pruned = prune_structured(made, images, StructuredConfig(mlp=0.25, heads=0.25, multiple=8)).model
    layers = find_layers(pruned, least=1)
    scales = {name: spread_scale(value, 0.05) for name, value in read_weights(pruned, layers).items()}
    quantized = quantize_graph(pruned, layers, scales, images[:8])
    assert len(quantized.layers) == 12
    wanted = run(pruned, images)
    assert np.square(run(quantized.model, images) - wanted).mean() < 0.01 * wanted.var()


def test_layers_that_are_used_twice_are_cut_once(images: Images) -> None:
    builder = Builder(6)
    other = builder.node("Neg", "x")
    outputs = [
        builder.mlp(builder.node("Add", x, builder.attention(x, "attention")), "mlp") for x in ("x", other)
    ]
    made = builder.model(*outputs)
    result = prune_structured(made, images, StructuredConfig(mlp=0.25, heads=0.25, multiple=8))
    assert {name: one.count for name, one in result.removed.items()} == {
        "mlp.fc2": 8,
        "attention.o_proj": 1,
    }
    onnx.checker.check_model(result.model, full_check=True)
    assert result.weights[0] - result.weights[1] == 8 * (2 * WIDTH + 1) + 4 * (4 * WIDTH) + 3 * 4
    assert run(result.model, images).shape == (24, 2, TOKENS, WIDTH)


def test_a_bias_that_layers_share_is_cut_for_each_apart(images: Images) -> None:
    """Exporters store equal tensors, such as biases of zeros, once."""
    builder = Builder(7)
    shared = builder.constant("shared.bias", np.linspace(-1, 1, HIDDEN).astype(np.float32))
    x = builder.mlp("x", "first", bias=shared)
    x = builder.mlp(builder.node("Add", "x", x), "second", bias=shared)
    made = builder.model(x)
    result = prune_structured(made, images, StructuredConfig(mlp=0.25, by="even", multiple=8))
    used = {node.input[1] for node in result.model.graph.node if node.op_type == "Add"}
    kept = [kept_of(result, name) for name in ("first.fc2", "second.fc2")]
    assert kept[0] != kept[1]
    biases = [array(result.model, name).tolist() for name in used if "shared" in name]
    assert sorted(biases) == sorted(np.linspace(-1, 1, HIDDEN).astype(np.float32)[k].tolist() for k in kept)
    assert all(item.name in used for item in result.model.graph.initializer if "shared" in item.name)


def test_gemm_and_layers_in_a_row(images: Images) -> None:
    """The middle one of three layers loses outputs to one pair and inputs to the other."""
    builder = Builder(8)
    for name, (inputs, outputs) in {"a": (WIDTH, 24), "b": (24, 20), "c": (20, WIDTH)}.items():
        weight = builder.rng.normal(0, inputs**-0.5, (outputs, inputs))
        builder.constant(f"{name}.weight", weight.astype(np.float32))
        builder.constant(f"{name}.bias", builder.rng.normal(0, 0.3, outputs).astype(np.float32))
    x = builder.node("Reshape", "x", builder.constant("flat", np.array([-1, WIDTH], np.int64)))
    for name in "abc":
        x = builder.node("Gemm", x, f"{name}.weight", f"{name}.bias", transB=1)
        x = builder.node("Tanh", x) if name != "c" else x
    made = builder.model(x, rank=2)
    result = prune_structured(made, images, StructuredConfig(mlp=0.25, by="even", multiple=1))
    shapes = [array(result.model, f"{name}.weight").shape for name in "abc"]
    lost = [result.removed[name].count for name in "bc"]
    assert sum(lost) == 11
    assert shapes == [(24 - lost[0], WIDTH), (20 - lost[1], 24 - lost[0]), (WIDTH, 20 - lost[1])]
    wanted = run(made, images)
    assert np.square(run(result.model, images) - wanted).mean() < 0.1 * wanted.var()


def test_what_cannot_be_cut_is_left_alone(images: Images) -> None:
    builder = Builder(9)
    inner = builder.node("Relu", builder.linear("x", "seen.fc1", WIDTH, HIDDEN))
    seen = builder.linear(inner, "seen.fc2", HIDDEN, WIDTH)  # its hidden units are an output too
    bias = builder.constant("bias by head", np.zeros((HEADS, TOKENS, TOKENS), np.float32))
    partial = builder.attention("x", "relative", mask=bias)
    pooled = builder.node("Softmax", builder.linear("x", "scores", WIDTH, WIDTH), axis=-1)
    made = builder.model(inner, seen, partial, pooled)
    graph = Graph(made)
    assert find_mlps(graph) == []
    blocks, alone = find_attentions(graph)
    softmaxes = [node.output[0] for node in made.graph.node if node.op_type == "Softmax"]
    assert (blocks, alone) == ([], softmaxes)
    result = prune_structured(made, images[:2], StructuredConfig(mlp=0.5, heads=0.5))
    assert result.removed == {}
    assert list(result.left_alone) == softmaxes
    assert result.weights[0] == result.weights[1]
    assert result.model.graph.node == made.graph.node


def test_a_mask_that_is_the_same_for_all_heads_does_no_harm() -> None:
    builder = Builder(9)
    mask = builder.constant("causal", np.triu(np.full((1, 1, TOKENS, TOKENS), -1e4, np.float32), 1))
    made = builder.model(builder.attention("x", "attention", mask=mask))
    blocks, alone = find_attentions(Graph(made))
    assert [(block.name, block.units) for block in blocks] == [("attention.o_proj", HEADS)]
    assert alone == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mlp": 1.0}, "mlp is 1.0, expected a share from 0 to below 1"),
        ({"heads": -0.1}, "heads is -0.1, expected a share from 0 to below 1"),
        ({"mlp": float("nan")}, "mlp is nan, expected a share"),
        ({"by": "size"}, "by is 'size', expected one of error, qlis, even"),
        ({"units": "random"}, "units is 'random', expected one of error, weights"),
        ({"multiple": 0}, "multiple is 0, expected 1 or more"),
        ({"ridge": 0.0}, "ridge is 0.0, expected above 0"),
    ],
)
def test_bad_settings(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        StructuredConfig(**options)


def test_more_than_can_leave_is_an_error(images: Images) -> None:
    made = transformer()
    with pytest.raises(ValueError, match="7 groups of units would have to leave, but only 6 can"):
        prune_structured(made, images[:3], StructuredConfig(heads=0.9))
    with pytest.raises(ValueError, match="no calibration images"):
        prune_structured(made, [], StructuredConfig(heads=0.25))


class Whole(torch.nn.Module):
    """Pixels in, tokens out."""

    def __init__(self, vision: Any) -> None:
        super().__init__()
        vision.set_attn_implementation("eager")
        self.vision = vision

    def forward(self, pixels: torch.Tensor) -> Any:
        return self.vision(pixels.permute(0, 3, 1, 2).float() / 64 - 2).last_hidden_state


@pytest.mark.slow
@pytest.mark.parametrize("family", ["vit", "deit", "dino", "dinov2", "clip-vision", "siglip", "dinov3"])
def test_exported_transformers(tiny_backbone: Callable[[str], Any], family: str) -> None:
    vision = tiny_backbone(family).vision
    before = vision.config._attn_implementation
    rng = np.random.default_rng(1)
    pixels = [{"x": rng.integers(0, 256, (1, 32, 32, 3), np.uint8)} for _ in range(6)]
    example = (torch.from_numpy(np.concatenate([views["x"] for views in pixels[:2]])),)
    exported = to_onnx(Whole(vision).eval(), example, ["x"], ["y"])
    vision.set_attn_implementation(before)
    made = onnx.load_from_string(exported)
    result = prune_structured(made, pixels, StructuredConfig(mlp=1 / 3, heads=0.25))
    onnx.checker.check_model(result.model, full_check=True)
    lost = [(one.kind, one.before) for one in result.removed.values() for _ in range(one.count)]
    hidden = 64 if family == "dinov2" else 48
    assert lost.count(("mlp", hidden)) == (64 if family == "dinov2" else 48)
    rotary = family == "dinov3"  # positions are turned into its queries and keys: not recognised
    assert (lost.count(("heads", 4)), len(result.left_alone)) == ((0, 3) if rotary else (3, 0))
    assert result.multiply_adds[1] < (0.92 if rotary else 0.85) * result.multiply_adds[0]
    was, now = run(made, pixels), run(result.model, pixels)
    assert was.shape == now.shape
    assert 0 < np.square(now - was).mean() < was.var()
