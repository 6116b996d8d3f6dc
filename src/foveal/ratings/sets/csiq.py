"""CSIQ: 30 references with six distortions at four or five levels."""

from __future__ import annotations

from pathlib import Path

from foveal.errors import RatingsError
from foveal.ratings.sets.known import KnownSet, Labels, make_rows, require
from foveal.ratings.sets.lines import read_words, to_numbers
from foveal.ratings.table import DatasetCard

CARD = DatasetCard(
    name="CSIQ",
    low=0.0,
    high=1.0,
    higher_is_better=False,
    citation=(
        "E. C. Larson and D. M. Chandler, Most apparent distortion: full-reference image quality assessment "
        "and the role of strategy, Journal of Electronic Imaging 19(1), 2010; "
        "https://s2.smu.edu/~eclarson/csiq.html"
    ),
    note=(
        "Scores from a text file with a name and a DMOS in each line, usually csiq_label.txt, as in "
        "'1600.AWGN.1.png 0.061989'; csiq.DMOS.xlsx holds the same scores in another arrangement, and is not "
        "read."
    ),
)
"""DMOS from 0 to 1, lower is better."""

_KINDS = ("awgn", "blur", "contrast", "fnoise", "jpeg", "jpeg2000")
_LABELS = ("csiq_label.txt", "*.txt")


def _read(folder: Path) -> Labels:
    path = require(folder, *_LABELS)
    words, dmos = read_words(path, 2)
    names = [word if word.lower().endswith(".png") else f"{word}.png" for word in words]
    references, kinds = zip(*(_parts(name, path) for name in names), strict=True)
    rows = make_rows(names, {"quality": to_numbers(dmos, path)}, groups=references, subsets=kinds)
    return Labels(rows, CARD, tuple(f"{kind}/{name}" for kind, name in zip(kinds, names, strict=True)))


def _parts(name: str, path: Path) -> tuple[str, str]:
    """Reference and distortion of a name such as 1600.AWGN.1.png."""
    parts = name.split(".")
    if len(parts) != 4 or parts[1].lower() not in _KINDS:
        raise RatingsError(f"{path}: {name!r} is not a name of this set, such as '1600.AWGN.1.png'")
    return parts[0], parts[1].lower()


CSIQ = KnownSet(
    card=CARD,
    size=866,
    targets=("quality",),
    layout=f"{_LABELS[0]} (or the only text file) [name, DMOS], and dst_imgs/ with {', '.join(_KINDS)}",
    tables=(_LABELS,),
    folders=("dst_imgs",),
    read=_read,
)
