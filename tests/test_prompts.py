"""Prompts and aspects: judged with the text, never dropped without a word, and never stopping a batch."""

from __future__ import annotations

import copy
import dataclasses
import itertools
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from tokenizers import models, processors

from foveal.artifact import Artifact, AspectSpec, PromptSpec, write_artifact
from foveal.artifact.card import PROMPT_IDS, PROMPT_MASK
from foveal.assessment import Assessment, Failure
from foveal.assessor import Assessor
from foveal.errors import (
    CorruptArtifactError,
    FovealError,
    ImageError,
    InvalidPromptError,
    MissingExtraError,
    MissingPromptError,
    PromptError,
)
from foveal.imaging.views import whole_view
from foveal.prompts import LONGEST, PromptReader
from foveal.runtime import Engine, make_engine
from prompt_models import (
    ASPECTS,
    LENGTH,
    MODEL,
    SIDE,
    WORDS,
    altered,
    expected_correspondence,
    make_artifact,
    make_card,
    make_model,
    make_tokenizer,
)

ENGINES = ["openvino", "onnxruntime"]
Photo = NDArray[np.uint8]
MakePhoto = Callable[..., Photo]
LEFT_OUT = "no score for correspondence: that takes a prompt"


def assessor_of(artifact: Artifact, **options: Any) -> Assessor:
    return Assessor(artifact, make_engine(artifact, **{"threads": 2, **options}))


@pytest.fixture(scope="module")
def assessor() -> Assessor:
    return assessor_of(make_artifact())


@pytest.fixture(scope="module")
def plain(tiny_artifact: Artifact) -> Assessor:
    return assessor_of(tiny_artifact)


