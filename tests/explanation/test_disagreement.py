"""What counts as a disagreement, and how it is said."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foveal.assessment import Interval
from foveal.explanation.disagreement import DEAD_ZONE, differ, disagreements
from foveal.explanation.explanation import Seen, Told, Verdict

INTERVAL = Interval(2.5, 4.0, 0.9)
WORDS = {1.0: "bad", 2.0: "poor", 3.0: "fair", 4.0: "good", 5.0: "excellent"}


def verdict(quality: float, value: float | None = None) -> Verdict:
    value = round(quality) if value is None else value
    return Verdict(WORDS[value], value, quality, dict.fromkeys(WORDS.values(), 0.2))


def told(*polarities: int) -> list[Seen]:
    return [
        Seen(f"attribute_{number}", polarity, Told(2, "some"), None, differs=False, what_if=())
        for number, polarity in enumerate(polarities)
    ]


def kinds(quality: float, *polarities: int, value: float | None = None) -> list[str]:
    found = disagreements(INTERVAL, verdict(quality, value), told(*polarities))
    return [one.kind for one in found]


@pytest.mark.parametrize(("quality", "apart"), [(2.5, False), (4.0, False), (2.49, True), (4.01, True)])
def test_a_verdict_outside_the_interval(quality: float, apart: bool) -> None:
    assert ("verdict-score" in kinds(quality)) == apart


def test_it_says_on_which_side_the_verdict_lies() -> None:
    (low,) = disagreements(INTERVAL, verdict(1.5, 3.0), [])
    (high,) = disagreements(INTERVAL, verdict(4.5, 3.0), [])
    assert low.text == (
        "The verdict that follows from the description (1.50) lies below the score's interval (2.50 to 4.00)."
    )
    assert "(4.50) lies above" in high.text


@pytest.mark.parametrize(
    ("polarities", "value", "against"),
    [
        ((1, 1), 2.0, True),  # praised, judged poor
        ((-1, -1, -1, 1), 4.0, True),
        ((1, 1), 4.0, False),
        ((1,), 2.0, False),  # within the dead zone
        ((1, 1, -1), 1.0, False),
        ((1, 1), 3.0, False),  # a fair verdict takes no side
        ((), 5.0, False),
    ],
)
def test_a_description_that_speaks_for_the_other_side(
    polarities: tuple[int, ...], value: float, against: bool
) -> None:
    assert ("description-verdict" in kinds(3.0, *polarities, value=value)) == against


def test_it_says_how_many_speak_for_and_against() -> None:
    (found,) = disagreements(INTERVAL, verdict(3.0, 4.0), told(-1, -1, -1, 1, 0))
    assert found.text == (
        "The description speaks against the image on balance (1 for, 3 against), yet its verdict is “good”."
    )


@settings(deadline=None)
@given(st.lists(st.integers(-1, 1), max_size=8), st.sampled_from(sorted(WORDS)))
def test_sides_change_with_the_scale(polarities: list[int], value: float) -> None:
    # Mirrored words and a mirrored verdict disagree exactly if the ones here do.
    mirrored = kinds(3.0, *(-one for one in polarities), value=6 - value)
    assert kinds(3.0, *polarities, value=value) == mirrored
    if abs(sum(polarities)) <= DEAD_ZONE:
        assert mirrored == []


def test_degrees_differ_from_two_on() -> None:
    assert [differ(2, measured) for measured in range(5)] == [True, False, False, False, True]


def test_said_and_measured_are_named_by_attribute() -> None:
    seen = [
        Seen(
            "motion_blur", -1, Told(3, "visible motion blur"), Told(0, "no motion blur", None, 0.1), True, ()
        ),
        Seen("noise", 1, Told(0, "no visible noise"), Told(1, "faint noise", None, 0.1), False, ()),
    ]
    (found,) = disagreements(INTERVAL, verdict(3.0), seen)
    assert (found.kind, found.attribute) == ("said-measured", "motion_blur")
    assert found.text == (
        "Motion blur: the description says “visible motion blur”, measured is “no motion blur”."
    )
