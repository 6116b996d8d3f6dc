"""From an artifact to files that other runtimes read: ONNX, and OpenVINO's IR.

Such a file judges views, not images: whoever runs it must cut the views as Foveal does, which
:func:`foveal.assessor.cut_views` does. So the card goes into the file, and says what to feed.
"""

from __future__ import annotations

import importlib.util
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foveal.artifact.card import PROMPT_IDS, PROMPT_MASK, Card
from foveal.artifact.file import Artifact
from foveal.artifact.onnx_wire import detach_initializers
from foveal.assessor import cut_views
from foveal.errors import ArtifactError, FovealError, OutputError
from foveal.imaging.decode import decode
from foveal.imaging.views import Pixels
from foveal.runtime.engine import Batch
from foveal.runtime.openvino_engine import import_openvino
from foveal.runtime.select import make_engine

CARD_KEY = "foveal_card"
"""Where the card's JSON stands: in an ONNX model's ``metadata_props``, in an IR's ``rt_info``."""
CONTRACT_KEY = "foveal_contract"
"""Where :func:`contract` stands in an IR's ``rt_info``; in an ONNX model it is the ``doc_string``."""

_MODEL_DOC, _MODEL_METADATA, _KEY, _VALUE = 6, 14, 1, 2  # field numbers of onnx.proto3
_LENGTH_DELIMITED = 2
_VIEWS = {
    "whole": "the whole image resized",
    "fragments": "7 x 7 crops of native resolution, spliced; where they lie is told by a hash of the pixels",
    "crop": "the square in the middle, in native resolution",
}
_NAMES = {"openvino": "OpenVINO", "onnxruntime": "ONNX Runtime"}
_SHAPES = ((512, 512), (384, 640), (700, 300), (224, 224), (150, 200), (1080, 1920))
_SMOOTH = 12

Outputs = Mapping[str, NDArray[np.float32]]
Run = Callable[[dict[str, Batch]], Outputs]


class ConversionError(FovealError):
    """A converted file does not score as the artifact does; it was not written."""


@dataclass(frozen=True)
class Difference:
    """How far a converted file's outputs are from those of the artifact.

    Attributes:
        runtime: what executed both, for people: ``OpenVINO`` or ``ONNX Runtime``.
        images: pictures compared.
        quality: largest absolute difference of quality, on the 1-5 scale.
        others: likewise, of all other outputs.
        default: largest absolute difference of quality between this runtime and the engine that Foveal takes
            by default: rounding in int8 differs between runtimes.
    """

    runtime: str
    images: int
    quality: float
    others: float
    default: float


def contract(card: Card) -> str:
    """What a converted file of an assessor takes and gives, and how its views are made; several lines."""
    lines = [f"{card.model}: {card.summary}", "Inputs:"]
    for name, spec in card.views.items():
        draw = f", draw {spec.draw}" if spec.kind == "fragments" else ""
        lines.append(f"  {name}: uint8 (images, {spec.side}, {spec.side}, 3), RGB: {_VIEWS[spec.kind]}{draw}")
    if card.prompt is not None:
        for name, what in ((PROMPT_IDS, "tokens of the prompt"), (PROMPT_MASK, "1 for tokens of the text")):
            lines.append(f"  {name}: int64 (images, {card.prompt.length}): {what}")
    level, factor = card.calibration.coverage, card.calibration.factor
    lines += [
        "Outputs, float32 (images,) each:",
        "  quality: 1 (bad) to 5 (excellent)",
        f"  spread: the {level:.0%} interval is quality -/+ {factor:.6g} * spread",
        *(f"  {name}: an aspect, on the same scale" for name in sorted(card.aspects)),
        "Views must be cut as Foveal cuts them, or scores mean nothing: foveal.assessor.cut_views(",
        f"  foveal.imaging.decode.decode(FILE).pixels, card.views), the card being in {CARD_KEY}.",
    ]
    return "\n".join(lines)


def write_onnx(
    artifact: Artifact,
    path: str | os.PathLike[str],
    *,
    images: Iterable[Any] | None = None,
    tolerance: float = 1e-3,
) -> list[Difference]:
    """Write an ONNX file that holds graph, weights, card and contract, if it scores as the artifact does.

    Args:
        artifact: what to write.
        path: where to; an existing file is replaced.
        images: whatever an assessor takes, to compare on; by default pictures made for the purpose.
        tolerance: largest difference of quality that is accepted in the same runtime.

    Returns:
        One entry for each runtime that is installed; OpenVINO first.

    Raises:
        ConversionError: it scores differently.
        OutputError: the file cannot be written.
        ImageError: one of ``images`` cannot be decoded.
    """
    path = Path(path)
    model = artifact.model_bytes()
    model += _field(_MODEL_DOC, contract(artifact.card).encode())
    entry = _field(_KEY, CARD_KEY.encode()) + _field(_VALUE, artifact.card.to_json().encode())
    model += _field(_MODEL_METADATA, entry)
    with _beside(path) as folder:
        trial = Path(folder) / path.name
        _guard(path, lambda: trial.write_bytes(model))
        graph, weights = detach_initializers(trial.read_bytes())
        written = Artifact(artifact.card, graph, weights, artifact.tokenizer)
        runs = {name: make_engine(written, engine=name, threads=1).run for name in _installed()}
        found = _compare(artifact, runs, images, tolerance, path)
        _guard(path, lambda: trial.replace(path))
    return found


