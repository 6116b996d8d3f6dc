"""From the tables of a TOML file to dataclasses: every field checked, every error named by its place."""

from __future__ import annotations

import difflib
import types
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from foveal.errors import FovealError

_T = TypeVar("_T")
_NAMES = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}


class RecipeError(FovealError):
    """A recipe cannot be followed; the message names the field and what it should hold."""


def build(kind: type[_T], values: object, where: str) -> _T:
    """Make a dataclass from a table.

    Types are those of the fields: whole numbers, numbers, text, truth values, one of several words, tuples
    (arrays), mappings from text (tables), and other dataclasses (tables). A whole number is taken for a
    number, nothing else is converted.

    Args:
        kind: the dataclass.
        values: the table.
        where: its name in the file, for messages; empty for the file itself.

    Raises:
        RecipeError: a field is unknown, missing, of another type, or refused by the dataclass.
    """
    if not isinstance(values, Mapping):
        raise RecipeError(f"{where or 'the recipe'}: expected a table, found {values!r}")
    known = {item.name: item for item in fields(kind)}  # type: ignore[arg-type]
    hints = get_type_hints(kind)
    for name in values:
        if name not in known:
            raise RecipeError(_unknown(_join(where, str(name)), str(name), list(known)))
    missing = [name for name, item in known.items() if name not in values and _is_required(item)]
    if missing:
        raise RecipeError(f"{_join(where, missing[0])}: missing; it has no default")
    made = {name: _convert(hints[name], value, _join(where, name)) for name, value in values.items()}
    try:
        return kind(**made)
    except ValueError as error:
        raise RecipeError(f"{where or 'the recipe'}: {error}") from error


def _is_required(item: Field[Any]) -> bool:
    return item.default is MISSING and item.default_factory is MISSING


def _convert(hint: Any, value: object, where: str) -> Any:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):  # an optional field; TOML has no null, JSON has
        if value is None:
            return None
        hint = next(argument for argument in arguments if argument is not type(None))
        origin, arguments = get_origin(hint), get_args(hint)
    if is_dataclass(hint) and isinstance(hint, type):
        return build(hint, value, where)
    if origin is Literal:
        return _one_of(arguments, value, where)
    if origin is tuple:
        return _array(arguments[0], value, where)
    if origin is not None and issubclass(origin, Mapping):
        return _table(arguments[1], value, where)
    return value if hint is Any else _scalar(hint, value, where)


def _scalar(kind: type, value: object, where: str) -> Any:
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            raise RecipeError(f"{where}: larger than any number can be here") from None
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise RecipeError(f"{where}: expected {_NAMES.get(kind, kind.__name__)}, found {value!r}")
    return value


def _one_of(known: tuple[object, ...], value: object, where: str) -> object:
    if value not in known:
        raise RecipeError(f"{where}: {value!r} is not one of {', '.join(map(repr, known))}")
    return value


def _array(kind: Any, value: object, where: str) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise RecipeError(f"{where}: expected an array, found {value!r}")
    return tuple(_convert(kind, item, f"{where}[{index}]") for index, item in enumerate(value))


def _table(kind: Any, value: object, where: str) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise RecipeError(f"{where}: expected a table, found {value!r}")
    return {str(key): _convert(kind, item, _join(where, str(key))) for key, item in value.items()}


def _join(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name


def _unknown(place: str, name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, 1)
    hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
    return f"{place}: unknown field; {hint}"
