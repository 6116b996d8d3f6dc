"""The card: what it keeps, and what it refuses."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from foveal.artifact import Artifact, Calibration, Card, SideRange, ViewSpec


@pytest.fixture
def card(tiny_artifact: Artifact) -> Card:
    return tiny_artifact.card


def test_json_keeps_everything(card: Card) -> None:
    assert Card.from_json(card.to_json()) == card
    spare = dataclasses.replace(card, trained_on=None, measured={}, summary="Ein hübsches Modell")
    assert Card.from_json(spare.to_json()) == spare


def test_json_states_range_and_direction(card: Card) -> None:
    values = json.loads(card.to_json())
    assert values["range"] == [1.0, 5.0]
    assert values["direction"] == "higher is better"


def test_fields_of_later_versions_are_passed_over(card: Card) -> None:
    values = json.loads(card.to_json())
    values["aspects"] = ["authenticity"]
    values["calibration"]["rounds"] = 3
    values["views"]["whole"]["colour"] = "sRGB"
    values["trained_on"]["median"] = 512
    assert Card.from_json(json.dumps(values)) == card


@pytest.mark.parametrize(
    "field", ["name", "version", "licence", "summary", "training_data", "views", "calibration"]
)
def test_required_fields(card: Card, field: str) -> None:
    values = json.loads(card.to_json())
    del values[field]
    with pytest.raises(ValueError, match=field):
        Card.from_json(json.dumps(values))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (["name"], "Two Words"),
        (["name"], "../up"),
        (["name"], 7),
        (["version"], ""),
        (["range"], [0, 1]),
        (["range"], 5),
        (["direction"], "lower is better"),
        (["views"], {}),
        (["views"], []),
        (["views", "whole"], "whole"),
        (["views", "whole", "kind"], "depth"),
        (["views", "whole", "side"], 0),
        (["views", "whole", "side"], 10**9),
        (["views", "whole", "side"], "224"),
        (["views", "fragments", "side"], 225),
        (["calibration", "coverage"], 1.5),
        (["calibration", "factor"], -1),
        (["calibration", "factor"], True),
        (["calibration", "count"], 1.5),
        (["calibration", "measured_coverage"], "0.9"),
        (["calibration"], None),
        (["trained_on"], {"min_side": 500, "max_side": 400}),
        (["trained_on"], {"min_side": 500}),
        (["measured"], [0.8]),
        (["measured", "SRCC"], "high"),
    ],
)
def test_bad_values_are_named(card: Card, path: list[str], value: Any) -> None:
    values = json.loads(card.to_json())
    inner = values
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    with pytest.raises(ValueError, match=r"\w"):
        Card.from_json(json.dumps(values))


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '"card"', "NaN"])
def test_text_that_is_no_card(text: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        Card.from_json(text)


def test_nan_cannot_be_measured(card: Card) -> None:
    with pytest.raises(ValueError, match="finite"):
        dataclasses.replace(card, measured={"SRCC": float("nan")})


def test_model_is_name_at_version(card: Card) -> None:
    assert card.model == "tiny@0.0.1"


def test_parts_check_themselves() -> None:
    with pytest.raises(ValueError, match="multiple of 7"):
        ViewSpec("fragments", 32)
    with pytest.raises(ValueError, match="coverage"):
        Calibration(coverage=2.0, factor=1.0, count=10)
    with pytest.raises(ValueError, match="max_side"):
        SideRange(min_side=10, max_side=9)
