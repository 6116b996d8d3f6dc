"""Load the image or the text encoder of a pretrained model from safe files."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from foveal.errors import (
    IncompleteBackboneError,
    MissingExtraError,
    MissingPartError,
    UnsupportedArchitectureError,
)
from foveal.lab.backbones.base import find_blocks, find_tower
from foveal.lab.backbones.card import BackboneCard
from foveal.lab.backbones.families import TEXT_FAMILIES, TEXT_TOWER, VISION_FAMILIES, VISION_TOWER
from foveal.lab.backbones.preprocessing import Preprocessing, read_preprocessing
from foveal.lab.backbones.source import Source, locate, weight_files
from foveal.lab.backbones.text import TextBackbone
from foveal.lab.backbones.vision import VisionBackbone, read_native_size

# Parts that a folder may lack: they are taken out, for transformers would leave them random. Mask tokens are
# for pretraining only and never read.
_OPTIONAL_PARTS = ("pooler", "visual_projection", "text_projection")
_UNUSED = ("mask_token",)

_VOCABULARIES = ("tokenizer.json", "vocab.json", "spiece.model")


def load_backbone(name_or_folder: str | os.PathLike[str], *, revision: str | None = None) -> VisionBackbone:
    """Load a frozen vision transformer: ViT, DeiT, DINO, DINOv2, DINOv3, CLIP, SigLIP or SigLIP 2.

    Args:
        name_or_folder: a folder in the layout of ``transformers`` (config.json, model.safetensors,
            preprocessor_config.json), read offline; or a name of
            :data:`~foveal.lab.backbones.known.KNOWN` or a Hub id (``owner/model``), fetched into the Hub's
            cache.
        revision: commit on the Hub; by default the one that the table pins. The card records what was loaded.

    Returns:
        The image encoder in float32 on the CPU, all parameters frozen.

    Raises:
        MissingExtraError: transformers is not installed.
        UnknownBackboneError: no such folder or name, or the Hub does not give it.
        UnsafeWeightsError: there are only pickled weights.
        IncompleteBackboneError: a file or a weight is missing or malformed.
        UnsupportedArchitectureError: another kind of model.
        MissingPartError: the folder holds a text encoder only.
    """
    source = locate(name_or_folder, revision)
    config = source.read_config()
    kind = _model_type(source, config, VISION_FAMILIES, TEXT_FAMILIES, "image")
    family = VISION_FAMILIES[kind]
    model = _load_model(source, family.model_class, config)
    core: Any = find_tower(model, VISION_TOWER)
    preprocessing = read_preprocessing(source.folder, read_native_size(core.config))
    card = _make_card(source, kind, model, core, preprocessing)
    return VisionBackbone(model, family, preprocessing, card)


def load_text_backbone(
    name_or_folder: str | os.PathLike[str], *, revision: str | None = None
) -> TextBackbone:
    """Load the frozen text encoder of CLIP, SigLIP or SigLIP 2, with its tokenizer.

    Args:
        name_or_folder: as for :func:`load_backbone`; the folder of the whole model or of its text encoder.
        revision: as for :func:`load_backbone`.

    Returns:
        The text encoder in float32 on the CPU, all parameters frozen.

    Raises:
        MissingPartError: the folder holds no text encoder.
        FovealError: the others of :func:`load_backbone`.
    """
    source = locate(name_or_folder, revision)
    config = source.read_config()
    kind = _model_type(source, config, TEXT_FAMILIES, VISION_FAMILIES, "text")
    family = TEXT_FAMILIES[kind]
    tokenizer = _load_tokenizer(source)
    model = _load_model(source, family.model_class, config)
    card = _make_card(source, kind, model, find_tower(model, TEXT_TOWER), None)
    return TextBackbone(
        model,
        family,
        tokenizer,
        card,
        logit_scale=_read_scalar(source, "logit_scale"),
        logit_bias=_read_scalar(source, "logit_bias"),
    )


def _model_type(
    source: Source, config: dict[str, Any], families: dict[str, Any], others: dict[str, Any], part: str
) -> str:
    kind = str(config.get("model_type"))
    if kind in families:
        return kind
    if kind in others:
        raise MissingPartError(f"{source.name}: a {kind} has no {part} encoder")
    raise UnsupportedArchitectureError(
        f"{source.name}: config.json says model_type {kind!r}; known are {', '.join(families)}"
    )


def _load_model(source: Source, class_name: str, config: dict[str, Any]) -> nn.Module:
    model_class = getattr(_import_transformers(), class_name)
    with _quiet(), _as_incomplete(source, "its weights do not fit its configuration"):
        # A folder of both towers nests the configuration of each, and the width of the shared space beside.
        part = model_class.config_class.from_pretrained(source.folder, local_files_only=True)
        if hasattr(part, "projection_dim") and "projection_dim" in config:
            part.projection_dim = config["projection_dim"]
        model, report = model_class.from_pretrained(
            source.folder,
            config=part,
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
            dtype=torch.float32,
            # Named here, lest a configuration ask for an attention kernel from the Hub.
            attn_implementation="sdpa",
            output_loading_info=True,
        )
    _remove_missing(source, model, set(report["missing_keys"]))
    loaded: nn.Module = model
    return loaded


def _remove_missing(source: Source, model: nn.Module, missing: set[str]) -> None:
    """Take out optional parts whose weights are not in the files; any other gap is an error."""
    needed = set()
    for key in missing:
        parents = key.split(".")
        if optional := next((part for part in parents if part in _OPTIONAL_PARTS), None):
            owner = model.get_submodule(".".join(parents[: parents.index(optional)]))
            setattr(owner, optional, None)
        elif not any(part in _UNUSED for part in parents):
            needed.add(key)
    if needed:
        raise IncompleteBackboneError(
            f"{source.name}: {len(needed)} weights of a {type(model).__name__} are not in its files, such as "
            f"{min(needed)}; get the folder again from where it comes"
        )


def _load_tokenizer(source: Source) -> Any:
    transformers = _import_transformers()
    if not any((source.folder / name).is_file() for name in _VOCABULARIES):
        # Transformers would make up an empty tokenizer, which takes every word for the same unknown one.
        raise IncompleteBackboneError(
            f"{source.name}: no tokenizer in {source.folder}: none of {', '.join(_VOCABULARIES)}"
        )
    with _quiet(), _as_incomplete(source, "its tokenizer may need the package sentencepiece"):
        return transformers.AutoTokenizer.from_pretrained(
            source.folder, local_files_only=True, trust_remote_code=False
        )


def _read_scalar(source: Source, name: str) -> float | None:
    """Read one number from the weights, if it is there."""
    from safetensors import safe_open

    for path in weight_files(source.folder):
        with safe_open(path, framework="pt") as file:
            if name in set(file.keys()):
                return float(file.get_tensor(name))
    return None


def _make_card(
    source: Source, family: str, model: nn.Module, core: Any, preprocessing: Preprocessing | None
) -> BackboneCard:
    return BackboneCard(
        name=source.name,
        part="text" if preprocessing is None else "vision",
        family=family,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        width=int(core.config.hidden_size),
        depth=len(find_blocks(core)),
        licence=source.licence,
        origin=source.origin,
        paper=source.paper,
        revision=source.revision,
        preprocessing=preprocessing,
    )


def _import_transformers() -> Any:
    try:
        import transformers
    except ImportError as error:
        raise MissingExtraError("A pretrained backbone", "lab") from error
    return transformers


@contextmanager
def _as_incomplete(source: Source, advice: str) -> Iterator[None]:
    """Give an error of transformers our own type and the name of the source.

    Malformed files surface as errors of any kind there; the tokenizers library raises a plain ``Exception``.
    """
    try:
        yield
    except Exception as error:
        reason = str(error).strip().partition("\n")[0]
        raise IncompleteBackboneError(f"{source.name}: cannot be loaded ({reason}); {advice}") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep transformers from reporting what is left out on purpose: classifiers, the other tower."""
    logging = _import_transformers().utils.logging
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
