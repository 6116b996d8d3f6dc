"""Reading and writing explainers: one safetensors file with eyes, two language models, card and checksum.

Layout, version 1. Tensors: ``eyes`` (uint8: a serialized ONNX ModelProto without its initializers),
``eyes/<initializer>``, ``describer/<weight>`` and ``judge/<weight>`` (named as in
:mod:`foveal.explanation.decoder`; float32 ones may be kept as float16), and ``settings`` (uint8: JSON, see
:class:`Settings`). Metadata: ``format``, ``format_version``, ``card`` (JSON), ``coding`` (JSON: ``load_as``,
what float16 tensors are widened to) and ``sha256`` over all of it. Nothing is ever unpickled.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import safetensors
import safetensors.numpy

from foveal.artifact.container import checksum, pack, read_file, replace_file
from foveal.artifact.onnx_wire import Array, attach_initializers, detach_initializers
from foveal.assessment import HIGHEST, LOWEST
from foveal.errors import ArtifactError, CorruptArtifactError, ForeignArtifactError
from foveal.explanation.card import ExplainerCard
from foveal.explanation.decoder import EMBEDDING, DecoderShape, Floats, check_weights
from foveal.explanation.tokens import Vocabulary

NAME = "foveal-explain"
"""The explainer that is meant when none is named."""
SUFFIX = ".foveal-explainer.safetensors"
"""Ends the name of an explainer's file."""
FORMAT = "foveal-explainer"
FORMAT_VERSION = 1

PARTS = ("eyes", "describer", "judge")
_SETTINGS = "settings"
_MALFORMED = (ValueError, LookupError, TypeError, AttributeError, RecursionError)
"""What reading malformed JSON, and taking from it what is not there, may raise."""
_LEAST_LARGE = 256
"""Weights of fewer numbers stay float32: nothing is won by rounding them."""


@dataclass(frozen=True)
class Conversation:
    """How the language models are asked: texts around what differs.

    Attributes:
        before_image: what the describer reads before the image's tokens.
        behind_image: what it reads behind them; its description follows.
        before_text: what the judge reads before a description.
        behind_text: what it reads behind it; the word of verdict follows.
        end: token that ends a description.
        image: mark of an image in texts, which never gets into a description.
        statement: what a verdict begins with; a description ends before it.
        most_tokens: longest description.
    """

    before_image: str
    behind_image: str
    before_text: str
    behind_text: str
    end: str
    image: str
    statement: str
    most_tokens: int = 200

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if not isinstance(value, int if name == "most_tokens" else str):
                raise ValueError(f"{name} of the conversation is {value!r}")
        if self.most_tokens < 1:
            raise ValueError(f"descriptions have {self.most_tokens} tokens at most, expected 1 or more")


