"""Why an image looks as it does: what the explainer says of it, and its map as a picture."""

from __future__ import annotations

import base64
from typing import Any

from foveal.explanation.explainer import Explainer
from foveal.explanation.picture import map_picture
from foveal.imaging.decode import decode
from foveal.imaging.limits import Limits


def explained(
    explainer: Explainer, data: bytes, *, source: str, limits: Limits, with_picture: bool
) -> dict[str, Any]:
    """Explain one image.

    Args:
        explainer: explains.
        data: encoded image.
        source: what to call it.
        limits: sizes that are accepted.
        with_picture: whether the map is wanted over the image too.

    Returns:
        Plain values; see :class:`foveal.service.schemas.Explained`.

    Raises:
        ImageError: it cannot be judged.
        FovealError: a model gives no finite number.
    """
    decoded = decode(data, limits=limits)
    explanation = explainer(decoded, name=source)
    values = explanation.to_dict()
    if with_picture:
        picture = map_picture(decoded.pixels, explanation.quality_map)
        values["map_png"] = base64.b64encode(picture).decode("ascii")
    return values
