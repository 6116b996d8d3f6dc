"""From a folder to the reasoners in it."""

from __future__ import annotations

import os
from pathlib import Path

from foveal.errors import BackboneError
from foveal.lab.reasoning.levels import Q_ALIGN, LevelSet
from foveal.lab.reasoning.reasoner import OneStage, Reasoner, TwoStage
from foveal.lab.reasoning.stamps import DESCRIBE_PART, JUDGE_PART, ONE_STAGE_PART
from foveal.lab.reasoning.vision_language import VisionLanguageModel

TWO_STAGE = "two-stage"
"""Folder of a run whose one model does both stages."""


def load_reasoners(
    folder: str | os.PathLike[str],
    levels: LevelSet = Q_ALIGN,
    *,
    batch: int = 32,
    dtype: str = "float32",
    device: str = "cpu",
) -> tuple[Reasoner, ...]:
    """Load what a folder holds.

    Args:
        folder: a model in the layout of ``transformers``, or the name of one on the Hub (``owner/model``),
            which is asked in one stage, and in two, as describer and judge; or a run with folders
            ``one-stage``, and ``describe`` and ``judge`` or one ``two-stage`` that does both.
        levels: words of the verdict.
        batch: questions at a time.
        dtype: ``float32``, ``bfloat16`` or ``float16``.
        device: where it runs, such as ``cpu`` or ``cuda``.

    Returns:
        One reasoner or two, the one-stage one first.

    Raises:
        BackboneError: the folder holds none of these, nothing has this name, or a model cannot be read.
    """
    root = Path(folder).expanduser()

    def load(name: str) -> VisionLanguageModel:
        return VisionLanguageModel.load(root / name, dtype=dtype, device=device)

    if not root.is_dir() or any((root / name).is_file() for name in ("config.json", "adapter_config.json")):
        model = VisionLanguageModel.load(root if root.is_dir() else folder, dtype=dtype, device=device)
        return OneStage(model, levels, batch=batch), TwoStage(model, model, levels, batch=batch)
    found: list[Reasoner] = []
    if (root / ONE_STAGE_PART).is_dir():
        found.append(OneStage(load(ONE_STAGE_PART), levels, batch=batch))
    halves = [name for name in (DESCRIBE_PART, JUDGE_PART) if (root / name).is_dir()]
    if len(halves) == 1:
        missing = JUDGE_PART if halves == [DESCRIBE_PART] else DESCRIBE_PART
        raise BackboneError(
            f"{folder}: there is {halves[0]}/ but no {missing}/ beside it; two stages need both"
        )
    if halves:
        found.append(TwoStage(load(DESCRIBE_PART), load(JUDGE_PART), levels, batch=batch))
    elif (root / TWO_STAGE).is_dir():
        model = load(TWO_STAGE)
        found.append(TwoStage(model, model, levels, batch=batch))
    if not found:
        raise BackboneError(
            f"{folder}: neither a model (config.json) nor a run with {ONE_STAGE_PART}/, {TWO_STAGE}/, or "
            f"{DESCRIBE_PART}/ and {JUDGE_PART}/"
        )
    return tuple(found)
