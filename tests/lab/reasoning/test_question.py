"""A question is checked when it is asked, and an answer so far only grows."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foveal.lab.reasoning.question import Question, StoredFeatures

PICTURE = np.zeros((4, 5, 3), np.uint8)


@given(st.lists(st.text(max_size=20), max_size=5))
def test_answers_are_put_one_after_the_other(parts: list[str]) -> None:
    question = Question("Is it sharp?", PICTURE)
    for part in parts:
        question = question.answered(part)
    assert question.so_far == "".join(parts)
    assert question.text == "Is it sharp?"
    assert question.picture is PICTURE


def test_answering_changes_no_question() -> None:
    question = Question("Is it sharp?", so_far="Yes")
    assert question.answered(", very.").so_far == "Yes, very."
    assert question.so_far == "Yes"


@pytest.mark.parametrize(
    ("picture", "told"),
    [
        (np.zeros((4, 5, 3)), r"not float64 \(4, 5, 3\)"),
        (np.zeros((4, 5), np.uint8), r"not uint8 \(4, 5\)"),
    ],
)
def test_a_picture_is_bytes_in_three_dimensions(picture: np.ndarray, told: str) -> None:
    with pytest.raises(ValueError, match=told + r"; foveal\.imaging\.decode"):
        Question("Is it sharp?", picture)


def test_stored_features_are_a_picture_too() -> None:
    stored = StoredFeatures(np.ones((49, 8), np.float16))
    assert Question("Is it sharp?", stored).picture is stored


@pytest.mark.parametrize("shape", [(49,), (1, 49, 8)])
def test_stored_features_are_a_table(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"expected \(tokens, features\)"):
        StoredFeatures(np.ones(shape))
