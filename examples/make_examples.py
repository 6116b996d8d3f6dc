"""Make the example pictures from photographs that scikit-image ships in its wheel (no network needed).

Needs scikit-image besides foveal. Writes photos/*.jpg and degraded/*.jpg beside this file, the same bytes on
every run with the same version of Pillow.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import skimage.data
from PIL import Image

from foveal.imaging.decode import decode
from foveal.imaging.degradations import DEGRADATIONS, degrade
from foveal.imaging.views import Pixels

HERE = Path(__file__).parent
LONGEST_SIDE = 640
PHOTOS = {
    "astronaut": "astronaut.png",
    "camera": "camera.png",
    "chelsea": "chelsea.png",
    "clock": "clock_motion.png",
    "coffee": "coffee.png",
    "hubble": "hubble_deep_field.jpg",
    "rocket": "rocket.jpg",
}
"""Name here to name in skimage.data; README.md lists where each comes from and why it is free."""

DEGRADED = {
    "coffee": list(DEGRADATIONS),
    "chelsea": ["jpeg", "blur", "noise"],
    "rocket": ["downscale", "overexposure", "contrast-loss"],
}
SEVERITIES = (0.4, 0.8)


def shrink(pixels: Pixels) -> Image.Image:
    """The picture with its longest side at most LONGEST_SIDE, never enlarged."""
    picture = Image.fromarray(pixels)
    picture.thumbnail((LONGEST_SIDE, LONGEST_SIDE), Image.Resampling.LANCZOS)
    return picture


def main() -> None:
    """Write all pictures."""
    folders = HERE / "photos", HERE / "degraded"
    for folder in folders:
        folder.mkdir(exist_ok=True)
        for old in folder.glob("*.jpg"):
            old.unlink()
    for name, file in PHOTOS.items():
        picture = shrink(decode(Path(skimage.data.data_dir) / file).pixels)
        picture.save(folders[0] / f"{name}.jpg", quality=92, optimize=True)
        for kind in DEGRADED.get(name, []):
            for severity in SEVERITIES:
                degraded = degrade(np.asarray(picture), kind, severity)
                path = folders[1] / f"{name}--{kind}-{severity:g}.jpg"
                Image.fromarray(degraded).save(path, quality=90, optimize=True)


if __name__ == "__main__":
    main()
