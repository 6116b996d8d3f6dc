"""What the parts of a run were made of: a run is gone on with by the same recipe only."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from foveal.lab.reasoning.recipe import ReasoningRecipe
from foveal.strict import RecipeError

BEGINNING, GENERATED = "beginning", "generated"
DESCRIBE_PART, JUDGE_PART, ONE_STAGE_PART = "describe", "judge", "one-stage"
"""Parts: what all models begin with, and stage 1's descriptions; and folders of models."""
_FILE = "made-of.json"
_FOR_JUDGE = ("levels", "width", "rule")
_FOR_ONE_STAGE = ("levels", "rule", "one_stage_rule", "one_stage_width", "one_stage_direct")


def made_of(recipe: ReasoningRecipe) -> dict[str, dict[str, Any]]:
    """The settings that each part depends on. Not among them are places on disk, which may change."""
    whole = {
        name: asdict(value) if hasattr(value, "__dataclass_fields__") else value
        for name, value in vars(recipe).items()
        if name != "folder"
    }
    for name in ("path", "images"):
        del whole["ratings"][name]
    for name, key in (("small", "trunk"), ("large", "name"), ("descriptions", "impressions")):
        if whole[name] is not None and whole[name][key] is not None:
            whole[name][key] = Path(whole[name][key]).name
    if whole["split"]["file"] is not None:
        whole["split"]["file"] = Path(whole["split"]["file"]).name
    begun = {name: whole[name] for name in ("ratings", "split", "small", "large", "descriptions", "seed")}
    describe = begun | {"describe": whole["describe"]}
    generated = describe | {"samples": whole["samples"]}
    verdict = whole["verdict"]
    return {
        BEGINNING: begun,
        DESCRIBE_PART: describe,
        GENERATED: generated,
        JUDGE_PART: generated
        | {name: whole[name] for name in ("judge", "mixture")}
        | {"verdict": {name: verdict[name] for name in _FOR_JUDGE}},
        ONE_STAGE_PART: begun
        | {"one_stage": whole["one_stage"], "verdict": {name: verdict[name] for name in _FOR_ONE_STAGE}},
    }


class Stamps:
    """Notes in a run's folder of what its parts were made of.

    Args:
        folder: of the run.
        recipe: that is followed now.
    """

    def __init__(self, folder: Path, recipe: ReasoningRecipe) -> None:
        self._folder = folder
        # As JSON gives it back: tuples are lists there.
        self._wanted: dict[str, Any] = json.loads(json.dumps(made_of(recipe)))

    def check(self, part: str) -> None:
        """See that a part that is there was made of what the recipe says.

        Raises:
            RecipeError: it was not, or nobody knows.
        """
        kept = self._kept().get(part)
        remedy = f"give another folder, or remove {part} and what was made of it"
        if kept is None:
            raise RecipeError(f"{self._folder}: it does not say what {part} was made of; {remedy}")
        changed = sorted(_differences(kept, self._wanted[part]))
        if changed:
            raise RecipeError(
                f"{self._folder}: {part} was made with other settings ({', '.join(changed[:4])}); {remedy}"
            )

    def keep(self, part: str) -> None:
        """Note what a part is made of; before it is there under its name."""
        values = self._kept() | {part: self._wanted[part]}
        new = self._folder / f"{_FILE}.part"
        new.write_text(json.dumps(values, indent=1), encoding="utf-8")
        new.replace(self._folder / _FILE)

    def begin(self) -> None:
        """Begin a run, or see that one that was begun had the same recipe up to the first model.

        Raises:
            RecipeError: it had not.
        """
        if BEGINNING in self._kept():
            self.check(BEGINNING)
        else:
            self.keep(BEGINNING)

    def _kept(self) -> dict[str, Any]:
        file = self._folder / _FILE
        if not file.exists():
            return {}
        values: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        return values


def _differences(one: Any, other: Any, name: str = "") -> Iterator[str]:
    """Dotted names of what differs."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        for key in one.keys() | other.keys():
            yield from _differences(one.get(key), other.get(key), f"{name}.{key}" if name else str(key))
    elif one != other:
        yield name