@pytest.fixture(scope="module")
def photos(make_photo: MakePhoto) -> list[Photo]:
    return [(make_photo(60, 80, seed) // (1 + seed % 3)).astype(np.uint8) for seed in range(7)]


class BatchingEngine:
    """An engine like the one for CUDA: takes whole batches."""

    name = "batching"
    device = "cpu"
    best_batch = 4
    threads = 2

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def run(self, views: Mapping[str, Any]) -> dict[str, NDArray[np.float32]]:
        return self._engine.run(views)


@pytest.mark.parametrize("engine", ENGINES)
def test_aspects_are_what_the_graph_says_of_image_and_prompt(photos: list[Photo], engine: str) -> None:
    assessor = assessor_of(make_artifact(), engine=engine)
    seen = set()
    for photo, words in itertools.product(photos[:3], (["red"], ["castle", "by", "night"], ["snow"] * 8)):
        result = assessor(photo, prompt=" ".join(words))
        view = whole_view(photo, SIDE)
        mean = float(view.mean()) / 255
        assert list(result.aspects) == ["authenticity", "correspondence"]
        assert result.quality == pytest.approx(1 + 4 * mean, abs=1e-4)
        assert result.aspects["authenticity"] == pytest.approx(5 - 4 * mean, abs=1e-4)
        expected = expected_correspondence(view, words)
        assert result.aspects["correspondence"] == pytest.approx(expected, abs=1e-4)
        assert result.warnings == ()
        seen.add(round(expected, 2))
    assert len(seen) == 9


def test_aspects_stand_in_plain_values(assessor: Assessor, photos: list[Photo]) -> None:
    result = assessor(photos[0], prompt="red fox")
    assert result.to_dict()["aspects"] == dict(result.aspects)
    assert all(1 <= score <= 5 for score in result.aspects.values())


def test_without_a_prompt_nothing_is_dropped_silently(assessor: Assessor, photos: list[Photo]) -> None:
    with pytest.raises(MissingPromptError, match="correspondence cannot be judged without") as caught:
        assessor(photos[0], name="photo 7")
    assert str(caught.value).startswith("photo 7: ")
    for told in ("prompt=", "--prompt", "--no-prompt"):
        assert told in str(caught.value)
    assert isinstance(caught.value, ImageError)
    assert isinstance(caught.value, PromptError)
    assert str(copy.copy(caught.value)) == str(caught.value)


@pytest.mark.parametrize("prompt", ["", " \n\t"])
def test_an_empty_prompt_leaves_out_what_takes_one_and_says_so(
    assessor: Assessor, photos: list[Photo], prompt: str
) -> None:
    result = assessor(photos[0], prompt=prompt)
    assert list(result.aspects) == ["authenticity"]
    assert result.warnings == (LEFT_OUT,)
    with_prompt = assessor(photos[0], prompt="red")
    assert result.quality == with_prompt.quality
    assert result.aspects["authenticity"] == with_prompt.aspects["authenticity"]


def test_an_empty_prompt_is_all_zeros_for_the_graph() -> None:
    read = PromptReader(make_artifact()).read("", "x")
    assert read.inputs.keys() == {PROMPT_IDS, PROMPT_MASK}
    for values in read.inputs.values():
        assert values.dtype == np.int64
        assert values.tolist() == [0] * LENGTH


words = st.lists(st.sampled_from(WORDS[2:]), min_size=1, max_size=2 * LENGTH)


@settings(deadline=None)
@given(words=words)
def test_prompts_become_the_tokenizers_numbers_and_a_cut_is_told(words: list[str]) -> None:
    read = PromptReader(make_artifact()).read(" ".join(words), "x")
    kept = words[:LENGTH]
    padding = [0] * (LENGTH - len(kept))
    assert read.inputs[PROMPT_IDS].tolist() == [WORDS.index(word) for word in kept] + padding
    assert read.inputs[PROMPT_MASK].tolist() == [1] * len(kept) + padding
    assert read.aspects == tuple(sorted(ASPECTS))
    if len(words) > LENGTH:
        assert read.warnings == ("prompt cut: it has more than the 8 tokens that the model reads",)
    else:
        assert read.warnings == ()


@settings(deadline=None)
@given(count=st.integers(1, 2 * LENGTH))
def test_special_tokens_take_their_part_of_the_length(count: int) -> None:
    tokenizer = make_tokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[UNK] $A [UNK]", special_tokens=[("[UNK]", WORDS.index("[UNK]"))]
    )
    reader = PromptReader(make_artifact(tokenizer=tokenizer.to_str().encode()))
    read = reader.read("fox " * count, "x")
    kept = min(count, LENGTH - 2)
    padding = [0] * (LENGTH - 2 - kept)
    assert read.inputs[PROMPT_IDS].tolist() == [1, *[WORDS.index("fox")] * kept, 1, *padding]
    assert sum(read.inputs[PROMPT_MASK]) == kept + 2
    assert bool(read.warnings) == (count > LENGTH - 2)


def test_a_cut_prompt_earns_a_warning_on_the_assessment(assessor: Assessor, photos: list[Photo]) -> None:
    (warning,) = assessor(photos[0], prompt="red " * 9).warnings
    assert "prompt cut" in warning
    assert assessor(photos[0], prompt="red " * 8).warnings == ()


@settings(deadline=None)
@given(prompt=st.text())
def test_any_text_is_judged_or_refused_by_name(prompt: str) -> None:
    reader = PromptReader(make_artifact())
    try:
        read = reader.read(prompt, "x")
    except InvalidPromptError as error:
        assert str(error).startswith("x: ")  # noqa: PT017 - most texts can be read
        return
    assert bool(read.inputs[PROMPT_MASK].any()) == bool(prompt.strip()) == ("correspondence" in read.aspects)


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        (float("nan"), "its prompt is 'nan', expected text"),
        (b"red", "expected text"),
        (7, "expected text"),
        ("x" * (LONGEST + 1), "100,001 characters; shorten it to 100,000"),
        ("fox \udce9", "the tokenizer of prompted@0.0.1 cannot read its prompt"),
    ],
)
def test_what_is_no_prompt_is_named(
    assessor: Assessor, photos: list[Photo], prompt: Any, message: str
) -> None:
    with pytest.raises(InvalidPromptError, match="photo: .*" + message):
        assessor(photos[0], name="photo", prompt=prompt)


def test_what_the_tokenizer_cannot_read_is_named() -> None:
    narrow = tokenizers.Tokenizer(models.WordLevel({"[PAD]": 0}, unk_token="[UNK]"))  # noqa: S106 - no password
    narrow.enable_truncation(LENGTH)
    narrow.enable_padding(length=LENGTH)
    reader = PromptReader(make_artifact(tokenizer=narrow.to_str().encode()))
    with pytest.raises(InvalidPromptError, match=r"photo: .*cannot read its prompt.*rephrase"):
        reader.read("fox", "photo")


def test_words_that_no_token_stands_for_are_no_prompt() -> None:
    letters = tokenizers.Tokenizer(models.BPE({"[PAD]": 0, "a": 1}, []))
    letters.enable_truncation(LENGTH)
    letters.enable_padding(length=LENGTH)
    reader = PromptReader(make_artifact(tokenizer=letters.to_str().encode()))
    assert reader.read("aa", "x").aspects == ("authenticity", "correspondence")
    unread = reader.read("bb", "x")
    assert unread.aspects == ("authenticity",)
    assert unread.warnings == ("prompt not read: the tokenizer knows none of its words", LEFT_OUT)


