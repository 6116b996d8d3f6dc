"""Detail: fine texture."""

from __future__ import annotations

import numpy as np

from foveal.attributes.planes import Planes
from foveal.attributes.reading import Measured


def detail(planes: Planes) -> Measured:
    """Energy of details of about two pixels in the typical block of 8 x 8: grass, hair, cloth, and grain.

    Range: -2.3 (none) to about 4. Unit: ln(0.1 + levels), median over the blocks of the mean absolute value
    of the finest band.
    Source: finest level of the a trous transform, Starck and Murtagh, "Astronomical image and data
    analysis", 2002.
    """
    energy = planes.energies[0].reshape(9, -1)
    local = np.log(np.median(energy, axis=1) + 0.1).astype(np.float32).reshape(3, 3)
    return Measured(float(np.log(np.median(energy) + 0.1)), local)
