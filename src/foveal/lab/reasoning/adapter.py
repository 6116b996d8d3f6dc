"""LoRA's updates as ``peft`` saves them: which model they are for, and putting them on it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from foveal.errors import IncompleteBackboneError, MissingExtraError
from foveal.lab.backbones.json_file import read_json

_CONFIG, _WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


@dataclass(frozen=True)
class Adapter:
    """Updates in a folder.

    Attributes:
        folder: where they lie.
        base: folder or Hub name of the model that they change.
        revision: its commit on the Hub.
    """

    folder: Path
    base: str
    revision: str | None

    def put_on(self, model: Any) -> Any:
        """Wrap the base model, whose own weights stay as they are.

        Raises:
            MissingExtraError: peft is not installed.
            ValueError: the updates do not fit the model.
        """
        try:
            from peft import PeftModel
        except ImportError as error:
            raise MissingExtraError("peft", "lab") from error
        return PeftModel.from_pretrained(model, str(self.folder), local_files_only=True)


def find_adapter(folder: Path) -> Adapter | None:
    """Look for updates in a folder: None if it is none, or holds a whole model.

    Raises:
        IncompleteBackboneError: there are settings of an adapter, but no weights or no base model.
    """
    if not (folder / _CONFIG).is_file():
        return None
    settings = read_json(folder / _CONFIG, "it says which model the updates are for")
    base = settings.get("base_model_name_or_path")
    if not isinstance(base, str) or not base:
        raise IncompleteBackboneError(f"{folder / _CONFIG}: base_model_name_or_path names no model")
    if not (folder / _WEIGHTS).is_file():
        raise IncompleteBackboneError(f"{folder}: no {_WEIGHTS}; pickles are never read")
    return Adapter(folder, base, settings.get("revision"))
