"""Focus: how sharpness is distributed over the image."""

from __future__ import annotations

import numpy as np

from foveal.attributes.places import centre_minus_rest
from foveal.attributes.planes import Planes
from foveal.attributes.reading import Measured
from foveal.attributes.sharpness import sharpness


def focus_spread(planes: Planes) -> Measured:
    """How much sharper the sharp parts are than the rest.

    Range: 0 (the same everywhere) to 5.5. Unit: ln of the ratio of the steepest gradients (plus one level a
    pixel) of blocks at the 90 % and the 30 % quantile.
    Source: the spread of a local sharpness map; Vu, Phan and Chandler, "S3", IEEE TIP 21(3), 2012.
    """
    low, high = np.quantile(planes.steepest, (0.3, 0.9))
    return Measured(float(np.log((high + 1) / (low + 1))))


def subject_focus(planes: Planes) -> Measured:
    """Sharpness of the centre minus mean sharpness of the places around it.

    Range: -5.6 (only the surroundings are sharp) to 5.6 (only the centre is). Unit: ln of the ratio of
    gradients.
    Source: Vu, Phan and Chandler, "S3", IEEE TIP 21(3), 2012, read at nine places.
    """
    return Measured(centre_minus_rest(sharpness(planes).local))