def test_a_prompt_for_an_assessor_that_reads_none(plain: Assessor, photos: list[Photo]) -> None:
    for call in (
        lambda: plain(photos[0], prompt="red fox"),
        lambda: plain.stream(photos, prompts="red fox"),
        lambda: plain.stream(photos, prompts=["red fox"] * len(photos)),
    ):
        with pytest.raises(PromptError, match=r"tiny@0\.0\.1 reads no prompts; leave them out"):
            call()
    assert plain(photos[0], prompt="") == plain(photos[0])
    (row,) = plain.stream(photos[:1], prompts="")
    assert row == plain(photos[0], name="image 0")


def test_prompts_may_be_welcome_and_not_needed(photos: list[Photo]) -> None:
    card = make_card(aspects={"authenticity": AspectSpec()})
    result = assessor_of(make_artifact(card=card))(photos[0])
    assert list(result.aspects) == ["authenticity"]
    assert result.warnings == ()
    without = make_card(aspects={}, prompt=PromptSpec(LENGTH))
    assert assessor_of(make_artifact(card=without))(photos[0], prompt="red").aspects == {}


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("batching", [False, True])
def test_streams_give_each_image_its_prompt(photos: list[Photo], engine: str, batching: bool) -> None:
    artifact = make_artifact()
    runner: Any = make_engine(artifact, engine=engine, threads=3)
    assessor = Assessor(artifact, BatchingEngine(runner) if batching else runner)
    prompts = ["red fox", "", "castle", "castle by night", "in snow", "", "fox in snow"]
    alone = [
        assessor(photo, name=f"image {i}", prompt=prompt)
        for i, (photo, prompt) in enumerate(zip(photos, prompts, strict=True))
    ]
    assert list(assessor.stream(photos, prompts=prompts)) == alone
    assert list(assessor.stream(iter(photos), prompts=iter(prompts))) == alone
    turned = list(assessor.stream(photos[::-1], prompts=prompts[::-1]))
    assert [row.aspects for row in turned] == [row.aspects for row in alone[::-1]]
    same = [row.aspects for row in assessor.stream(photos, prompts="castle")]
    assert same == [assessor(photo, prompt="castle").aspects for photo in photos]
    assert all(row.warnings == (LEFT_OUT,) for row in assessor.stream(photos, prompts=""))


@pytest.mark.parametrize("batching", [False, True])
def test_a_missing_prompt_is_a_row_of_its_own(photos: list[Photo], batching: bool) -> None:
    artifact = make_artifact()
    runner: Any = make_engine(artifact, threads=2)
    assessor = Assessor(artifact, BatchingEngine(runner) if batching else runner)
    prompts: list[Any] = ["red", None, "fox", float("nan"), "snow", None, "castle"]
    rows = list(assessor.stream(photos, prompts=prompts, on_error="yield"))
    kinds = [type(row.error) if isinstance(row, Failure) else Assessment for row in rows]
    assert kinds == [
        Assessment, MissingPromptError, Assessment, InvalidPromptError, Assessment, MissingPromptError,
        Assessment,
    ]  # fmt: skip
    assert [row.source for row in rows] == [f"image {i}" for i in range(7)]
    stream = assessor.stream(photos, prompts=prompts)
    assert isinstance(next(stream), Assessment)
    with pytest.raises(MissingPromptError, match="image 1: no prompt"):
        next(stream)


@pytest.mark.parametrize("on_error", ["raise", "yield"])
def test_a_stream_without_any_prompts_is_refused_at_once(
    assessor: Assessor, photos: list[Photo], on_error: Any
) -> None:
    with pytest.raises(MissingPromptError, match=rf"{MODEL}: no prompt"):
        assessor.stream(photos, on_error=on_error)
    with pytest.raises(InvalidPromptError, match=MODEL):
        assessor.stream(photos, prompts="x" * (LONGEST + 1), on_error=on_error)


@pytest.mark.parametrize("on_error", ["raise", "yield"])
def test_numbers_of_prompts_and_images_must_agree(
    assessor: Assessor, photos: list[Photo], on_error: Any
) -> None:
    for count in (0, 6, 8):
        with pytest.raises(PromptError, match=f"{count} prompts for 7 images"):
            assessor.stream(photos, prompts=["red"] * count, on_error=on_error)
    with pytest.raises(PromptError, match="only 3 prompts for more images"):
        list(assessor.stream(iter(photos), prompts=["red"] * 3, on_error=on_error))
    with pytest.raises(PromptError, match="only 7 images for more prompts"):
        list(assessor.stream(photos, prompts=itertools.repeat("red"), on_error=on_error))
    assert list(assessor.stream([], prompts=[])) == []


