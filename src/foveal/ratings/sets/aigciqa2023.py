"""AIGCIQA2023: 2,400 pictures by six generators from 100 prompts, rated in three respects."""

from __future__ import annotations

from pathlib import Path

from foveal.errors import RatingsError
from foveal.ratings.files import read_columns
from foveal.ratings.matlab import read_vector
from foveal.ratings.sets.known import KnownSet, Labels, locate, make_rows, require, same_length
from foveal.ratings.table import DatasetCard

CARD = DatasetCard(
    name="AIGCIQA2023",
    low=0.0,
    high=100.0,
    citation=(
        "J. Wang et al., AIGCIQA2023: a large-scale image quality assessment database for AI generated "
        "images, CICAI 2023, arXiv:2307.00211; https://github.com/wangjiarui153/AIGCIQA2023"
    ),
    note=(
        "Image 400 m + 4 p + k is the k-th by generator m from prompt p. Standard deviations (SD1.mat to "
        "SD3.mat) and prompts (AIGCIQA2023_Prompts.xlsx) are read where they are there. A published split of "
        "others has 99 of the 100 prompts in both parts."
    ),
)
"""MOS from z-scores, 0 to 100, higher is better, for all three targets."""

_FILES = {"quality": 1, "authenticity": 2, "correspondence": 3}
# In the order of the owners' pic-index.xlsx.
_MODELS = ("Controlnet", "DALLE", "Glide", "Lafite", "stable-diffusion", "Unidiffuser")
_PROMPTS, _EACH = 100, 4
_SIZE = len(_MODELS) * _PROMPTS * _EACH
_PROMPT_FILES = ("AIGCIQA2023_Prompts.xlsx", "prompts.xlsx")


def _read(folder: Path) -> Labels:
    scores, std = {}, {}
    for target, number in _FILES.items():
        scores[target] = read_vector(require(folder, *_mos(number)), "MOSz")
        deviations = locate(folder, f"SD{number}.mat", f"DATA/STD/SD{number}.mat")
        if deviations is not None:
            std[target] = read_vector(deviations, "SD")
    columns = {f"mosz{_FILES[t]}.mat": column for t, column in scores.items()}
    same_length({**columns, **{f"SD{_FILES[t]}.mat": column for t, column in std.items()}}, folder)
    count = len(scores["quality"])
    if count > _SIZE:
        raise RatingsError(
            f"{folder}: {count} scores, but 6 generators, 100 prompts and 4 images make {_SIZE}"
        )
    prompt_of = [index % (_PROMPTS * _EACH) // _EACH for index in range(count)]
    texts = _prompts(folder)
    rows = make_rows(
        [f"{index}.png" for index in range(count)],
        scores,
        std=std,
        groups=[f"prompt {prompt:02d}" for prompt in prompt_of],
        subsets=[_MODELS[index // (_PROMPTS * _EACH)] for index in range(count)],
        prompts=None if texts is None else [texts[prompt] for prompt in prompt_of],
    )
    return Labels(rows, CARD)


def _mos(number: int) -> tuple[str, str]:
    return f"mosz{number}.mat", f"DATA/MOS/mosz{number}.mat"


def _prompts(folder: Path) -> list[str] | None:
    """The third column of a sheet that has no headings, so that its first row is taken for some."""
    path = locate(folder, *_PROMPT_FILES)
    if path is None:
        return None
    columns = list(read_columns(path).items())
    texts = [cell.strip() for heading, cells in columns[2:3] for cell in (heading, *cells)]
    if len(texts) not in (_PROMPTS, _PROMPTS + 1):
        raise RatingsError(
            f"{path}: {len(texts)} prompts in its third column, expected {_PROMPTS}; fetch it again, or take "
            "it away to do without prompts"
        )
    return texts[-_PROMPTS:]


AIGCIQA2023 = KnownSet(
    card=CARD,
    size=_SIZE,
    targets=tuple(_FILES),
    layout="mosz1.mat, mosz2.mat, mosz3.mat [MOSz] (or in DATA/MOS/), and allimg/0.png to 2399.png (or "
    "Image/allimg/)",
    tables=tuple(_mos(number) for number in _FILES.values()),
    folders=("allimg", "Image/allimg"),
    read=_read,
)