@dataclass(frozen=True)
class Settings:
    """All of an explainer that is not a tensor.

    Attributes:
        vocabulary: tokens of both language models.
        conversation: how they are asked.
        levels: words of the verdict, from best to worst, and what they are worth on 1-5.
        describer: shape of the language model that describes.
        judge: shape of the one that judges.
    """

    vocabulary: Vocabulary
    conversation: Conversation
    levels: Mapping[str, float]
    describer: DecoderShape
    judge: DecoderShape

    def __post_init__(self) -> None:
        worth = list(self.levels.values())
        falling = sorted(set(worth), reverse=True) == worth
        if len(worth) < 2 or not falling or not LOWEST <= worth[-1] <= worth[0] <= HIGHEST:
            scale = f"{LOWEST:g} to {HIGHEST:g}"
            raise ValueError(f"levels {dict(self.levels)} are not two or more, falling, on {scale}")
        self.vocabulary.number(self.conversation.end)
        if self.conversation.image not in self.vocabulary.special:
            raise ValueError(f"{self.conversation.image!r}, the mark of an image, is no special token")

    def to_json(self) -> str:
        """As JSON text, keys sorted; levels keep their order as a list of pairs."""
        values = asdict(self) | {"levels": list(self.levels.items())}
        return json.dumps(values, sort_keys=True, ensure_ascii=False, allow_nan=False)

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Read settings.

        Raises:
            ValueError: something is missing, unknown or not what it must be.
            KeyError: likewise.
            TypeError: likewise.
        """
        values: dict[str, Any] = json.loads(text)
        words = values["vocabulary"]
        merges = tuple((str(first), str(second)) for first, second in words["merges"])
        return cls(
            vocabulary=Vocabulary(tuple(words["tokens"]), merges, tuple(words["special"])),
            conversation=Conversation(**values["conversation"]),
            levels={str(word): float(worth) for word, worth in values["levels"]},
            describer=DecoderShape(**values["describer"]),
            judge=DecoderShape(**values["judge"]),
        )


@dataclass(frozen=True, eq=False)
class ExplainerModel:
    """An explainer as data. Parts that do not fit together raise ValueError.

    Attributes:
        card: what it is.
        eyes: serialized ONNX ModelProto: uint8 views ``whole`` and ``fragments``, (images, 224, 224, 3) each,
            to float32 ``tokens`` (images, places, width of the describer) and ``map``, local quality on 1-5
            (images, rows, columns).
        describer: weights of the language model that reads the image's tokens and describes it.
        judge: weights of the one that reads descriptions alone.
        settings: the rest.
    """

    card: ExplainerCard
    eyes: bytes
    describer: Mapping[str, Floats]
    judge: Mapping[str, Floats]
    settings: Settings

    def __post_init__(self) -> None:
        for name in ("describer", "judge"):
            weights: Mapping[str, Floats] = getattr(self, name)
            try:
                check_weights(weights, getattr(self.settings, name))
                rows, tokens = len(weights[EMBEDDING]), len(self.settings.vocabulary.tokens)
                if rows != tokens:
                    raise ValueError(f"{rows} embeddings for {tokens} tokens")
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from error


def write_explainer_file(
    path: str | os.PathLike[str], model: ExplainerModel, *, store_float16: bool = True
) -> None:
    """Write an explainer; the file appears whole or not at all, and equal explainers give equal bytes.

    Args:
        path: where to; an existing file is replaced.
        model: what to write.
        store_float16: keep large float32 weights as float16; they are widened again on reading.

    Raises:
        ArtifactError: the eyes are no ONNX model, or the file cannot be written.
    """
    path = Path(path)
    try:
        graph, initializers = detach_initializers(model.eyes)
    except ValueError as error:
        raise ArtifactError(f"{path}: cannot be written: its eyes: {error}") from error
    tensors: dict[str, Array] = {"eyes": _bytes(graph), _SETTINGS: _bytes(model.settings.to_json().encode())}
    load_as: dict[str, str] = {}
    for part, weights in zip(PARTS, (initializers, model.describer, model.judge), strict=True):
        for name, value in weights.items():
            key, kept = f"{part}/{name}", np.asarray(value, value.dtype.newbyteorder("<"))
            if store_float16 and _fits_half(kept):
                kept, load_as[key] = kept.astype(np.float16), "float32"
            tensors[key] = kept
    metadata = {
        "format": FORMAT,
        "format_version": str(FORMAT_VERSION),
        "card": model.card.to_json(),
        "coding": json.dumps({"load_as": load_as}, sort_keys=True),
    }
    metadata["sha256"] = checksum(metadata, tensors)
    try:
        replace_file(path, pack(metadata, tensors))
    except OSError as error:
        raise ArtifactError(f"{path}: cannot be written: {error.strerror or error}") from error


def read_explainer_file(path: str | os.PathLike[str]) -> ExplainerModel:
    """Read an explainer and verify all of it.

    Raises:
        UnknownModelError: there is no such file.
        ForeignArtifactError: not an explainer, or written by a newer version of Foveal.
        CorruptArtifactError: an explainer, but cut, altered or inconsistent.
        ArtifactError: it cannot be read, or is too large.
    """
    path = Path(path)
    content = read_file(path)
    metadata = _metadata(path, content)
    try:
        version = int(metadata["format_version"])
        if version > FORMAT_VERSION:
            why = f"format version {version}, this one reads {FORMAT_VERSION}"
            raise ForeignArtifactError(
                f"{path}: written by a newer Foveal ({why}); pip install --upgrade foveal"
            )
        tensors: dict[str, Array] = safetensors.numpy.load(content)
        if checksum(metadata, tensors) != metadata["sha256"]:
            raise ValueError("its checksum does not match")
        return _model(metadata, tensors)
    except (*_MALFORMED, safetensors.SafetensorError) as error:
        raise CorruptArtifactError(f"{path}: the explainer is damaged ({error}); fetch it again") from error


def _model(metadata: Mapping[str, str], tensors: Mapping[str, Array]) -> ExplainerModel:
    load_as = json.loads(metadata["coding"])["load_as"]
    if not set(load_as.values()) <= {"float32"}:
        raise ValueError("weights are to be loaded as an unknown type")
    parts: dict[str, dict[str, Array]] = {part: {} for part in PARTS}
    for key, value in tensors.items():
        part, slash, name = key.partition("/")
        if slash:
            parts[part][name] = value.astype(load_as.get(key, value.dtype), copy=False)
    decoders: Any = parts
    return ExplainerModel(
        card=ExplainerCard.from_json(metadata["card"]),
        eyes=attach_initializers(tensors["eyes"].tobytes(), parts["eyes"]),
        describer=decoders["describer"],
        judge=decoders["judge"],
        settings=Settings.from_json(tensors[_SETTINGS].tobytes()),
    )


def _metadata(path: Path, content: bytes) -> dict[str, str]:
    """Metadata of the header; our mark tells a file cut inside it from one of another kind."""
    length = int.from_bytes(content[:8], "little")
    try:
        found = json.loads(content[8 : 8 + length])["__metadata__"]
        if found["format"] == FORMAT:
            return {str(key): str(value) for key, value in found.items()}
    except _MALFORMED as error:
        if FORMAT.encode() in content[:1024]:
            raise CorruptArtifactError(f"{path}: the explainer is cut or damaged; fetch it again") from error
    raise ForeignArtifactError(
        f"{path}: not an explainer; one has a name that ends in {SUFFIX}, and assessors do not explain"
    )


def _bytes(content: bytes) -> Array:
    return np.frombuffer(content, np.uint8)


def _fits_half(value: Array) -> bool:
    if value.dtype != np.float32 or value.size < _LEAST_LARGE:
        return False
    return bool(np.abs(value).max() <= np.finfo(np.float16).max)
