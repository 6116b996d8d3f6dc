"""Descriptions: what is written can be read back, edits change one thing, no verdict slips in."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foveal.attributes import ATTRIBUTES
from foveal.explanation.wordings import IMPRESSION_DEGREES, IMPRESSIONS, WORDINGS
from foveal.explanation.words import TOLD, degrees_of, edited, statements, write

VERDICT = re.compile(
    r"\b(excellent|good|fair|poor|bad|average|quality|perfect|terrible|high-quality|low-quality)\b",
    re.IGNORECASE,
)
DEGREES = st.lists(st.sampled_from(list(WORDINGS)), min_size=1, unique=True).flatmap(
    lambda names: st.fixed_dictionaries({n: st.integers(0, WORDINGS[n].degrees - 1) for n in names})
)
DESCRIPTIONS = st.builds(
    lambda degrees, phrasing: (degrees, write(degrees, phrasing=phrasing)),
    DEGREES,
    st.lists(st.integers(0, 59), min_size=1, max_size=30),
)


@given(DESCRIPTIONS)
def test_a_written_description_is_read_back_whole(described: tuple[dict[str, int], str]) -> None:
    degrees, text = described
    assert degrees_of(text) == degrees


@given(DESCRIPTIONS, st.data())
def test_an_edit_changes_one_attribute_only(
    described: tuple[dict[str, int], str], data: st.DataObject
) -> None:
    degrees, text = described
    name = data.draw(st.sampled_from(sorted(degrees)))
    degree = data.draw(st.integers(0, WORDINGS[name].degrees - 1))
    assert degrees_of(edited(text, name, degree)) == {**degrees, name: degree}


@given(DESCRIPTIONS)
def test_descriptions_hold_no_word_of_verdict(described: tuple[dict[str, int], str]) -> None:
    assert not VERDICT.search(described[1])


def test_every_phrase_belongs_to_one_attribute_and_degree() -> None:
    phrases = [
        phrase.lower()
        for wording in WORDINGS.values()
        for degree in range(wording.degrees)
        for phrase in (*wording.written[degree], *wording.understood[degree])
    ]
    assert len(phrases) == len(set(phrases))


def test_attributes_told_are_known_and_the_issue_s_are_among_them() -> None:
    assert set(TOLD) <= set(WORDINGS)
    assert set(IMPRESSIONS) == {name for name, wording in WORDINGS.items() if not wording.measured}
    assert {
        "sharpness",
        "noise",
        "blocking",
        "brightness",
        "contrast",
        "colourfulness",
        "banding",
        "motion_blur",
    } <= set(TOLD)
    assert set(ATTRIBUTES) <= set(WORDINGS)


def test_what_is_measured_has_five_degrees_and_impressions_have_nine() -> None:
    assert {WORDINGS[name].degrees for name in ATTRIBUTES} == {5}
    assert {WORDINGS[name].degrees for name in IMPRESSIONS} == {IMPRESSION_DEGREES} == {9}


def test_polarity_follows_merit() -> None:
    assert [WORDINGS["sharpness"].polarity(degree) for degree in range(5)] == [-1, -1, 0, 1, 1]
    assert [WORDINGS["noise"].polarity(degree) for degree in range(5)] == [1, 1, 0, -1, -1]
    assert [WORDINGS["scene"].polarity(degree) for degree in range(9)] == [-1] * 2 + [0] * 2 + [1] * 5
    assert {WORDINGS["brightness"].polarity(degree) for degree in range(5)} == {0}


def test_places_are_told_in_brackets_and_go_with_an_edit() -> None:
    text = write({"sharpness": 1, "noise": 0}, places={"sharpness": "strongest in the centre"})
    assert text == "Soft (strongest in the centre), no visible noise."
    assert edited(text, "sharpness", 4) == "Very sharp, no visible noise."


def test_statements_tell_where_they_stand_and_the_first_counts() -> None:
    text = "It is noisy, yet very sharp. Later it is called soft."
    found = statements(text)
    assert [(s.attribute, s.degree, s.polarity, text[s.start : s.end]) for s in found] == [
        ("noise", 3, -1, "noisy"),
        ("sharpness", 4, 1, "very sharp"),
    ]


def test_free_text_of_other_models_is_understood() -> None:
    text = "The image is out of focus and underexposed, with severe noise and vibrant colours."
    assert degrees_of(text) == {"sharpness": 0, "brightness": 0, "noise": 4, "colourfulness": 3}


def test_longer_phrases_win_and_words_are_whole() -> None:
    assert degrees_of("very blurry") == {"sharpness": 0}
    assert degrees_of("soft") == {"sharpness": 1}
    assert degrees_of("software, unsharpened, brightness") == {}


def test_phrases_that_cannot_be_told_are_refused() -> None:
    with pytest.raises(ValueError, match="noise: degree is 5, expected 0 to 4"):
        write({"noise": 5})
    with pytest.raises(ValueError, match="scene: degree is 9, expected 0 to 8"):
        write({"scene": 9})
    with pytest.raises(ValueError, match="needs an attribute"):
        write({})
    with pytest.raises(ValueError, match="does not tell of haze"):
        edited("Very sharp.", "haze", 0)
    with pytest.raises(ValueError, match="degree is -1"):
        edited("Very sharp.", "sharpness", -1)
    with pytest.raises(KeyError, match="beauty"):
        write({"beauty": 1})
