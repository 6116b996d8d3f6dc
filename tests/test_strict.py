"""Tables to dataclasses: what fits is taken as it is, all else is refused by the name of its place."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from foveal.strict import RecipeError, build


@dataclass(frozen=True)
class Inner:
    width: int = 3

    def __post_init__(self) -> None:
        if self.width < 1:
            raise ValueError(f"width is {self.width}, expected 1 or more")


@dataclass(frozen=True)
class Sample:
    count: int
    share: float = 0.5
    name: str = "a"
    flag: bool = False
    word: Literal["red", "blue"] = "red"
    maybe: str | None = None
    numbers: tuple[int, ...] = ()
    rates: Mapping[str, float] = field(default_factory=dict)
    inner: Inner = field(default_factory=Inner)
    inners: Mapping[str, Inner] = field(default_factory=dict)
    pairs: tuple[tuple[float, ...], ...] = ()
    anything: Any = None


def is_whole(value: object) -> bool:
    return type(value) is int


def is_number(value: object) -> bool:
    return type(value) is float or (type(value) is int and abs(value) < 2**1023)


def is_inner(value: object) -> bool:
    if not isinstance(value, dict) or not value.keys() <= {"width"}:
        return False
    return "width" not in value or (is_whole(value["width"]) and value["width"] > 0)


def is_array(value: object, of: Callable[[object], bool]) -> bool:
    return isinstance(value, list) and all(map(of, value))


def is_table(value: object, of: Callable[[object], bool]) -> bool:
    return isinstance(value, dict) and all(map(of, value.values()))


FITS: dict[str, Callable[[object], bool]] = {
    "count": is_whole,
    "share": is_number,
    "name": lambda value: type(value) is str,
    "flag": lambda value: type(value) is bool,
    "word": lambda value: value in ("red", "blue"),
    "maybe": lambda value: value is None or type(value) is str,
    "numbers": lambda value: is_array(value, is_whole),
    "rates": lambda value: is_table(value, is_number),
    "inner": is_inner,
    "inners": lambda value: is_table(value, is_inner),
    "pairs": lambda value: is_array(value, lambda row: is_array(row, is_number)),
    "anything": lambda _: True,
}
"""What each field takes, said once more without types."""

words = st.sampled_from(["red", "blue", "green", "width", ""])
numbers = st.one_of(st.integers(), st.floats(allow_nan=False), st.just(10**400))
plain = st.one_of(st.none(), st.booleans(), numbers, words)
values = st.recursive(
    plain, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(words, inner, max_size=2), max_leaves=4
)


def same(made: object, value: object) -> bool:
    """Whether a field holds what the table said."""
    if isinstance(made, Inner):
        return isinstance(value, Mapping) and made.width == value.get("width", 3)
    if isinstance(made, tuple):
        return isinstance(value, list) and all(map(same, made, value)) and len(made) == len(value)
    if isinstance(made, dict) and isinstance(value, dict):
        return made.keys() == value.keys() and all(same(made[key], value[key]) for key in made)
    return made == value


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(name=st.sampled_from(sorted(FITS)), value=values)
@example(name="share", value=10**400)
@example(name="flag", value=1)
@example(name="count", value=True)
@example(name="count", value=1.0)
@example(name="share", value=False)
@example(name="word", value=["red"])
def test_a_value_is_taken_as_it_is_or_refused_by_name(name: str, value: object) -> None:
    table = {"count": 1, name: value}
    if FITS[name](value):
        made = build(Sample, table, "top")
        assert same(getattr(made, name), value)
        if name == "share":
            assert type(made.share) is float
        untouched = [item.name for item in fields(Sample) if item.name not in table]
        assert all(getattr(made, other) == getattr(Sample(1), other) for other in untouched)
    else:
        with pytest.raises(RecipeError, match=rf"^top\.{name}[.:\[]"):
            build(Sample, table, "top")


def test_the_oracle_knows_every_field() -> None:
    assert FITS.keys() == {item.name for item in fields(Sample)}


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({}, "count: missing; it has no default"),
        ({"count": 1, "shares": 2}, "shares: unknown field; did you mean 'share'?"),
        ({"count": 1, "zzz": 2}, "zzz: unknown field; known are count, share, name, flag, word,"),
        ({"count": "three"}, "count: expected a whole number, found 'three'"),
        ({"count": True}, "count: expected a whole number, found True"),
        ({"count": 1.5}, "count: expected a whole number, found 1.5"),
        ({"count": None}, "count: expected a whole number, found None"),
        ({"count": 1, "share": "half"}, "share: expected a number, found 'half'"),
        ({"count": 1, "share": 10**400}, "share: larger than any number can be here"),
        ({"count": 1, "name": 3}, "name: expected text, found 3"),
        ({"count": 1, "flag": 1}, "flag: expected true or false, found 1"),
        ({"count": 1, "word": "green"}, "word: 'green' is not one of 'red', 'blue'"),
        ({"count": 1, "maybe": 4}, "maybe: expected text, found 4"),
        ({"count": 1, "numbers": 4}, "numbers: expected an array, found 4"),
        ({"count": 1, "numbers": [1, "b"]}, "numbers[1]: expected a whole number, found 'b'"),
        ({"count": 1, "pairs": [[1], [2, None]]}, "pairs[1][1]: expected a number, found None"),
        ({"count": 1, "rates": [1]}, "rates: expected a table, found [1]"),
        ({"count": 1, "rates": {"a": "x"}}, "rates.a: expected a number, found 'x'"),
        ({"count": 1, "inner": 7}, "inner: expected a table, found 7"),
        ({"count": 1, "inner": {"wdth": 7}}, "inner.wdth: unknown field; did you mean 'width'?"),
        ({"count": 1, "inner": {"width": 0}}, "inner: width is 0, expected 1 or more"),
        ({"count": 1, "inners": {"b": {"width": -1}}}, "inners.b: width is -1, expected 1 or more"),
    ],
)
def test_messages_name_place_fault_and_what_would_do(table: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=f"^{re.escape(message)}"):
        build(Sample, table, "")


def test_faults_of_the_whole_table_are_the_recipes() -> None:
    with pytest.raises(RecipeError, match=r"^the recipe: width is 0, expected 1 or more$"):
        build(Inner, {"width": 0}, "")
    with pytest.raises(RecipeError, match=r"^the recipe: expected a table, found \[1\]$"):
        build(Inner, [1], "")
    with pytest.raises(RecipeError, match=r"^3: unknown field; known are width$"):
        build(Inner, {3: 0}, "")
