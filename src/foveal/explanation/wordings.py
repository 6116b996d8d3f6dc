"""Every way to say a degree of an attribute. Written ones come first; the others are only understood.

Degrees of what is measured are those of :data:`foveal.attributes.ATTRIBUTES`. Four attributes cannot be
measured by a formula; a model says how they strike it, and was taught by people's ratings:

- *rendering*: how the fine structure looks at native resolution, as seen in fragments;
- *scene*: how the whole looks from afar;
- *centre* and *surroundings*: how what lies there looks, both ways.

No wording holds a word of verdict: none says that a picture is good or bad.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from foveal.attributes import ATTRIBUTES

DEGREES = 5
"""From 0, least, to 4, most."""

Phrasings = tuple[str, ...]


@dataclass(frozen=True)
class Wording:
    """How an attribute is told.

    Attributes:
        name: of the attribute.
        written: for each degree the phrases that descriptions are written with, the usual one first.
        understood: for each degree further phrases, met in other models' descriptions.
        merit: 1 if more of it looks better to most people, -1 if less does, 0 if that depends.
        measured: whether a formula measures it; if not, it is an impression taught by ratings.
    """

    name: str
    written: tuple[Phrasings, ...]
    understood: tuple[Phrasings, ...]
    merit: int
    measured: bool

    def polarity(self, degree: int) -> int:
        """Whether this degree speaks for the image (1), against it (-1) or neither (0)."""
        middle = DEGREES // 2
        return self.merit * ((degree > middle) - (degree < middle))


_NONE: tuple[Phrasings, ...] = ((), (), (), (), ())

_IMPRESSIONS: dict[str, tuple[Phrasings, ...]] = {
    "rendering": (
        ("rough and smeared rendering", "smeared rendering"),
        ("coarse rendering", "somewhat rough rendering"),
        ("ordinary rendering", "passable rendering"),
        ("clean rendering", "neat rendering"),
        ("crisp and clean rendering", "pristine rendering"),
    ),
    "scene": (
        ("a drab scene", "a dreary scene"),
        ("a plain scene", "an unremarkable scene"),
        ("a common scene", "an everyday scene"),
        ("a vivid scene", "a lively scene"),
        ("a striking scene", "an impressive scene"),
    ),
    "centre": (
        ("centre rendered roughly", "middle looks smeared"),
        ("centre rendered coarsely", "middle looks coarse"),
        ("centre rendered plainly", "middle looks ordinary"),
        ("centre rendered cleanly", "middle looks clean"),
        ("centre rendered crisply", "middle looks crisp"),
    ),
    "surroundings": (
        ("surroundings rendered roughly", "edges look smeared"),
        ("surroundings rendered coarsely", "edges look coarse"),
        ("surroundings rendered plainly", "edges look ordinary"),
        ("surroundings rendered cleanly", "edges look clean"),
        ("surroundings rendered crisply", "edges look crisp"),
    ),
}

# Beside the phrases of the meters themselves.
_ALSO_WRITTEN: dict[str, tuple[Phrasings, ...]] = {
    "sharpness": (
        ("strongly blurred",), ("slightly blurred",), ("fairly sharp",), ("well focused",), ("tack sharp",),
    ),
    "detail": (
        ("fine detail lost",), ("fine detail scarce",), ("fine detail present",), ("rich in fine detail",),
        ("very rich in fine detail",),
    ),
    "noise": (
        ("free of noise",), ("hardly any noise",), ("moderate noise",), ("visible noise",), ("strong noise",),
    ),
    "blocking": (
        ("free of block edges",), ("hardly any block edges",), ("some block edges",), ("clear block edges",),
        ("strong block edges",),
    ),
    "banding": (
        ("smooth gradients",), ("nearly smooth gradients",), ("gradients slightly stepped",),
        ("gradients stepped",), ("gradients strongly stepped",),
    ),
    "motion_blur": (
        ("no smear of movement",), ("hardly any smear of movement",), ("some smear of movement",),
        ("clear smear of movement",), ("heavy smear of movement",),
    ),
    "brightness": (
        ("deep in shade",), ("dimly lit",), ("evenly lit",), ("brightly lit",), ("glaringly lit",),
    ),
    "contrast": (
        ("very weak contrast",), ("weak contrast",), ("moderate contrast",), ("high contrast",),
        ("very high contrast",),
    ),
    "local_contrast": (
        ("surfaces look very flat",), ("surfaces look flat",), ("surfaces have some depth",),
        ("surfaces have depth",), ("surfaces have much depth",),
    ),
    "colourfulness": (
        ("colours nearly absent",), ("subdued colours",), ("moderate colours",), ("rich colours",),
        ("very rich colours",),
    ),
    "highlights": (
        ("highlights intact",), ("highlights almost intact",), ("a few blown highlights",),
        ("blown highlights",), ("widely blown highlights",),
    ),
    "shadows": (
        ("shadows open",), ("shadows almost open",), ("a few blocked shadows",), ("blocked shadows",),
        ("widely blocked shadows",),
    ),
    "haze": (
        ("clear air",), ("almost clear air",), ("a light veil",), ("a veil over the picture",),
        ("a thick veil over the picture",),
    ),
    "clutter": (
        ("nearly nothing in it",), ("few things in it",), ("several things in it",), ("many things in it",),
        ("crowded",),
    ),
}  # fmt: skip

# What people and large models say; never written here.
_UNDERSTOOD: dict[str, tuple[Phrasings, ...]] = {
    "sharpness": (
        ("heavily blurred", "out of focus", "very blurred", "severely blurry"),
        ("blurry", "blurred", "unsharp", "slightly blurry", "unclear"),
        ("moderate sharpness", "acceptable sharpness"),
        ("clear", "in focus", "high sharpness"),
        ("extremely sharp", "crystal clear", "very clear"),
    ),
    "noise": (
        ("noise-free", "without noise"), ("little noise", "low noise"), ("slightly noisy", "slight noise"),
        ("grainy", "noticeable noise", "high noise"), ("extremely noisy", "severe noise", "heavy noise"),
    ),
    "brightness": (
        ("underexposed", "severely underexposed", "too dark"), ("dim", "insufficient lighting"),
        ("normal brightness", "well exposed", "sufficient lighting"), ("well lit",),
        ("overexposed", "too bright", "severely overexposed"),
    ),
    "contrast": (("washed out",), ("dull contrast",), ("normal contrast",), (), ()),
    "colourfulness": (
        ("monochrome", "colorless"), ("dull colors", "dull colours", "faded colours", "faded colors"),
        ("normal colors",),
        ("vibrant", "colorful", "vivid colours", "vivid colors"),
        ("very vibrant", "very colorful"),
    ),
    "detail": (
        ("no texture details", "loss of detail"), ("few details",), (), ("detailed", "rich texture details"),
        ("highly detailed",),
    ),
    "blocking": ((), (), ("compression artifacts", "compression artefacts"), ("blocky",), ("very blocky",)),
    "motion_blur": ((), (), (), ("motion blur",), ("severe motion blur",)),
}  # fmt: skip


def _wording(name: str) -> Wording:
    written = tuple(
        (usual, *others)
        for usual, others in zip(ATTRIBUTES[name].degrees, _ALSO_WRITTEN.get(name, _NONE), strict=True)
    )
    return Wording(name, written, _UNDERSTOOD.get(name, _NONE), ATTRIBUTES[name].merit, measured=True)


def _wordings() -> Mapping[str, Wording]:
    impressions = {
        name: Wording(name, phrases, _NONE, 1, measured=False) for name, phrases in _IMPRESSIONS.items()
    }
    return MappingProxyType({**impressions, **{name: _wording(name) for name in ATTRIBUTES}})


WORDINGS: Mapping[str, Wording] = _wordings()
"""All attributes by name: the impressions first, then what is measured."""
IMPRESSIONS: tuple[str, ...] = tuple(_IMPRESSIONS)
"""Attributes that are taught by ratings, not measured."""
