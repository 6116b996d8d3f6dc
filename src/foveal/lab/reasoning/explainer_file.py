"""From tuned describer, judge and place map to the file that explains without torch."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from foveal.errors import ArtifactError
from foveal.explanation.card import ExplainerCard
from foveal.explanation.decoder import BLOCK_WEIGHTS, EMBEDDING, NORM, Decoder, DecoderShape
from foveal.explanation.describer import Describer
from foveal.explanation.eyes import OUTPUTS, VIEWS, Eyes
from foveal.explanation.file import (
    Conversation,
    ExplainerModel,
    Settings,
    read_explainer_file,
    write_explainer_file,
)
from foveal.explanation.judge import Judge
from foveal.explanation.tokens import WORDS, Vocabulary
from foveal.imaging.views import GRID, Pixels
from foveal.lab.export import example_views, to_onnx, without_notes
from foveal.lab.reasoning.levels import Q_ALIGN, LevelSet
from foveal.lab.reasoning.place_map import PlaceMap
from foveal.lab.reasoning.question import Question
from foveal.lab.reasoning.reasoner import DESCRIBE, TwoStage, judge_question
from foveal.lab.reasoning.vision_language import VisionLanguageModel

VisionLanguage = VisionLanguageModel | str | os.PathLike[str]
"""A model, or the folder of one."""

_GAP = "\x00"
"""Stands for a description in a conversation that is cut there."""


class ExplainerError(ArtifactError):
    """Models cannot be written as an explainer, or the file does not say what they say."""


@dataclass(frozen=True)
class Agreement:
    """How far explanations are from those of the models, on the same images.

    Attributes:
        images: how many were compared.
        probability: largest difference of a level's probability before weights are rounded: what doing the
            same arithmetic in another library changes. Descriptions were the same.
        stored_same: share of images that the file, whose weights may be rounded, describes in the same words.
        stored_probability: largest difference of a probability between file and models, on the same text.
    """

    images: int
    probability: float
    stored_same: float
    stored_probability: float


def write_explainer(
    describer: VisionLanguage,
    judge: VisionLanguage,
    place_map: PlaceMap,
    path: str | os.PathLike[str],
    *,
    card: ExplainerCard,
    images: Sequence[Pixels],
    levels: LevelSet = Q_ALIGN,
    most_tokens: int = 200,
    store_float16: bool = True,
    tolerance: float = 1e-3,
) -> Agreement:
    """Write the file, and make sure that it explains as its models do.

    Args:
        describer: stage 1: a model of :func:`~foveal.lab.reasoning.small.build.build_small`.
        judge: stage 2: likewise, with the same tokens.
        place_map: gives local quality from the describer's tower.
        path: where to; an existing file is replaced.
        card: what it is.
        images: to compare on, uint8 (height, width, 3) each; at least one.
        levels: words of the verdict; in the file each is worth the middle of the scores that it stands for.
        most_tokens: longest description.
        store_float16: keep weights as float16 in the file.
        tolerance: largest difference of a probability that is accepted before weights are rounded.

    Returns:
        How well it agrees.

    Raises:
        ExplainerError: the models cannot be written, or without torch they would say something else. No file
            is written.
        ArtifactError: the file cannot be written.
        BackboneError: a folder holds no such model.
    """
    if not images:
        raise ExplainerError(f"{path}: there is no image to compare explanations on; give one or more")
    seeing, reading = _loaded(describer), _loaded(judge)
    settings = Settings(
        vocabulary=_shared_vocabulary(seeing, reading),
        conversation=conversation(seeing, reading, levels, most_tokens),
        levels=dict(zip(levels.words, levels.middles, strict=True)),
        describer=_shape(seeing),
        judge=_shape(reading),
    )
    model = ExplainerModel(card, eyes_graph(seeing, place_map), _weights(seeing), _weights(reading), settings)
    models = TwoStage(seeing, reading, levels, most_tokens=most_tokens)
    expected = [texts[0] for texts in models.describe(images)]
    asked = [judge_question(text, levels) for text in expected]
    chances = levels.probabilities(reading.next_token(asked), reading.tokenizer)
    told, judged = _explained(model, images, expected)
    for number, (one, other) in enumerate(zip(told, expected, strict=True)):
        if one != other:
            raise ExplainerError(f"{path}: of image {number} it would say {one!r}, its models say {other!r}")
    apart = float(np.abs(judged - chances).max())
    if not apart <= tolerance:  # NaN is not
        raise ExplainerError(
            f"{path}: its probabilities would be up to {apart:.5f} from those of its models, more than "
            f"{tolerance:g}"
        )
    write_explainer_file(path, model, store_float16=store_float16)
    told, judged = _explained(read_explainer_file(path), images, expected)
    same = float(np.mean([one == other for one, other in zip(told, expected, strict=True)]))
    return Agreement(len(images), apart, same, float(np.abs(judged - chances).max()))


class EyesNetwork(nn.Module):
    """Tower, projector and place map as one: views in, tokens of the language model and local quality out."""

    def __init__(self, tower: nn.Module, projector: nn.Module, place_map: PlaceMap) -> None:
        super().__init__()
        self.tower = tower
        self.projector = projector
        self.place_map = place_map

    def forward(self, whole: Tensor, fragments: Tensor) -> tuple[Tensor, Tensor]:
        """uint8 (batch, 224, 224, 3) each -> (batch, 49, width) and (batch, 7, 7)."""
        both = torch.cat([whole, fragments], dim=1).permute(0, 3, 1, 2).float()
        seen = self.tower(both).last_hidden_state
        return self.projector(seen), self.place_map(seen).unflatten(1, (GRID, GRID))


def eyes_graph(model: VisionLanguageModel, place_map: PlaceMap) -> bytes:
    """The eyes as a serialized ONNX model.

    Raises:
        ExplainerError: the place map reads tokens of another length than the tower gives.
    """
    core = model.model
    features = int(core.config.vision_config.hidden_size)
    if place_map.features != features:
        raise ExplainerError(f"the place map reads {place_map.features} features, the tower gives {features}")
    network = EyesNetwork(core.model.vision_tower, model.projector, place_map.eval())
    return without_notes(to_onnx(network, example_views(2), tuple(VIEWS), OUTPUTS))


def conversation(
    describer: VisionLanguageModel, judge: VisionLanguageModel, levels: LevelSet, most_tokens: int
) -> Conversation:
    """What both models read, written by their chat templates and cut where image and description stand."""
    blank = np.zeros((1, 1, 3), np.uint8)
    image = describer.processor.image_token
    before_image, _, behind_image = describer.write(Question(DESCRIBE, blank)).partition(image)
    before_text, _, behind_text = judge.write(judge_question(_GAP, levels)).partition(_GAP)
    return Conversation(
        before_image=before_image,
        behind_image=behind_image,
        before_text=before_text,
        behind_text=behind_text,
        end=describer.tokenizer.eos_token,
        image=image,
        statement=levels.statement,
        most_tokens=most_tokens,
    )


def vocabulary(tokenizer: Any) -> Vocabulary:
    """Tokens of a tokenizer that :func:`~foveal.lab.reasoning.small.tokens.train_tokenizer` made.

    Raises:
        ExplainerError: it is of another kind, which the ground floor cannot read.
    """
    told = json.loads(tokenizer.backend_tokenizer.to_str())
    splits = (told.get("pre_tokenizer") or {}).get("pretokenizers") or [{}]
    if told["model"].get("type") != "BPE" or splits[0].get("pattern") != {"Regex": WORDS}:
        raise ExplainerError("the tokenizer is not one of train_tokenizer; only these can be written")
    special = tuple(token["content"] for token in told["added_tokens"])
    numbers = told["model"]["vocab"] | {token["content"]: token["id"] for token in told["added_tokens"]}
    merges = tuple((str(first), str(second)) for first, second in told["model"]["merges"])
    try:
        return Vocabulary(tuple(sorted(numbers, key=numbers.__getitem__)), merges, special)
    except ValueError as error:
        raise ExplainerError(f"the tokenizer cannot be written: {error}") from error


def _explained(
    model: ExplainerModel, images: Sequence[Pixels], descriptions: Sequence[str]
) -> tuple[list[str], NDArray[np.float64]]:
    """Descriptions of images, and level probabilities of given descriptions, without torch."""
    settings = model.settings
    eyes = Eyes(model.eyes, model.card.model, callers=1)
    describing = Decoder(model.describer, settings.describer)
    describer = Describer(describing, settings.vocabulary, settings.conversation)
    told = [describer.describe(eyes.look(image)[0]).text for image in images]
    return told, Judge(Decoder(model.judge, settings.judge), settings).judge(descriptions)


def _loaded(model: VisionLanguage) -> VisionLanguageModel:
    """The model, LoRA merged into its weights."""
    loaded = model if isinstance(model, VisionLanguageModel) else VisionLanguageModel.load(model)
    if hasattr(loaded.model, "merge_and_unload"):
        merged = copy.deepcopy(loaded.model).merge_and_unload()
        loaded = VisionLanguageModel(merged, loaded.processor, name=loaded.name)
    config = loaded.model.config
    if config.model_type != "llava" or config.text_config.model_type != "llama":
        raise ExplainerError(f"{loaded.name}: is a {config.model_type} model; only small ones can be written")
    return loaded


def _shared_vocabulary(describer: VisionLanguageModel, judge: VisionLanguageModel) -> Vocabulary:
    first, second = vocabulary(describer.tokenizer), vocabulary(judge.tokenizer)
    if first != second:
        raise ExplainerError(
            f"{describer.name} and {judge.name} have different tokens; tune both from one model"
        )
    return first


def _shape(model: VisionLanguageModel) -> DecoderShape:
    config = model.model.config.text_config
    if config.num_key_value_heads != config.num_attention_heads or config.hidden_act != "silu":
        raise ExplainerError(f"{model.name}: heads that share keys, and other gates, cannot be written")
    theta = float(config.rope_parameters["rope_theta"])
    return DecoderShape(config.num_hidden_layers, config.num_attention_heads, theta, config.rms_norm_eps)


def decoder_weights(language: Any) -> dict[str, NDArray[np.float32]]:
    """Weights of a Llama model of ``transformers`` without its output layer, as the ground floor reads them.

    Args:
        language: a ``LlamaModel``.
    """

    def joined(*parts: Any) -> NDArray[np.float32]:
        rows = torch.cat([part.weight for part in parts])
        return np.ascontiguousarray(rows.T.detach().float().cpu().numpy())

    def plain(part: Any) -> NDArray[np.float32]:
        return np.asarray(part.weight.detach().float().cpu().numpy().copy(), np.float32)

    weights = {EMBEDDING: plain(language.embed_tokens), NORM: plain(language.norm)}
    for number, layer in enumerate(language.layers):
        attention, inner = layer.self_attn, layer.mlp
        values = (
            plain(layer.input_layernorm),
            joined(attention.q_proj, attention.k_proj, attention.v_proj),
            joined(attention.o_proj),
            plain(layer.post_attention_layernorm),
            joined(inner.gate_proj, inner.up_proj),
            joined(inner.down_proj),
        )
        weights |= {f"{number}.{name}": value for name, value in zip(BLOCK_WEIGHTS, values, strict=True)}
    return weights


def _weights(model: VisionLanguageModel) -> dict[str, NDArray[np.float32]]:
    core = model.model
    if core.get_output_embeddings().weight is not core.get_input_embeddings().weight:
        raise ExplainerError(
            f"{model.name}: its output layer is not its embedding; only tied ones are written"
        )
    return decoder_weights(core.model.language_model)