def write_openvino(
    artifact: Artifact,
    path: str | os.PathLike[str],
    *,
    images: Iterable[Any] | None = None,
    tolerance: float = 1e-3,
) -> list[Difference]:
    """Write OpenVINO's IR, an .xml with an .bin beside it; else as :func:`write_onnx`.

    Weights keep their precision.

    Raises:
        OutputError: ``path`` does not end in .xml, too.
    """
    path = Path(path)
    if path.suffix != ".xml":
        raise OutputError(f"{path}: the name of an OpenVINO model ends in .xml; its weights go beside it")
    openvino = import_openvino()
    core = openvino.Core()
    try:
        model = core.read_model(artifact.model_bytes())
    except RuntimeError as error:
        raise ArtifactError(f"{artifact.card.model}: OpenVINO cannot read its graph ({error})") from error
    model.set_rt_info(artifact.card.to_json(), [CARD_KEY])
    model.set_rt_info(contract(artifact.card), [CONTRACT_KEY])
    with _beside(path) as folder:
        trial = Path(folder) / path.name
        _guard(path, lambda: openvino.save_model(model, trial, compress_to_fp16=False))
        found = _compare(artifact, {"openvino": _run_ir(core, trial)}, images, tolerance, path)
        for suffix in (".bin", ".xml"):
            made, final = trial.with_suffix(suffix), path.with_suffix(suffix)
            _guard(final, partial(made.replace, final))
    return found


def made_pictures(seed: int = 0) -> Iterator[Pixels]:
    """Pictures of several shapes, from smooth to noisy, uint8 (height, width, 3)."""
    generator = np.random.default_rng(seed)
    for height, width in _SHAPES:
        coarse = generator.uniform(0, 255, (_SMOOTH, _SMOOTH, 3))
        rows = np.linspace(0, _SMOOTH - 1, height).astype(int)
        columns = np.linspace(0, _SMOOTH - 1, width).astype(int)
        noise = generator.normal(0, generator.uniform(0, 40), (height, width, 3))
        yield np.clip(coarse[rows][:, columns] + noise, 0, 255).astype(np.uint8)


def _installed() -> list[str]:
    return [name for name in _NAMES if importlib.util.find_spec(name)]


def _run_ir(core: Any, path: Path) -> Run:
    # As the assessor's engine has it: nothing is rounded that the file does not round.
    options = {"INFERENCE_PRECISION_HINT": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0}
    compiled = core.compile_model(core.read_model(path), "CPU", options)
    request = compiled.create_infer_request()

    def run(views: dict[str, Batch]) -> Outputs:
        request.infer(views)
        return {
            name: request.get_tensor(name).data.copy() for port in compiled.outputs for name in port.names
        }

    return run


def _compare(
    artifact: Artifact,
    runs: Mapping[str, Run],
    images: Iterable[Any] | None,
    tolerance: float,
    path: Path,
) -> list[Difference]:
    """Run a written file and the artifact on the same views; ConversionError if they differ too much."""
    inputs = [
        _inputs(artifact.card, image, number)
        for number, image in enumerate(made_pictures() if images is None else images)
    ]
    if not inputs:
        raise ConversionError(f"{path}: there is no image to compare scores on; it was not written")
    default = _all(make_engine(artifact, threads=1).run, inputs)
    differences = []
    for name, run in runs.items():
        own = _all(make_engine(artifact, engine=name, threads=1).run, inputs)
        there = _all(run, inputs)
        gaps = {output: float(np.max(np.abs(own[output] - there[output]))) for output in own}
        quality = gaps.pop("quality")
        from_default = float(np.abs(there["quality"] - default["quality"]).max())
        found = Difference(_NAMES[name], len(inputs), quality, float(np.max([*gaps.values()])), from_default)
        if not np.max([found.quality, found.others]) <= tolerance:  # NaN is not
            raise ConversionError(
                f"{path}: in {found.runtime} its outputs differ from the artifact's by up to "
                f"{max(found.quality, found.others):.5f}, more than {tolerance:g}; it was not written"
            )
        differences.append(found)
    return differences


def _inputs(card: Card, image: Any, number: int) -> dict[str, Batch]:
    views = cut_views(decode(image).pixels, card.views)
    inputs: dict[str, Batch] = {name: view[None] for name, view in views.items()}
    if card.prompt is not None:
        # Any tokens do: what is compared is arithmetic. The first few numbers are in every vocabulary.
        inputs[PROMPT_IDS] = np.full((1, card.prompt.length), number % 2, np.int64)
        inputs[PROMPT_MASK] = np.ones((1, card.prompt.length), np.int64)
    return inputs


def _all(run: Run, inputs: Iterable[dict[str, Batch]]) -> dict[str, NDArray[np.float32]]:
    rows = [run(views) for views in inputs]
    return {name: np.concatenate([np.asarray(row[name]) for row in rows]) for name in rows[0]}


def _beside(path: Path) -> tempfile.TemporaryDirectory[str]:
    """A folder on the same disk, from which a file that is whole and checked can be moved into place."""
    try:
        return tempfile.TemporaryDirectory(dir=path.parent, prefix=".foveal-")
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error.strerror or error}") from error


def _guard(path: Path, write: Callable[[], Any]) -> None:
    try:
        write()
    except (OSError, RuntimeError) as error:
        raise OutputError(f"{path}: cannot be written: {error}") from error


def _field(number: int, content: bytes) -> bytes:
    """A field of a protobuf message that holds bytes; appended to a message, it becomes part of it."""
    return _varint(number << 3 | _LENGTH_DELIMITED) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    digits = bytearray()
    while value > 0x7F:
        digits.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*digits, value])
