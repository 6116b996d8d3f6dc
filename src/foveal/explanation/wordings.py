"""Every way to say a degree of an attribute. Written ones come first; the others are only understood.

Degrees of what is measured are those of :data:`foveal.attributes.ATTRIBUTES`. Four attributes cannot be
measured by a formula; a model says how they strike it, and was taught by people's ratings:

- *rendering*: how the fine structure looks at native resolution, as seen in fragments;
- *scene*: how the whole looks from afar;
- *centre* and *surroundings*: how what lies there looks, both ways.

What is measured has five degrees, by its share among photographs: the middle one is what most of them are
like. Impressions have nine, on the scale of ratings itself, so that what speaks for an image here is what
people rated above the middle of that scale; they are finest where most photographs lie. No wording holds a
word of verdict: none says that a picture is good or bad.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from foveal.attributes import ATTRIBUTES

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
        neutral: lowest and highest degree that speak neither for nor against an image.
    """

    name: str
    written: tuple[Phrasings, ...]
    understood: tuple[Phrasings, ...]
    merit: int
    measured: bool
    neutral: tuple[int, int]

    @property
    def degrees(self) -> int:
        """How many there are: 0 is the least of it, one less than this the most."""
        return len(self.written)

    def polarity(self, degree: int) -> int:
        """Whether this degree speaks for the image (1), against it (-1) or neither (0)."""
        low, high = self.neutral
        return self.merit * ((degree > high) - (degree < low))


_NONE: tuple[Phrasings, ...] = ((), (), (), (), ())
IMPRESSION_DEGREES = 9
"""Of each impression."""
_MEASURED_NEUTRAL, _IMPRESSION_NEUTRAL = (2, 2), (2, 3)

_IMPRESSIONS: dict[str, tuple[Phrasings, ...]] = {
    "rendering": (
        ("smeared and broken rendering", "broken rendering"),
        ("rough rendering", "smeared rendering"),
        ("passable rendering", "coarse rendering"),
        ("ordinary rendering", "plain rendering"),
        ("fairly clean rendering", "fairly neat rendering"),
        ("clean rendering", "neat rendering"),
        ("very clean rendering", "very neat rendering"),
        ("crisp and clean rendering", "crisp rendering"),
        ("immaculate rendering", "pristine rendering"),
    ),
    "scene": (
        ("a dismal scene", "a bleak scene"),
        ("a drab scene", "a dreary scene"),
        ("a plain scene", "a modest scene"),
        ("a common scene", "an everyday scene"),
        ("a pleasing scene", "an agreeable scene"),
        ("a vivid scene", "a lively scene"),
        ("a striking scene", "an engaging scene"),
        ("an impressive scene", "a splendid scene"),
        ("a stunning scene", "a magnificent scene"),
    ),
    "centre": (
        ("centre smeared and broken", "middle looks broken"),
        ("centre rendered roughly", "middle looks rough"),
        ("centre rendered passably", "middle looks passable"),
        ("centre rendered plainly", "middle looks ordinary"),
        ("centre rendered fairly cleanly", "middle looks fairly clean"),
        ("centre rendered cleanly", "middle looks clean"),
        ("centre rendered very cleanly", "middle looks very clean"),
        ("centre rendered crisply", "middle looks crisp"),
        ("centre rendered immaculately", "middle looks immaculate"),
    ),
    "surroundings": (
        ("surroundings smeared and broken", "edges look broken"),
        ("surroundings rendered roughly", "edges look rough"),
        ("surroundings rendered passably", "edges look passable"),
        ("surroundings rendered plainly", "edges look ordinary"),
        ("surroundings rendered fairly cleanly", "edges look fairly clean"),
        ("surroundings rendered cleanly", "edges look clean"),
        ("surroundings rendered very cleanly", "edges look very clean"),
        ("surroundings rendered crisply", "edges look crisp"),
        ("surroundings rendered immaculately", "edges look immaculate"),
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
    return Wording(
        name,
        written,
        _UNDERSTOOD.get(name, _NONE),
        ATTRIBUTES[name].merit,
        measured=True,
        neutral=_MEASURED_NEUTRAL,
    )


def _wordings() -> Mapping[str, Wording]:
    impressions = {
        name: Wording(
            name, phrases, ((),) * IMPRESSION_DEGREES, 1, measured=False, neutral=_IMPRESSION_NEUTRAL
        )
        for name, phrases in _IMPRESSIONS.items()
    }
    return MappingProxyType({**impressions, **{name: _wording(name) for name in ATTRIBUTES}})


WORDINGS: Mapping[str, Wording] = _wordings()
"""All attributes by name: the impressions first, then what is measured."""
IMPRESSIONS: tuple[str, ...] = tuple(_IMPRESSIONS)
"""Attributes that are taught by ratings, not measured."""
