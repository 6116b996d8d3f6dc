"""LIVE, release 2, and LIVE Challenge: synthetic and authentic distortions, both in MAT files."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from foveal.errors import RatingsError
from foveal.ratings.matlab import read_names, read_vector, variables
from foveal.ratings.sets.known import KnownSet, Labels, make_rows, require, same_length, take_rows
from foveal.ratings.table import DatasetCard

_TERMS = "the owners' own: free use while the copyright notice of the database is kept"

CARD_R2 = DatasetCard(
    name="LIVE r2",
    low=-3.0,
    high=112.0,
    higher_is_better=False,
    licence=_TERMS,
    citation=(
        "H. R. Sheikh, M. F. Sabir and A. C. Bovik, A statistical evaluation of recent full reference image "
        "quality assessment algorithms, IEEE TIP 15(11), 2006; "
        "https://live.ece.utexas.edu/research/quality/subjective.htm"
    ),
    note=(
        "Realigned DMOS, nominally 0 to 100; those of the distorted images run from -2.64 to 111.77, and the "
        "scale is stated wide enough for them. Copies of the 29 references (orgs = 1) are left out."
    ),
)
"""Realigned DMOS, lower is better, about 0 to 100."""

CARD_CHALLENGE = DatasetCard(
    name="LIVE Challenge",
    low=0.0,
    high=100.0,
    licence=_TERMS,
    citation=(
        "D. Ghadiyaram and A. C. Bovik, Massive online crowdsourced study of subjective and objective "
        "picture quality, IEEE TIP 25(1), 2016; https://live.ece.utexas.edu/research/ChallengeDB/"
    ),
    note="The first seven images, on which observers practised, are left out.",
)
"""MOS from 0 to 100, higher is better."""

_KINDS = {"jp2k": 227, "jpeg": 233, "wn": 174, "gblur": 174, "fastfading": 174}
_PRACTICE = 7
_DMOS, _REFERENCES = "dmos_realigned.mat", "refnames_all.mat"
_ARRAYS = ("Images", "MOS", "StdDev")


def _read_r2(folder: Path) -> Labels:
    path = require(folder, _DMOS)
    references = read_names(require(folder, _REFERENCES), "refnames_all")
    wanted = ["dmos_new", "orgs"] + ["dmos_std"] * ("dmos_std" in variables(path))
    columns = {name: read_vector(path, name) for name in wanted}
    # Arrays are in the order of the distortions, each numbered from 1.
    names = [f"{kind}/img{number}.bmp" for kind, count in _KINDS.items() for number in range(1, count + 1)]
    same_length({**columns, "refnames_all": references, "the layout": names}, folder)
    dmos, originals = columns["dmos_new"], columns["orgs"]
    if not np.isin(originals, (0.0, 1.0)).all():
        raise RatingsError(f"{path}: orgs is neither 0 nor 1 for some images; fetch it again")
    std = {"quality": columns["dmos_std"]} if "dmos_std" in columns else {}
    kinds = [name.split("/")[0] for name in names]
    rows = make_rows(names, {"quality": dmos}, std=std, groups=references, subsets=kinds)
    distorted = np.flatnonzero(originals == 0).tolist()
    copies = tuple(names[index] for index in np.flatnonzero(originals == 1))
    return Labels(take_rows(rows, distorted), CARD_R2, unrated=copies)


def _read_challenge(folder: Path) -> Labels:
    paths = {kind: require(folder, f"Data/All{kind}_release.mat") for kind in _ARRAYS}
    names = read_names(paths["Images"], "AllImages_release")
    mos, std = (read_vector(paths[kind], f"All{kind}_release") for kind in _ARRAYS[1:])
    same_length({"AllImages": names, "AllMOS": mos, "AllStdDev": std}, folder)
    if len(names) <= _PRACTICE:
        raise RatingsError(f"{paths['Images']}: only {len(names)} images, the first {_PRACTICE} for practice")
    rows = make_rows(names, {"quality": mos}, std={"quality": std})
    return Labels(
        take_rows(rows, range(_PRACTICE, len(names))), CARD_CHALLENGE, unrated=rows.names[:_PRACTICE]
    )


LIVE_R2 = KnownSet(
    card=CARD_R2,
    size=779,
    targets=("quality",),
    layout=f"{_DMOS} [dmos_new, orgs], {_REFERENCES}, and jp2k/, jpeg/, wn/, gblur/, fastfading/ with "
    "img1.bmp, img2.bmp ...",
    tables=((_DMOS,), (_REFERENCES,)),
    folders=(".",),
    read=_read_r2,
)

LIVE_CHALLENGE = KnownSet(
    card=CARD_CHALLENGE,
    size=1162,
    targets=("quality",),
    layout="Data/ with AllImages_release.mat, AllMOS_release.mat and AllStdDev_release.mat, and Images/",
    tables=tuple((f"Data/All{kind}_release.mat",) for kind in _ARRAYS),
    folders=("Images",),
    read=_read_challenge,
)
