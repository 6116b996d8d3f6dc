"""The file of an explainer: what comes back, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from constructed_explainer import CARD, constructed_explainer
from foveal.artifact.onnx_wire import detach_initializers
from foveal.errors import (
    ArtifactError,
    CorruptArtifactError,
    ForeignArtifactError,
    FovealError,
    UnknownModelError,
)
from foveal.explanation import explainer as explaining
from foveal.explanation.card import ExplainerCard
from foveal.explanation.file import (
    FORMAT,
    ExplainerModel,
    Settings,
    read_explainer_file,
    write_explainer_file,
)


def nodes(graph: bytes) -> list[str]:
    import onnx

    return [str(node) for node in onnx.load_from_string(graph).graph.node]


def test_all_comes_back(explainer_model: ExplainerModel, tmp_path: Path) -> None:
    path = tmp_path / "a"
    write_explainer_file(path, explainer_model, store_float16=False)
    back = read_explainer_file(path)
    assert (back.card, back.settings) == (explainer_model.card, explainer_model.settings)
    assert list(back.settings.levels) == list(explainer_model.settings.levels)
    for name in ("describer", "judge"):
        own, there = getattr(explainer_model, name), getattr(back, name)
        assert own.keys() == there.keys()
        for key, value in own.items():
            np.testing.assert_array_equal(there[key], value)
            assert there[key].dtype == np.float32
    assert nodes(back.eyes) == nodes(explainer_model.eyes)
    (_, weights), (_, others) = map(detach_initializers, (explainer_model.eyes, back.eyes))
    assert weights.keys() == others.keys()
    for key, value in weights.items():
        np.testing.assert_array_equal(others[key], value)
    assert [file.name for file in tmp_path.iterdir()] == ["a"]


def test_equal_explainers_give_equal_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_explainer_file(tmp_path / name, constructed_explainer())
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_float16_halves_the_file_and_rounds(explainer_model: ExplainerModel, tmp_path: Path) -> None:
    weights = dict(explainer_model.judge)
    weights["0.out"] = np.random.default_rng(0).normal(size=weights["0.out"].shape).astype(np.float32)
    weights["0.gate_up"] = weights["0.gate_up"] + 1e5  # beyond float16: stays as it is
    model = replace(explainer_model, judge=weights)
    sizes = {}
    for half in (True, False):
        write_explainer_file(tmp_path / "a", model, store_float16=half)
        sizes[half] = (tmp_path / "a").stat().st_size
        back = read_explainer_file(tmp_path / "a").judge
        wanted = weights["0.out"].astype(np.float16 if half else np.float32).astype(np.float32)
        np.testing.assert_array_equal(back["0.out"], wanted)
        np.testing.assert_array_equal(back["0.gate_up"], weights["0.gate_up"])
    assert sizes[True] < 0.6 * sizes[False]


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_any_altered_byte_is_found(explainer_path: Path, data: st.DataObject) -> None:
    content = bytearray(explainer_path.read_bytes())
    place = data.draw(st.one_of(st.integers(0, 4000), st.integers(0, len(content) - 1)))
    content[place] ^= data.draw(st.integers(1, 255))
    altered = explainer_path.with_name("altered")
    altered.write_bytes(content)
    with pytest.raises(ArtifactError) as raised:
        read_explainer_file(altered)
    assert str(altered) in str(raised.value)


@settings(max_examples=10, deadline=None)
@given(st.floats(0, 0.999))
def test_a_cut_file_is_found(explainer_path: Path, share: float) -> None:
    content = explainer_path.read_bytes()
    cut = explainer_path.with_name("cut")
    cut.write_bytes(content[: int(share * len(content))])
    with pytest.raises((CorruptArtifactError, ForeignArtifactError), match="cut"):
        read_explainer_file(cut)


def test_other_files_are_told_from_explainers(tiny_model_path: Path, tmp_path: Path) -> None:
    with pytest.raises(ForeignArtifactError, match=r"not an explainer.*assessors do not explain"):
        read_explainer_file(tiny_model_path)
    with pytest.raises(UnknownModelError, match="there is no such model file"):
        read_explainer_file(tmp_path / "none")
    (tmp_path / "empty").write_bytes(b"")
    with pytest.raises(ForeignArtifactError, match="not an explainer"):
        read_explainer_file(tmp_path / "empty")


def test_newer_formats_are_refused_kindly(explainer_path: Path, tmp_path: Path) -> None:
    content = explainer_path.read_bytes()
    assert content.count(b'"format_version":"1"') == 1
    newer = tmp_path / "newer"
    newer.write_bytes(content.replace(b'"format_version":"1"', b'"format_version":"7"'))
    with pytest.raises(ForeignArtifactError, match=r"format version 7, this one reads 1.*upgrade"):
        read_explainer_file(newer)


def test_a_file_that_cannot_be_written_is_named(explainer_model: ExplainerModel, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="cannot be written"):
        write_explainer_file(tmp_path / "none" / "a", explainer_model)
    with pytest.raises(ArtifactError, match="its eyes"):
        write_explainer_file(tmp_path / "a", replace(explainer_model, eyes=b"\x00no graph"))
    assert list(tmp_path.iterdir()) == []


def test_parts_that_do_not_fit_are_named(explainer_model: ExplainerModel) -> None:
    judge, own = dict(explainer_model.judge), explainer_model.settings
    judge["embedding"] = judge["embedding"][:-1]
    with pytest.raises(ValueError, match=r"judge: \d+ embeddings for \d+ tokens"):
        replace(explainer_model, judge=judge)
    with pytest.raises(ValueError, match="are not two or more, falling"):
        replace(own, levels={"bad": 1.0, "good": 5.0})
    with pytest.raises(ValueError, match="'<picture>', the mark of an image, is no special token"):
        replace(own, conversation=replace(own.conversation, image="<picture>"))
    with pytest.raises(ValueError, match="0 tokens at most"):
        replace(own.conversation, most_tokens=0)


def test_settings_come_back_from_json(explainer_model: ExplainerModel) -> None:
    settings = explainer_model.settings
    assert Settings.from_json(settings.to_json()) == settings


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "Large Name"}, "is not of lower-case letters"),
        ({"version": ""}, "version is empty"),
        ({"licence": None}, "licence is None, expected text"),
        ({"measured": {"SRCC": float("nan")}}, "measured 'SRCC' is nan"),
        ({"measured": []}, "measured is not a table"),
    ],
)
def test_malformed_cards_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(CARD, **changes)  # type: ignore[arg-type]


def test_cards_come_back_and_pass_over_what_is_new() -> None:
    card = replace(CARD, measured={"SRCC": 0.8}, created="2025-01-01")
    assert ExplainerCard.from_json(card.to_json()) == card
    assert ExplainerCard.from_json(card.to_json()[:-1] + ', "newer": 1}') == card
    with pytest.raises(ValueError, match="incomplete"):
        ExplainerCard.from_json("{}")
    with pytest.raises(ValueError, match="not a JSON object"):
        ExplainerCard.from_json("[]")


def test_without_a_shipped_explainer_the_message_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(explaining, "NAME", "nothing-like-this")
    with pytest.raises(FovealError, match=r"nothing-like-this.*has no explainer; give the file of one"):
        explaining.load_explainer()


def test_format_is_told_apart_from_the_assessors() -> None:
    from foveal.artifact.file import FORMAT as ASSESSOR

    assert FORMAT != ASSESSOR
