import csv
import io

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from foveal.lab.compression.lapq import SearchConfig
from foveal.lab.compression.layers import find_layers, with_weights
from foveal.lab.compression.paper_table import Agreement, agreement, make_table, trials_table

METHODS = (
    "P level 1.5",
    "P level 1.0",
    "P level 0.5",
    "P level 0.25",
    "Q 1-bit",
    "Q 2-bit",
    "Q 4-bit",
    "Q 8-bit",
    "Baseline",
    "LAP",
    "LAQ",
    "LAPQ",
)
CONFIG = SearchConfig(max_drop=0.02, betas=(0.5,))


@pytest.fixture(scope="module")
def model():
    """Three linear layers of 16 features to a score."""
    rng = np.random.default_rng(0)
    shapes = ((16, 32), (32, 24), (24, 16))
    weights = [
        numpy_helper.from_array((rng.standard_t(4, shape) / np.sqrt(shape[0])).astype(np.float32), f"w{i}")
        for i, shape in enumerate(shapes)
    ]
    nodes = []
    for i in range(3):
        nodes.append(helper.make_node("MatMul", [f"h{i}" if i else "x", f"w{i}"], [f"m{i}"]))
        nodes.append(helper.make_node("Relu", [f"m{i}"], [f"h{i + 1}"]))
    nodes.append(helper.make_node("ReduceMean", ["h3", "axis"], ["quality"], keepdims=0))
    weights.append(numpy_helper.from_array(np.array([1]), "axis"))
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 16])],
        [helper.make_tensor_value_info("quality", TensorProto.FLOAT, ["n"])],
        initializer=weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def evaluator(model, seed, calls=None):
    """Agreement of the model with what it said before compression and a little noise."""
    rng = np.random.default_rng(seed)
    layers, x = find_layers(model), rng.normal(size=(120, 16)).astype(np.float32)

    def predict(weights):
        changed = with_weights(model, layers, weights)
        return ReferenceEvaluator(changed).run(None, {"x": x})[0]

    clean = predict({})
    rated = clean + rng.normal(0, clean.std() / 5, len(clean))

    def evaluate(weights):
        if calls is not None:
            calls.append(weights)
        return agreement(predict(weights), rated)

    return evaluate


@pytest.fixture(scope="module")
def made(model):
    return make_table(model, evaluator(model, 1), evaluator(model, 2), CONFIG)


def test_rows_are_those_of_the_paper(made):
    assert tuple(row.method for row in made.rows) == METHODS
    by_method = {row.method: row for row in made.rows}
    baseline = by_method["Baseline"]
    assert baseline.ratio == baseline.huffman_ratio == 1
    assert baseline.agreement.srcc > 0.9
    for bits in (1, 2, 4, 8):
        assert by_method[f"Q {bits}-bit"].ratio == 32 / bits
    assert by_method["Q 1-bit"].agreement.srcc < by_method["Q 8-bit"].agreement.srcc
    ratios = [row.ratio for row in made.rows[:4]]
    assert ratios == sorted(ratios, reverse=True)
    for row in made.rows[:4]:
        assert row.ratio == row.huffman_ratio > row.huffman_ratio_with_zeros


def test_the_last_rows_are_the_choices_of_the_search(made):
    chosen = made.search.lap, made.search.laq, made.search.lapq
    for row, trial in zip(made.rows[-3:], chosen, strict=True):
        assert row.method == trial.method
        assert row.ratio == pytest.approx(trial.candidate.ratio)
        assert trial.passed
    assert made.lapq.ratio == made.rows[-1].ratio


def test_the_report_is_looked_at_once_a_row_and_decides_nothing(model, made):
    calls = []
    again = make_table(model, evaluator(model, 1), evaluator(model, 5, calls), CONFIG)
    assert len(calls) == len(METHODS)
    assert again.search == made.search
    assert [row.agreement for row in again.rows] != [row.agreement for row in made.rows]


def test_only_the_layers_that_are_given_are_compressed(model):
    calls = []
    layers = find_layers(model)[:1]
    told = []
    made = make_table(
        model, evaluator(model, 1), evaluator(model, 2, calls), CONFIG, layers=layers, on_row=told.append
    )
    assert all(set(weights) == {layers[0].name} for weights in calls)
    assert tuple(told) == made.rows


def test_table_as_text(made):
    lines = made.to_markdown().splitlines()
    assert len(lines) == 2 + len(METHODS)
    headings = [cell.strip() for cell in lines[0].strip("|").split("|")]
    assert headings == ["method", "SRCC", "KRCC", "PLCC", "CR", "HCR", "HCR with zeros"]
    rows = list(csv.DictReader(io.StringIO(made.to_csv())))
    assert [row["method"] for row in rows] == list(METHODS)
    for row, shown, kept in zip(rows, lines[2:], made.rows, strict=True):
        assert float(row["SRCC"]) == kept.agreement.srcc
        cells = [cell.strip() for cell in shown.strip("|").split("|")]
        assert cells[1] == f"{kept.agreement.srcc:.4f}"
        assert cells[4] == f"{kept.ratio:.1f}"


def test_every_trial_is_written_down(made):
    rows = list(csv.DictReader(io.StringIO(trials_table(made.search).to_csv())))
    assert len(rows) == len(made.search.trials)
    assert {row["method"] for row in rows} == {"LAP", "LAQ", "LAPQ"}
    assert all((float(row["srcc"]) >= made.search.baseline - 0.02) == (row["passed"] == "1") for row in rows)
    assert all(row["bits_shares"] == "" for row in rows if row["method"] == "LAP")


def test_a_model_without_layers_is_refused():
    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"])],
        "none",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [3])],
    )
    empty = onnx.helper.make_model(graph)
    with pytest.raises(ValueError, match="no layers"):
        make_table(empty, lambda weights: Agreement(1, 1, 1), lambda weights: Agreement(1, 1, 1))


def test_agreement_of_a_ruined_network():
    rated = np.array([1.0, 2.0, 4.0, 3.0])
    assert agreement([2, 2, 2, 2], rated) == Agreement(0, 0, 0)
    assert agreement(-rated, rated) == Agreement(-1, -1, -1)
    for predicted, message in (
        ([np.nan] * 4, "NaN"),
        ([np.inf] * 4, "infinite"),
        ([1.0] * 3, "3 predicted scores but 4 rated"),
    ):
        with pytest.raises(ValueError, match=message):
            agreement(predicted, rated)
    with pytest.raises(ValueError, match="rated scores are all 3"):
        agreement([1, 1, 1], [3, 3, 3])
