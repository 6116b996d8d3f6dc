"""Embedded ICC profiles: the transform from a picture's own colours to sRGB."""

from __future__ import annotations

import io
from functools import lru_cache

import numpy as np
from PIL import Image, ImageCms

_MODES = {"RGB ": "RGB", "GRAY": "L", "CMYK": "CMYK"}
_SAME = 2
"""A profile that moves no colour by more than this many levels is sRGB under another name."""


class ProfileError(ValueError):
    """An embedded profile is broken or does not fit the picture."""


@lru_cache(maxsize=8)
def to_srgb(profile: bytes, mode: str) -> tuple[str, ImageCms.ImageCmsTransform | None]:
    """The transform that an embedded profile asks for.

    Transforms are kept, since the photographs of one camera or program share one profile, and are safe to use
    from several threads.

    Args:
        profile: bytes of the ICC profile.
        mode: Pillow mode of the picture's colours: L, RGB or CMYK.

    Returns:
        The mode that the picture must be in, and the transform to RGB, or None where it would change nothing.

    Raises:
        ProfileError: the profile cannot be read or is meant for another kind of picture.
    """
    try:
        opened = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        space = opened.profile.xcolor_space
        taken = _MODES.get(space, "")
        if taken != mode and (taken, mode) != ("RGB", "L"):
            raise ProfileError(f"is for {space.strip()} pictures, this one is {mode}")
        srgb = ImageCms.createProfile("sRGB")
        transform = ImageCms.buildTransform(opened, srgb, taken, "RGB", ImageCms.Intent.PERCEPTUAL)
        return taken, None if _changes_nothing(transform, taken) else transform
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError) as error:
        raise error if isinstance(error, ProfileError) else ProfileError(f"is broken ({error})") from error


def _changes_nothing(transform: ImageCms.ImageCmsTransform, mode: str) -> bool:
    """Try the transform on a lattice of colours: what a profile does tells more than what it is called."""
    if mode == "CMYK":
        return False
    levels = np.arange(256)[None] if mode == "L" else np.indices((18, 18, 18)).reshape(3, -1).T[None] * 15
    probe = Image.fromarray(levels.astype(np.uint8))
    before = np.asarray(probe.convert("RGB")).astype(np.int16)
    after = np.asarray(ImageCms.applyTransform(probe, transform)).astype(np.int16)
    return int(np.abs(after - before).max()) <= _SAME
