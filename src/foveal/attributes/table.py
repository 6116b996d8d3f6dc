"""All attributes: their words, and the cuts between their degrees."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.resources import files
from types import MappingProxyType
from typing import NamedTuple

from foveal.attributes.banding import banding
from foveal.attributes.blocking import blocking
from foveal.attributes.brightness import brightness, subject_light
from foveal.attributes.clipping import highlights, shadows
from foveal.attributes.clutter import clutter, plainness
from foveal.attributes.colour import colour_cast, colourfulness, greenery, saturation, warmth
from foveal.attributes.contrast import contrast, local_contrast, tonal_range
from foveal.attributes.crispness import crispness
from foveal.attributes.detail import detail
from foveal.attributes.focus import focus_spread, subject_focus
from foveal.attributes.halos import halos
from foveal.attributes.haze import haze
from foveal.attributes.motion_blur import motion_blur
from foveal.attributes.noise import colour_noise, noise
from foveal.attributes.reading import Attribute, Meter
from foveal.attributes.sharpness import sharpness


class _Entry(NamedTuple):
    meter: Meter
    degrees: tuple[str, str, str, str, str]
    unit: str
    merit: int
    source: str
    local: bool = True
    seen_from: float | None = None


_S3 = "Vu, Phan and Chandler, IEEE TIP 21(3), 2012"
_HASLER = "Hasler and Suesstrunk, SPIE 5007, 2003"

_ENTRIES = (
    _Entry(
        sharpness,
        ("very blurry", "soft", "moderately sharp", "sharp", "very sharp"),
        "ln(1 + levels a pixel)",
        1,
        _S3,
    ),
    _Entry(
        crispness,
        ("very wide edges", "wide edges", "fairly crisp edges", "crisp edges", "very crisp edges"),
        "ln(ratio)",
        1,
        _S3,
    ),
    _Entry(
        detail,
        ("no fine detail", "little fine detail", "some fine detail", "much fine detail", "very fine detail"),
        "ln(0.1 + levels)",
        1,
        "Starck and Murtagh, Astronomical image and data analysis, 2002",
    ),
    _Entry(
        focus_spread,
        (
            "evenly focused",
            "fairly evenly focused",
            "somewhat selective focus",
            "selective focus",
            "very selective focus",
        ),
        "ln(ratio)",
        0,
        _S3,
        local=False,
    ),
    _Entry(
        subject_focus,
        (
            "centre softer than its surroundings",
            "centre about as sharp as its surroundings",
            "centre somewhat sharper than its surroundings",
            "centre sharper than its surroundings",
            "centre much sharper than its surroundings",
        ),
        "ln(ratio)",
        0,
        _S3,
        local=False,
    ),
    _Entry(
        motion_blur,
        (
            "no motion blur",
            "a trace of motion blur",
            "slight motion blur",
            "visible motion blur",
            "strong motion blur",
        ),
        "length of ln(ratios)",
        -1,
        "Liu, Li and Jia, CVPR 2008",
    ),
    _Entry(
        noise,
        ("no visible noise", "faint noise", "some noise", "noisy", "very noisy"),
        "ln(0.1 + levels)",
        -1,
        "Immerkaer, CVIU 64(2), 1996",
    ),
    _Entry(
        colour_noise,
        (
            "clean colours",
            "faint colour noise",
            "some colour noise",
            "visible colour noise",
            "strong colour noise",
        ),
        "ln(0.1 + levels)",
        -1,
        _HASLER,
    ),
    _Entry(
        blocking,
        ("no blocking", "faint blocking", "slight blocking", "visible blocking", "strong blocking"),
        "ln(ratio)",
        -1,
        "Wang, Sheikh and Bovik, ICIP 2002",
        seen_from=0.2,
    ),
    _Entry(
        banding,
        ("no banding", "faint banding", "slight banding", "visible banding", "strong banding"),
        "log10(0.0001 + share)",
        -1,
        "Wang, Kum, Chen and Kokaram, ICIP 2016",
        seen_from=-3.0,
    ),
    _Entry(
        halos,
        ("no halos", "faint halos", "slight halos", "visible halos", "strong halos"),
        "part of the edge",
        0,
        "Marziliano et al., Signal Processing: Image Communication 19(2), 2004",
        seen_from=0.0,
    ),
    _Entry(
        brightness,
        ("very dark", "dark", "of medium brightness", "bright", "very bright"),
        "levels",
        0,
        "ITU-R BT.601",
    ),
    _Entry(
        subject_light,
        (
            "centre much darker than its surroundings",
            "centre darker than its surroundings",
            "centre about as bright as its surroundings",
            "centre brighter than its surroundings",
            "centre much brighter than its surroundings",
        ),
        "levels",
        0,
        "ITU-R BT.601",
        local=False,
    ),
    _Entry(
        contrast,
        ("very low contrast", "low contrast", "medium contrast", "strong contrast", "very strong contrast"),
        "levels",
        1,
        "Peli, JOSA A 7(10), 1990",
    ),
    _Entry(
        tonal_range,
        (
            "very narrow tonal range",
            "narrow tonal range",
            "medium tonal range",
            "wide tonal range",
            "full tonal range",
        ),
        "levels",
        1,
        "quantiles of the histogram",
        local=False,
    ),
    _Entry(
        local_contrast,
        (
            "very flat local contrast",
            "flat local contrast",
            "medium local contrast",
            "strong local contrast",
            "very strong local contrast",
        ),
        "ln(1 + levels)",
        1,
        "Peli, JOSA A 7(10), 1990",
    ),
    _Entry(
        highlights,
        (
            "no clipped highlights",
            "hardly any clipped highlights",
            "a few clipped highlights",
            "clipped highlights",
            "large clipped highlights",
        ),
        "log10(0.0001 + share)",
        -1,
        "share of clipped pixels",
        seen_from=-3.0,
    ),
    _Entry(
        shadows,
        (
            "no crushed shadows",
            "hardly any crushed shadows",
            "a few crushed shadows",
            "crushed shadows",
            "large crushed shadows",
        ),
        "log10(0.0001 + share)",
        -1,
        "share of clipped pixels",
        seen_from=-3.0,
    ),
    _Entry(
        colourfulness,
        ("almost colourless", "muted colours", "moderately colourful", "colourful", "very colourful"),
        "ln(1 + M)",
        1,
        _HASLER,
    ),
    _Entry(
        saturation,
        (
            "almost grey tones",
            "pale tones",
            "moderately saturated",
            "saturated",
            "very saturated",
        ),
        "0-1",
        0,
        "Smith, SIGGRAPH 1978",
    ),
    _Entry(
        colour_cast,
        ("no colour cast", "faint colour cast", "slight colour cast", "colour cast", "strong colour cast"),
        "ln(1 + levels)",
        -1,
        "Buchsbaum, Journal of the Franklin Institute 310(1), 1980",
        local=False,
    ),
    _Entry(
        warmth,
        ("cold tones", "cool tones", "neutral tones", "warm tones", "very warm tones"),
        "levels",
        0,
        _HASLER,
    ),
    _Entry(
        greenery,
        ("no green", "hardly any green", "some green", "much green", "mostly green"),
        "log10(0.01 + share)",
        0,
        "Woebbecke et al., Transactions of the ASAE 38(1), 1995",
        seen_from=-1.95,
    ),
    _Entry(
        haze,
        ("no haze", "hardly any haze", "slight haze", "hazy", "very hazy"),
        "levels",
        -1,
        "He, Sun and Tang, CVPR 2009",
    ),
    _Entry(
        clutter,
        ("very empty", "sparse", "moderately busy", "busy", "very busy"),
        "ln(0.1 + levels)",
        0,
        "Rosenholtz, Li and Nakano, Journal of Vision 7(2), 2007",
    ),
    _Entry(
        plainness,
        (
            "no plain areas",
            "few plain areas",
            "some plain areas",
            "large plain areas",
            "mostly plain",
        ),
        "share",
        0,
        "count of blocks under a threshold",
    ),
)


def _attributes() -> Mapping[str, Attribute]:
    text = (files("foveal.attributes") / "thresholds.json").read_text(encoding="utf-8")
    thresholds = json.loads(text)["thresholds"]
    named: dict[str, Attribute] = {}
    for entry in _ENTRIES:
        name = entry.meter.__name__
        first, second, third, fourth = (float(cut) for cut in thresholds[name])
        named[name] = Attribute(name=name, thresholds=(first, second, third, fourth), **entry._asdict())
    return MappingProxyType(named)


ATTRIBUTES: Mapping[str, Attribute] = _attributes()
"""Every attribute by name, in the order in which they are told."""
