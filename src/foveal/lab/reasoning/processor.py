"""The processor of a vision-language model, read for pictures alone: the same on every machine.

``AutoProcessor`` asks for torchvision wherever a model could also watch videos, and where torchvision is
there it resizes pictures with it, which gives other pixels than Pillow does. No video is ever shown here, and
a score must not depend on what else is installed: pictures are always read with Pillow.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from transformers import PROCESSOR_MAPPING, AutoImageProcessor, AutoProcessor, AutoTokenizer, ProcessorMixin

from foveal.errors import IncompleteBackboneError
from foveal.lab.backbones.json_file import read_json

_NAMING_FILES = ("processor_config.json", "preprocessor_config.json", "tokenizer_config.json")
_VOCABULARIES = ("tokenizer.json", "vocab.json", "spiece.model", "tokenizer.model")
_LOCAL = {"local_files_only": True, "trust_remote_code": False}


class _WithoutVideo(ProcessorMixin):  # type: ignore[misc]
    """Stands between a processor's class and its base, and keeps the reader of videos from both."""

    # SmolVLM's chat template asks for these two of any conversation.
    video_processor = SimpleNamespace(num_frames=None, fps=None)

    def __init__(self, *parts: Any, **named: Any) -> None:
        named.pop("video_processor", None)
        super().__init__(*(part for part in parts if part is not None), **named)

    @classmethod
    def get_attributes(cls) -> list[str]:
        """Names of the parts, as the base class wants them."""
        return [name for name in super().get_attributes() if name != "video_processor"]


def load_processor(folder: Path, config: Any) -> Any:
    """Load tokenizer, image processor and chat template.

    Args:
        folder: in the layout of ``transformers``.
        config: the model's configuration, which says the kind of processor where no file does.

    Returns:
        A processor of the model's own class; calls with videos are refused.

    Raises:
        IncompleteBackboneError: nothing says which processor it is, or it has no tokenizer.
        Exception: whatever ``transformers`` raises about missing or malformed files.
    """
    kind = _find_class(folder, config)
    parts = {"image_processor", "tokenizer", "video_processor"}
    if not any((folder / name).is_file() for name in _VOCABULARIES):
        # Transformers would make up an empty tokenizer for some kinds of model.
        raise IncompleteBackboneError(f"{folder}: no tokenizer: none of {', '.join(_VOCABULARIES)}")
    names = kind.get_attributes()
    if not parts.issuperset(names):  # models that also hear: they are read as transformers reads them
        return AutoProcessor.from_pretrained(folder, **_LOCAL)
    given = {
        "image_processor": AutoImageProcessor.from_pretrained(folder, backend="pil", **_LOCAL),
        "tokenizer": AutoTokenizer.from_pretrained(folder, **_LOCAL),
    }
    settings, _ = kind.get_processor_dict(folder, local_files_only=True)
    blind: Any = kind
    if "video_processor" in names:
        # Of the same name, which is what save_pretrained writes down.
        blind = type(kind.__name__, (kind, _WithoutVideo), {"__module__": __name__})
    return blind.from_args_and_dict([given.get(name) for name in names], settings)


def _find_class(folder: Path, config: Any) -> Any:
    """The class that a file of the folder names, or else that of the kind of model."""
    import transformers

    for file in _NAMING_FILES:
        path = folder / file
        name = (
            read_json(path, "it says how pictures are read").get("processor_class") if path.is_file() else ""
        )
        kind = getattr(transformers, name, None) if name else None
        if isinstance(kind, type) and issubclass(kind, ProcessorMixin):
            return kind
    if type(config) in PROCESSOR_MAPPING:
        return PROCESSOR_MAPPING[type(config)]
    raise IncompleteBackboneError(
        f"{folder}: nothing says which processor its {config.model_type} has; processor_config.json should, "
        "under processor_class"
    )