def test_prompts_are_taken_as_lazily_as_images(assessor: Assessor, photos: list[Photo]) -> None:
    taken = 0

    def prompts() -> Iterator[str]:
        nonlocal taken
        while True:
            taken += 1
            yield "red"

    stream = assessor.stream(itertools.repeat(photos[0]), prompts=prompts(), workers=2)
    for _ in range(5):
        next(stream)
    assert taken <= 5 + 3 * 2


def test_many_threads_read_with_one_tokenizer(assessor: Assessor, photos: list[Photo]) -> None:
    prompts = [" ".join(WORDS[2 : 3 + i % 6]) for i in range(200)]
    rows = list(assessor.stream([photos[0]] * 200, prompts=prompts, workers=8))
    expected = {prompt: assessor(photos[0], prompt=prompt).aspects for prompt in set(prompts)}
    assert len({aspects["correspondence"] for aspects in expected.values()}) == 6
    assert [row.aspects for row in rows] == [expected[prompt] for prompt in prompts]


def test_a_graph_that_gives_no_number_is_broken(photos: list[Photo]) -> None:
    broken = assessor_of(make_artifact(make_model(broken=True)))
    with pytest.raises(FovealError, match="authenticity nan; the model is broken"):
        broken(photos[0], prompt="red")


@pytest.mark.parametrize(
    "tokenizer", [b"{}", b"\xff", altered(model={"type": "none"}), make_tokenizer(5).to_str().encode()]
)
def test_a_broken_tokenizer_is_told_before_a_stream_starts(photos: list[Photo], tokenizer: bytes) -> None:
    assessor = assessor_of(make_artifact(tokenizer=tokenizer))
    with pytest.raises(CorruptArtifactError, match=r"prompted@0\.0\.1: its tokenizer cannot be used"):
        assessor(photos[0], prompt="red")
    with pytest.raises(CorruptArtifactError, match="its tokenizer cannot be used"):
        assessor.stream(photos, prompts=("red" for _ in photos), on_error="yield")


def test_the_library_is_needed_for_texts_only(photos: list[Photo], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    assessor = assessor_of(make_artifact())
    assert list(assessor(photos[0], prompt="").aspects) == ["authenticity"]
    assert len(list(assessor.stream(photos, prompts=""))) == 7
    for call in (
        lambda: assessor(photos[0], prompt="red"),
        lambda: assessor.stream(photos, prompts="red", on_error="yield"),
        lambda: assessor.stream(photos, prompts=["red"] * 7, on_error="yield"),
    ):
        with pytest.raises(MissingExtraError, match=r"pip install 'foveal\[prompts\]'"):
            call()


@pytest.mark.slow
def test_loading_and_judging_without_a_prompt_imports_no_tokenizer(tmp_path: Path) -> None:
    write_artifact(tmp_path / "m.foveal.safetensors", make_artifact())
    code = """
import sys, numpy, foveal
assessor = foveal.load(sys.argv[1])
assessor(numpy.zeros((40, 40, 3), numpy.uint8), prompt="")
print("tokenizers" in sys.modules)
assessor(numpy.zeros((40, 40, 3), numpy.uint8), prompt="red fox")
print("tokenizers" in sys.modules, "torch" in sys.modules, "transformers" in sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "m.foveal.safetensors"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.split() == ["False", "True", "False", "False"]


def test_a_reader_needs_a_tokenizer(tiny_artifact: Artifact) -> None:
    with pytest.raises(ValueError, match=r"tiny@0\.0\.1 reads no prompts"):
        PromptReader(tiny_artifact)


def test_aspects_need_no_prompts(tiny_artifact: Artifact, photos: list[Photo]) -> None:
    """Any output may be an aspect; here quality's own raw value stands in for one."""
    card = dataclasses.replace(tiny_artifact.card, aspects={"spread.raw": AspectSpec()})
    with pytest.raises(CorruptArtifactError, match=r"does not give \['spread\.raw'\]"):
        assessor_of(dataclasses.replace(tiny_artifact, card=card))
    free = make_card(aspects={"authenticity": AspectSpec()})
    assert list(assessor_of(make_artifact(card=free))(photos[0], prompt="").aspects) == ["authenticity"]
