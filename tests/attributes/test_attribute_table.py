"""The words of the attributes, the cuts between them, and the places."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foveal.attributes import ATTRIBUTES
from foveal.attributes.places import PLACES, centre_minus_rest, place_words

VERDICTS = r"\b(excellent|good|fair|poor|bad|quality|pleasant|ugly|nice|beautiful|terrible|best|worst)\b"
MIRRORED = {"left": "right", "right": "left"}


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_an_attribute_is_complete(name: str) -> None:
    attribute = ATTRIBUTES[name]
    assert attribute.name == name
    assert len(set(attribute.degrees)) == 5
    assert len(attribute.thresholds) == 4
    assert list(attribute.thresholds) == sorted(set(attribute.thresholds))
    assert attribute.merit in {-1, 0, 1}
    assert attribute.unit
    assert attribute.source
    if attribute.seen_from is not None:
        assert attribute.thresholds[0] == attribute.seen_from


def test_no_phrase_is_a_verdict_or_said_of_two_attributes() -> None:
    phrases = [phrase for attribute in ATTRIBUTES.values() for phrase in attribute.degrees]
    assert len(set(phrases)) == len(phrases)
    assert not [phrase for phrase in phrases if re.search(VERDICTS, phrase)]


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_degrees_rise_with_the_value(name: str) -> None:
    attribute = ATTRIBUTES[name]
    low, *_, high = attribute.thresholds
    assert attribute.degree(low - 1e-6) == 0
    assert [attribute.degree(cut) for cut in attribute.thresholds] == [1, 2, 3, 4]
    assert attribute.degree(high + 1e6) == 4


def test_the_table_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        ATTRIBUTES["sharpness"] = ATTRIBUTES["noise"]  # type: ignore[index]


@pytest.mark.parametrize("place", PLACES)
def test_a_place_that_stands_out_is_named(place: str) -> None:
    local = np.zeros((3, 3), np.float32)
    for cell in PLACES[place]:
        local[cell] = 1
    assert place_words(local, 0.5) == f"strongest {place}"
    centre = place == "in the centre"
    assert place_words(-local, 0.5) == ("strongest towards the edges" if centre else f"weakest {place}")
    assert place_words(local, 1.1) is None


def test_what_no_place_describes_has_no_words() -> None:
    diagonal = np.array([[2, 1, 0], [1, 0, 1], [0, 1, 2]], np.float32)
    assert place_words(diagonal, 0.5) is None
    assert place_words(np.ones((3, 3), np.float32), 0.0) is None


@given(seed=st.integers(0, 2**32))
def test_words_are_mirrored_with_the_picture(seed: int) -> None:
    local = np.random.default_rng(seed).normal(0, 1, (3, 3)).astype(np.float32)
    local[:, seed % 3] += seed % 5
    words, mirrored = place_words(local, 1.0), place_words(local[:, ::-1], 1.0)
    assert (words is None) == (mirrored is None)
    if words is not None:
        assert re.sub("left|right", lambda side: MIRRORED[side.group()], words) == mirrored


def test_the_centre_is_compared_with_the_mean_around() -> None:
    assert centre_minus_rest(np.arange(9, dtype=np.float32).reshape(3, 3)) == 0
    local = np.zeros((3, 3), np.float32)
    local[1, 1], local[0, 0] = 5, 8
    assert centre_minus_rest(local) == 4
    with pytest.raises(ValueError, match="no local readings"):
        centre_minus_rest(None)
