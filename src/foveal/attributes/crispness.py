"""Crispness: how narrow edges are, whatever their contrast."""

from __future__ import annotations

import numpy as np

from foveal.attributes.filters import Plane
from foveal.attributes.planes import Planes
from foveal.attributes.reading import Measured


def crispness(planes: Planes) -> Measured:
    """Energy of the finest details relative to those twice as large, in blocks with something to see.

    Unlike :func:`foveal.attributes.sharpness.sharpness` it does not fall with contrast: it tells a picture
    that was enlarged or slightly out of focus from one that shows things of little contrast.

    Range: about -2.5 (wide, soft edges) to 2. Unit: ln of the ratio, its 90 % quantile over the quarter of
    the blocks that are most structured.
    Source: the ratio of band energies is the discrete form of the spectral slope in Vu, Phan and Chandler,
    "S3", IEEE TIP 21(3), 2012; the bands are those of :mod:`foveal.attributes.filters`.
    """
    fine, middle, coarse = (energy.reshape(9, -1) for energy in planes.energies)
    ratio = np.log((fine + np.float32(0.1)) / (middle + np.float32(0.2)))
    local = [_among_structured(*pair) for pair in zip(ratio, coarse, strict=True)]
    return Measured(
        _among_structured(ratio.ravel(), coarse.ravel()), np.array(local, np.float32).reshape(3, 3)
    )


def _among_structured(ratio: Plane, structure: Plane) -> float:
    return float(np.quantile(ratio[structure >= np.quantile(structure, 0.75)], 0.9))
