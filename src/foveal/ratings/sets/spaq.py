"""SPAQ: 11,125 photographs by 66 smartphones, with five attributes."""

from __future__ import annotations

from pathlib import Path

from foveal.ratings.own_table import Columns, read_rows
from foveal.ratings.sets.known import KnownSet, Labels, require
from foveal.ratings.table import DatasetCard

CARD = DatasetCard(
    name="SPAQ",
    low=0.0,
    high=100.0,
    citation=(
        "Y. Fang et al., Perceptual quality assessment of smartphone photography, CVPR 2020; "
        "https://github.com/h4nwei/SPAQ"
    ),
    note=(
        "Many photographs lie on their side and say so in EXIF: Foveal applies the orientation whenever it "
        "decodes; other programs may not, and judge another picture. All attributes are up, noisiness too."
    ),
)
"""MOS and five attributes from 0 to 100, higher is better."""

_SCORES = {
    "quality": "MOS",
    "brightness": "Brightness",
    "colorfulness": "Colorfulness",
    "contrast": "Contrast",
    "noisiness": "Noisiness",
    "sharpness": "Sharpness",
}
_TABLE = "Annotations/MOS and Image attribute scores.xlsx"


def _read(folder: Path) -> Labels:
    columns = Columns(image="Image name", scores=_SCORES)
    return Labels(read_rows(require(folder, _TABLE), columns), CARD)


SPAQ = KnownSet(
    card=CARD,
    size=11_125,
    targets=tuple(_SCORES),
    layout=f"'{_TABLE}', and the images in TestImage/",
    tables=((_TABLE,),),
    folders=("TestImage",),
    read=_read,
)
