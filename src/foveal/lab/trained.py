"""A trained model with all that is known of it: judges images, is saved, loaded and shared on the Hub."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self, TypeVar

import torch
from huggingface_hub import ModelCard, PyTorchModelHubMixin, hf_hub_download
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from foveal.artifact.card import Calibration
from foveal.errors import FovealError
from foveal.lab.backbones import TextBackbone, VisionBackbone, load_backbone, load_text_backbone
from foveal.lab.backbones.base import Backbone
from foveal.lab.backbones.source import remove_damaged
from foveal.lab.backbones.tuning import TuningMode, apply_tuning
from foveal.lab.models.base import Backbones, Judgement, QualityModel
from foveal.lab.models.registry import MODELS
from foveal.lab.training.features import backbone_fingerprint
from foveal.lab.training.recipe import Attention, CardConfig, check_targets
from foveal.strict import RecipeError, build

CONFIG, WEIGHTS = "config.json", "model.safetensors"
SHIPPED = Path(__file__).parent / "weights"
"""Folder of the models that come with Foveal."""
_FORMAT = 1
_Encoder = TypeVar("_Encoder", bound=Backbone)
_COMMIT = re.compile(r"[0-9a-f]{40}")
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


class TrainedModelError(FovealError):
    """A trained model cannot be loaded; the message names the file and what to do."""


@dataclass(frozen=True)
class BackboneReference:
    """The backbone that a model was trained on, which is not stored with it.

    Attributes:
        name: as it was given: a known name, a Hub id, or the name of a folder.
        revision: commit on the Hub, or empty.
        fingerprint: of its weights, so that no other ones are taken for them.
        tuning: what of it was trained; those weights are stored.
        attention: how attention was computed.
    """

    name: str
    fingerprint: str
    revision: str = ""
    tuning: TuningMode = field(default_factory=TuningMode)
    attention: Attention = "sdpa"


@dataclass(frozen=True)
class References:
    """All encoders that a model was trained on; see :class:`foveal.lab.models.base.Backbones`."""

    vision: BackboneReference
    fine: BackboneReference | None = None
    text: BackboneReference | None = None

    def all(self) -> tuple[BackboneReference | None, ...]:
        """Vision, fine and text."""
        return self.vision, self.fine, self.text


@dataclass(frozen=True)
class Record:
    """What is known of a trained model.

    Attributes:
        kind: name of the model in a recipe.
        options: its configuration.
        targets: columns of its judgement.
        backbone: what it stands on.
        calibration: of its interval, by target.
        card: name, version, licence, summary, training data.
        sides: shortest and longest of the longer sides of its training images, in pixels.
        validation: figures of the epoch that was kept.
        fine_backbone: of the second stream, if that has one of its own.
        text_backbone: text encoder, if the model reads texts.
    """

    kind: str
    options: Mapping[str, Any]
    targets: tuple[str, ...]
    backbone: BackboneReference
    calibration: Mapping[str, Calibration]
    card: CardConfig
    sides: tuple[int, ...] = ()
    validation: Mapping[str, float] = field(default_factory=dict)
    fine_backbone: BackboneReference | None = None
    text_backbone: BackboneReference | None = None

    @property
    def references(self) -> References:
        """What it stands on, all together."""
        return References(self.backbone, self.fine_backbone, self.text_backbone)

    def __post_init__(self) -> None:
        check_targets(self.targets)
        if self.calibration.keys() != set(self.targets):
            raise ValueError(
                f"calibration is of {sorted(self.calibration)}, expected of each target: {list(self.targets)}"
            )
        if len(self.sides) not in (0, 2):
            raise ValueError(f"sides are {list(self.sides)}, expected the shortest and the longest")


class TrainedModel(nn.Module, PyTorchModelHubMixin):
    """A network and its record.

    ``save_pretrained``, ``from_pretrained`` and ``push_to_hub`` are those of ``huggingface_hub``. Saved are
    the trained weights and the record; the backbone is found again by its name, or given.

    Args:
        network: judges batches of views.
        record: what is known of it.
    """

    def __init__(self, network: QualityModel, record: Record) -> None:
        super().__init__()
        self.network = network
        self.record = record
        self.eval()

    def forward(self, views: Mapping[str, Tensor]) -> Judgement:
        """Judge a batch: uint8 (batch, side, side, 3) of each view by name."""
        judgement: Judgement = self.network(views)
        return judgement

    def _save_pretrained(self, save_directory: Path) -> None:
        record = {"format": _FORMAT, **asdict(self.record)}
        text = json.dumps(record, indent=2, ensure_ascii=False)
        (save_directory / CONFIG).write_text(text + "\n", encoding="utf-8")
        state = {name: tensor.cpu().contiguous() for name, tensor in self.network.trained_state().items()}
        save_file(state, save_directory / WEIGHTS)

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | os.PathLike[str],
        *,
        backbone: str | os.PathLike[str] | VisionBackbone | None = None,
        fine_backbone: str | os.PathLike[str] | VisionBackbone | None = None,
        text_backbone: str | os.PathLike[str] | TextBackbone | None = None,
        **hub: Any,
    ) -> Self:
        """Load a model.

        Args:
            pretrained_model_name_or_path: folder, or Hub id (``owner/model``): it alone touches the network.
            backbone: loaded (not tuned), folder or name; by default the one that the record names.
            fine_backbone: likewise, of the second stream.
            text_backbone: likewise, of texts.
            hub: for ``hf_hub_download``: revision, token, cache_dir, force_download, local_files_only.

        Raises:
            TrainedModelError: the files are missing, damaged, of a newer version, or the backbone is another.
            BackboneError: the backbone cannot be loaded.
        """
        place = os.fspath(pretrained_model_name_or_path)

        def find(name: str) -> Path:
            return Path(place) / name if Path(place).is_dir() else _fetch(place, name, hub)

        config = find(CONFIG)
        if _COMMIT.fullmatch(config.parent.name):
            # Both files of one commit, whatever is pushed in between.
            hub["revision"] = config.parent.name
        record = read_record(config)
        network = _network(record, _backbones(record.references, backbone, fine_backbone, text_backbone))
        path = find(WEIGHTS)
        state = _read_weights(path)
        try:
            network.load_trained_state(state)
        except ValueError as error:
            raise TrainedModelError(f"{path}: {error}") from error
        return cls(network, record)

    def generate_model_card(self, *_: Any, **__: Any) -> ModelCard:
        """The card as the Hub shows it: what the model is, what its score means, how to use it."""
        return ModelCard(model_card(self.record, self.network.trainable_count()))


def _fetch(place: str, name: str, hub: Mapping[str, Any]) -> Path:
    """Bring a file from the Hub into its cache; a mistyped path must not get there."""
    if not _HUB_ID.fullmatch(place) or Path(place).parent.is_dir():
        raise TrainedModelError(f"{place}: no such folder; give that of a trained model, or a Hub id")
    try:
        path = Path(hf_hub_download(place, name, **hub))
    except Exception as error:  # of the client, of the HTTP library below it, of the system
        raise TrainedModelError(
            f"{place}: no such folder, and {name} cannot be had from the Hub ({error}); check the spelling "
            "and the network"
        ) from error
    if remove_damaged([path.resolve()]):
        raise TrainedModelError(
            f"{place}: {name} came damaged: the SHA-256 is not the one that the Hub states; what came has "
            "been deleted, try again"
        )
    return path


def load_trained(
    name_or_folder: str | os.PathLike[str],
    *,
    backbone: str | os.PathLike[str] | VisionBackbone | None = None,
    fine_backbone: str | os.PathLike[str] | VisionBackbone | None = None,
    text_backbone: str | os.PathLike[str] | TextBackbone | None = None,
) -> TrainedModel:
    """Load a trained model.

    Args:
        name_or_folder: name of a shipped model, such as ``glia-vit-tiny``; the folder of one of your own;
            or a Hub id (``owner/model``), which alone touches the network.
        backbone: what it stands on: loaded (not tuned), folder or name; by default the one that the model
            names.
        fine_backbone: likewise, of the second stream of models with two.
        text_backbone: likewise, of models that read texts.

    Raises:
        TrainedModelError: there is no such model, it is damaged, or a backbone is another.
        BackboneError: the backbone cannot be loaded.
    """
    place = _place(name_or_folder)
    if not Path(place).is_dir() and not _HUB_ID.fullmatch(place):
        raise TrainedModelError(
            f"{place}: neither a shipped model ({', '.join(shipped_names())}) nor a folder nor a Hub id"
        )
    model: TrainedModel = TrainedModel.from_pretrained(
        place, backbone=backbone, fine_backbone=fine_backbone, text_backbone=text_backbone
    )
    return model


def start_from(model: QualityModel, name_or_folder: str | os.PathLike[str], backbones: References) -> None:
    """Put the weights of a trained model into a new one that has all of them, and perhaps more.

    Args:
        model: the new one.
        name_or_folder: of a shipped model, or the folder of one of your own.
        backbones: of the new one.

    Raises:
        TrainedModelError: there is no such model, it stands on another backbone, or has other weights.
    """
    folder = Path(_place(name_or_folder))
    record = read_record(folder / CONFIG)
    for was, now in zip(record.references.all(), backbones.all(), strict=True):
        if was is not None and (now is None or was.fingerprint != now.fingerprint):
            raise TrainedModelError(
                f"{folder}: was trained on {was.name}, not on {now.name if now else 'no such encoder'}: "
                "cannot start from it"
            )
    state = {name: tensor.float() for name, tensor in _read_weights(folder / WEIGHTS).items()}
    try:
        model.load_trained_state({**model.trained_state(), **state})
    except ValueError as error:
        raise TrainedModelError(f"{folder / WEIGHTS}: cannot start from it: {error}") from error


def _place(name_or_folder: str | os.PathLike[str]) -> str:
    """The folder of a shipped model, or what was given."""
    place = os.fspath(name_or_folder)
    return str(SHIPPED / place) if (SHIPPED / place / CONFIG).is_file() else place


def shipped_names() -> list[str]:
    """Names of the models that come with Foveal."""
    return sorted(path.parent.name for path in SHIPPED.glob(f"*/{CONFIG}"))


def store_half(folder: str | os.PathLike[str]) -> None:
    """Rewrite the weights of a saved model in half precision: half the size, for shipping.

    Raises:
        TrainedModelError: the file is missing or damaged, or a weight does not fit.
    """
    path = Path(folder) / WEIGHTS
    state = _read_weights(path)
    for name, tensor in state.items():
        if not torch.isfinite(tensor.half()).all():
            raise TrainedModelError(f"{path}: {name} does not fit into half precision")
    aside = path.with_suffix(".half")
    save_file({name: tensor.half() for name, tensor in state.items()}, aside)
    aside.replace(path)


def _read_weights(path: Path) -> dict[str, Tensor]:
    try:
        state: dict[str, Tensor] = load_file(path)
    except Exception as error:  # safetensors has an error class of its own
        raise TrainedModelError(f"{path}: missing, not a safetensors file, or damaged: {error}") from error
    return state


def read_record(path: Path) -> Record:
    """Read the record of a saved model.

    Raises:
        TrainedModelError: the file is missing, damaged, or of a newer version.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise TrainedModelError(
            f"{path}: there is no such file; give the folder of a trained model"
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise TrainedModelError(f"{path}: cannot be read as JSON: {error}") from error
    if not isinstance(values, dict) or values.pop("format", None) != _FORMAT:
        raise TrainedModelError(f"{path}: not a model of Foveal, or one of a newer version")
    try:
        return build(Record, values, "")
    except RecipeError as error:
        raise TrainedModelError(f"{path}: {error}") from error


def model_card(record: Record, trainable: int) -> str:
    """A model card in Markdown with the front matter that the Hub reads."""
    card = record.card
    figures = ", ".join(f"{name.upper()} {value:.3f}" for name, value in record.validation.items())
    lines = [
        "---",
        f"license: {json.dumps(card.licence.lower(), ensure_ascii=False)}",
        "library_name: foveal",
        "pipeline_tag: image-classification",
        "tags: [image-quality-assessment, iqa]",
        "---",
        f"# {card.name} {card.version}",
        "",
        card.summary or "A trained assessor of image quality.",
        "",
        f"- Output: {', '.join(record.targets)}, on 1 (bad) to 5 (excellent), higher is better.",
        f"- Model: `{record.kind}` on the backbone {_named(record.references)}, which is not included.",
        f"- Trained parameters: {trainable:,}.",
        f"- Trained on: {card.training_data or 'not stated'}.",
        *([f"- Validation part (the epoch was chosen by it): {figures}."] if figures else []),
        "",
        "```python",
        "from foveal.lab import load_trained",
        "",
        f'model = load_trained("{card.name}", backbone="{record.backbone.name}")  # or the folder of either',
        "```",
    ]
    return "\n".join(lines) + "\n"


def _named(backbones: References) -> str:
    return " and ".join(dict.fromkeys(f"`{one.name}`" for one in backbones.all() if one is not None))


def reference(
    name: str, backbone: Backbone, tuning: TuningMode | None = None, attention: Attention = "sdpa"
) -> BackboneReference:
    """Describe a backbone as it was loaded, before anything of it is tuned."""
    return BackboneReference(
        name=Path(name).resolve().name if Path(name).is_dir() else name,
        fingerprint=backbone_fingerprint(backbone),
        revision=backbone.card.revision or "",
        tuning=tuning or TuningMode(),
        attention=attention,
    )


def _backbones(
    wanted: References,
    vision: str | os.PathLike[str] | VisionBackbone | None,
    fine: str | os.PathLike[str] | VisionBackbone | None,
    text: str | os.PathLike[str] | TextBackbone | None,
) -> Backbones:
    return Backbones(
        _backbone(wanted.vision, vision, load_backbone),
        None if wanted.fine is None else _backbone(wanted.fine, fine, load_backbone),
        None if wanted.text is None else _backbone(wanted.text, text, load_text_backbone),
    )


def _backbone(
    wanted: BackboneReference, given: str | os.PathLike[str] | _Encoder | None, load: Callable[..., _Encoder]
) -> _Encoder:
    if given is None or isinstance(given, str | os.PathLike):
        place = wanted.name if given is None else given
        # A folder holds one revision only; the fingerprint tells whether it is the right one.
        given = load(place, revision=None if Path(place).is_dir() else wanted.revision or None)
    if backbone_fingerprint(given) != wanted.fingerprint:
        raise TrainedModelError(
            f"{given.card.name}: its weights are not those that this model was trained on "
            f"({wanted.name}{' at ' + wanted.revision if wanted.revision else ''})"
        )
    given.core.set_attn_implementation(wanted.attention)
    try:
        apply_tuning(given, wanted.tuning)
    except ValueError as error:
        raise TrainedModelError(f"the record of the model: {error}") from error
    return given


def _network(record: Record, backbones: Backbones) -> QualityModel:
    kind = MODELS.get(record.kind)
    if kind is None:
        raise TrainedModelError(f"model {record.kind!r} is not known here; known are {', '.join(MODELS)}")
    try:
        options: Any = build(kind.config, dict(record.options), "options")
        return kind.make(backbones, options, record.targets)
    except (RecipeError, ValueError) as error:
        raise TrainedModelError(f"the record of the model: {error}") from error
