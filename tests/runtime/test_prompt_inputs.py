"""Engines with prompts: both agree with the reference implementation, and refuse what does not fit."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import onnx
import onnx.reference
import pytest
from numpy.typing import NDArray

from foveal.artifact import AspectSpec, PromptSpec
from foveal.errors import CorruptArtifactError
from foveal.runtime import make_engine
from prompt_models import LENGTH, SIDE, make_artifact, make_card, make_model

ENGINES = ["openvino", "onnxruntime"]
Inputs = dict[str, NDArray[np.uint8] | NDArray[np.int64]]
COUNT = 5


@pytest.fixture
def inputs() -> Inputs:
    rng = np.random.default_rng(3)
    lengths = np.array([1, 3, LENGTH, 0, 5])
    mask = (np.arange(LENGTH) < lengths[:, None]).astype(np.int64)
    return {
        "whole": rng.integers(0, 256, (COUNT, SIDE, SIDE, 3), np.uint8),
        "prompt_ids": rng.integers(2, 9, (COUNT, LENGTH)) * mask,
        "prompt_mask": mask,
    }


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.filterwarnings("ignore:invalid value")  # of the row without a prompt, which is NaN
def test_agrees_with_the_reference_implementation(inputs: Inputs, engine: str) -> None:
    outputs = make_engine(make_artifact(), engine=engine, threads=1).run(inputs)
    assert outputs.keys() == {"quality", "spread", "correspondence", "authenticity"}
    names = sorted(outputs)
    reference = onnx.reference.ReferenceEvaluator(make_model()).run(names, dict(inputs))
    for name, values in zip(names, reference, strict=True):
        assert outputs[name].shape == (COUNT,)
        assert outputs[name].dtype == np.float32
        np.testing.assert_allclose(outputs[name], values, atol=1e-4)
    assert np.ptp(outputs["correspondence"][[0, 1, 2, 4]]) > 0.3


@pytest.mark.parametrize("engine", ENGINES)
def test_the_batch_changes_nothing(inputs: Inputs, engine: str) -> None:
    runner = make_engine(make_artifact(), engine=engine, threads=2)
    together = runner.run(inputs)["correspondence"]
    alone = [
        runner.run({name: part[i : i + 1] for name, part in inputs.items()})["correspondence"][0]
        for i in range(COUNT)
    ]
    np.testing.assert_array_equal(alone, together)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    "change",
    [
        lambda inputs: {"whole": inputs["whole"]},
        lambda inputs: {**inputs, "prompt_ids": inputs["prompt_ids"].astype(np.int32)},
        lambda inputs: {**inputs, "prompt_mask": inputs["prompt_mask"].astype(bool)},
        lambda inputs: {**inputs, "prompt_ids": inputs["prompt_ids"][:, :-1]},
        lambda inputs: {**inputs, "prompt_ids": inputs["prompt_ids"][0]},
        lambda inputs: {**inputs, "prompt_ids": inputs["prompt_ids"][:2]},
    ],
)
def test_wrong_prompts_are_refused(inputs: Inputs, engine: str, change: Callable[[Inputs], Inputs]) -> None:
    with pytest.raises(ValueError, match=r"expected (int64 \(images, 8\)|\[|equally many)"):
        make_engine(make_artifact(), engine=engine, threads=1).run(change(inputs))


@pytest.mark.parametrize("engine", ENGINES)
def test_graphs_that_do_not_keep_what_the_card_promises(engine: str) -> None:
    more = make_card(aspects={**make_card().aspects, "beauty": AspectSpec()})
    with pytest.raises(CorruptArtifactError, match=r"does not give \['beauty'\]"):
        make_engine(make_artifact(card=more), engine=engine)
    plain = make_card(aspects={}, prompt=None)
    with pytest.raises(CorruptArtifactError, match=r"takes \['prompt_ids', 'prompt_mask', 'whole'\]"):
        make_engine(make_artifact(card=plain, tokenizer=None), engine=engine)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_card_may_be_silent_about_an_output(inputs: Inputs, engine: str) -> None:
    fewer = dataclasses.replace(make_card(), aspects={}, prompt=PromptSpec(LENGTH))
    outputs = make_engine(make_artifact(card=fewer), engine=engine, threads=1).run(inputs)
    assert np.isfinite(outputs["quality"]).all()
