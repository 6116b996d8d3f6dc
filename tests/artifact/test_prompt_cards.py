"""Aspects and prompts in cards and files: kept, checked, and absent where an assessor has none."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st

from foveal.artifact import (
    Artifact,
    AspectSpec,
    Card,
    PromptSpec,
    ViewSpec,
    container,
    file,
    read_artifact,
    write_artifact,
)
from foveal.artifact.card import NO_ASPECTS
from foveal.artifact.tokenizer import check_tokenizer
from foveal.errors import ArtifactError, CorruptArtifactError
from foveal.pipeline.rows import COLUMNS
from foveal.weights import available
from prompt_models import ASPECTS, LENGTH, altered, make_artifact, make_card, make_tokenizer

PLAIN = make_card(aspects={}, prompt=None)


@pytest.fixture(scope="module")
def artifact() -> Artifact:
    return make_artifact()


@pytest.fixture
def path(tmp_path: Path, artifact: Artifact) -> Path:
    path = tmp_path / "m.foveal.safetensors"
    write_artifact(path, artifact)
    return path


names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,20}", fullmatch=True).filter(
    lambda name: name.lower() not in NO_ASPECTS
)


@settings(deadline=None)
@given(
    aspects=st.dictionaries(names, st.builds(AspectSpec, st.booleans()), max_size=4),
    length=st.integers(1, 4096),
)
def test_json_keeps_aspects_and_prompt(aspects: dict[str, AspectSpec], length: int) -> None:
    card = make_card(aspects=aspects, prompt=PromptSpec(length))
    assert Card.from_json(card.to_json()) == card
    assert set(card.needing_prompt) == {name for name, spec in aspects.items() if spec.needs_prompt}


def test_a_card_without_them_is_the_text_that_it_always_was(tiny_artifact: Artifact) -> None:
    known_before = {
        "calibration", "created", "direction", "licence", "measured", "name", "range", "recipe", "summary",
        "trained_on", "training_data", "version", "views",
    }  # fmt: skip
    assert set(json.loads(tiny_artifact.card.to_json())) == known_before
    for shipped in available().values():
        with safetensors.safe_open(shipped, framework="numpy") as opened:
            stored = opened.metadata()["card"]
        read = Card.from_json(stored)
        assert (read.aspects, read.prompt) == ({}, None)
        assert set(json.loads(read.to_json())) == known_before


def test_fields_of_later_versions_are_passed_over() -> None:
    values = json.loads(make_card().to_json())
    values["aspects"]["correspondence"]["unit"] = "MOS"
    values["prompt"]["language"] = "en"
    assert Card.from_json(json.dumps(values)) == make_card()
    values["prompt"] = None
    del values["aspects"]["correspondence"]
    assert Card.from_json(json.dumps(values)).prompt is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prompt": None}, "'correspondence' needs a prompt, but the card has no prompt"),
        ({"prompt": {}}, "prompt is incomplete.*length"),
        ({"prompt": 77}, "not a JSON object"),
        ({"prompt": {"length": 0}}, "length of prompts is 0, expected 1 to 4096"),
        ({"prompt": {"length": 4097}}, "length of prompts is 4097"),
        ({"prompt": {"length": "77"}}, "expected a whole number"),
        ({"aspects": "authenticity"}, "aspects is missing or not a JSON object"),
        ({"aspects": {"authenticity": True}}, "not a JSON object"),
        ({"aspects": {"authenticity": {"needs_prompt": 1}}}, "needs_prompt is 1, expected true or false"),
        ({"aspects": {"": {}}}, "aspect '' is not of letters"),
        ({"aspects": {"how, good": {}}}, "aspect 'how, good' is not of letters"),
        ({"aspects": {"a" * 65: {}}}, "is not of letters"),
        ({"aspects": {"Quality": {}}}, "may be called 'Quality'"),
        ({"aspects": {"source": {}}}, "may be called 'source'"),
        ({"aspects": {"quality_map": {}}}, "may be called 'quality_map'"),
        ({"views": {"prompt_mask": {"kind": "whole"}}}, "no view may be called 'prompt_mask'"),
    ],
)
def test_bad_values_are_named(changes: dict[str, Any], message: str) -> None:
    values = json.loads(make_card().to_json()) | changes
    with pytest.raises(ValueError, match=message):
        Card.from_json(json.dumps(values))


def test_no_aspect_is_called_like_a_column() -> None:
    assert set(COLUMNS) <= NO_ASPECTS


def test_views_may_be_called_anything_where_nothing_reads_prompts() -> None:
    assert dataclasses.replace(PLAIN, views={"prompt_ids": ViewSpec("whole")}).views


def test_the_file_gives_back_the_tokenizer(path: Path, artifact: Artifact) -> None:
    read = read_artifact(path)
    assert read.tokenizer == artifact.tokenizer
    assert read.card == artifact.card
    assert read.weights.keys() == artifact.weights.keys()
    again = path.with_name("again")
    write_artifact(again, read)
    assert again.read_bytes() == path.read_bytes()


def test_a_file_without_prompts_has_no_such_part(tmp_path: Path, tiny_artifact: Artifact) -> None:
    write_artifact(tmp_path / "m", tiny_artifact)
    assert "tokenizer" not in safetensors.numpy.load_file(tmp_path / "m")
    assert read_artifact(tmp_path / "m").tokenizer is None


def test_tokenizer_and_card_belong_together(artifact: Artifact, tiny_artifact: Artifact) -> None:
    for nothing in (None, b""):
        with pytest.raises(ValueError, match=r"prompted@0\.0\.1 reads prompts, but there is no tokenizer"):
            dataclasses.replace(artifact, tokenizer=nothing)
    with pytest.raises(ValueError, match=r"tiny@0\.0\.1 has a tokenizer, but its card has no prompt"):
        dataclasses.replace(tiny_artifact, tokenizer=artifact.tokenizer)


def test_a_tokenizer_may_not_be_of_any_size(artifact: Artifact, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file, "MAX_TOKENIZER_BYTES", 100)
    with pytest.raises(ValueError, match="more than one may have"):
        dataclasses.replace(artifact, tokenizer=bytes(101))


@pytest.mark.parametrize("change", ["altered", "dropped", "moved"])
def test_the_checksum_covers_the_tokenizer(path: Path, change: str) -> None:
    tensors = safetensors.numpy.load_file(path)
    with safetensors.safe_open(path, framework="numpy") as opened:
        metadata = opened.metadata()
    stored = tensors.pop("tokenizer")
    if change == "altered":
        tensors["tokenizer"] = np.concatenate([stored, np.frombuffer(b" ", np.uint8)])
    elif change == "moved":
        tensors["weight/tokenizer"] = stored
    safetensors.numpy.save_file(tensors, path, metadata=metadata)
    with pytest.raises(CorruptArtifactError, match="checksum"):
        read_artifact(path)


@pytest.mark.parametrize("left", ["card", "tokenizer"])
def test_a_file_with_the_one_and_without_the_other_is_damaged(path: Path, left: str) -> None:
    """What a careless writer could make: the checksum fits, card and tokenizer do not."""
    tensors = safetensors.numpy.load_file(path)
    with safetensors.safe_open(path, framework="numpy") as opened:
        metadata = opened.metadata()
    if left == "card":
        del tensors["tokenizer"]
    else:
        metadata["card"] = PLAIN.to_json()
    metadata["sha256"] = container.checksum(metadata, tensors)
    safetensors.numpy.save_file(tensors, path, metadata=metadata)
    with pytest.raises(CorruptArtifactError, match=r"has a tokenizer|there is no tokenizer"):
        read_artifact(path)


@settings(deadline=None)
@given(length=st.integers(1, 4096))
def test_tokenizers_made_as_told_pass(length: int) -> None:
    check_tokenizer(make_tokenizer(length).to_str().encode(), length)
    with pytest.raises(ValueError, match=rf"cuts texts to {length}, the card says {length + 1} tokens"):
        check_tokenizer(make_tokenizer(length).to_str().encode(), length + 1)


@pytest.mark.parametrize(
    ("tokenizer", "message"),
    [
        (b"not json", "not JSON"),
        (b"\xff\xfe\x00", "not JSON"),
        (b"[]", "cuts texts to no length"),
        (b"[" * 100_000, "nested too deeply"),
        (altered(truncation=None), r"cuts texts to no length.*call enable_truncation\(8\)"),
        (altered(truncation={"max_length": 9}), "cuts texts to 9, the card says 8"),
        (altered(padding=None), r"does not pad.*enable_padding\(length=8\)"),
        (altered(padding={"strategy": "BatchLongest"}), "does not pad"),
        (altered(padding={"strategy": {"Fixed": 9}}), "does not pad"),
        (altered(model={"type": "BPE", "dropout": 0.1, "vocab": {}, "merges": []}), "by chance"),
    ],
)
def test_tokenizers_that_do_not_fit_are_not_written(tmp_path: Path, tokenizer: bytes, message: str) -> None:
    with pytest.raises(ArtifactError, match=message):
        write_artifact(tmp_path / "m", make_artifact(tokenizer=tokenizer))
    assert not (tmp_path / "m").exists()


def test_the_helper_is_what_the_card_says() -> None:
    encoding = make_tokenizer().encode("a Red fox")
    assert len(encoding.ids) == LENGTH
    assert encoding.attention_mask == [1, 1, 1, 0, 0, 0, 0, 0]
    assert set(make_card().aspects) == set(ASPECTS)
