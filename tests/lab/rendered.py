"""Rendered pictures of coloured shapes and the prompts that describe them: what a picture shows is known.

A scene is said in words of which each decides on one thing: "two red circles on the left". Pictures of a
scene differ in where exactly its shapes lie, in their size and shade, in the background and in noise.
"""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from foveal.ratings.table import DatasetCard, Ratings

SIDE = 80
"""Pixels of a side of a picture."""
NOISIEST = 25.0
"""Largest standard deviation of the noise, of 255."""
CELLS = 5
"""Pictures are divided into so many cells a side; shapes lie in the three middle ones along an edge."""

COUNTS = {"one": 1, "two": 2, "three": 3}
COLOURS = {
    "red": (215, 45, 45),
    "green": (50, 170, 60),
    "blue": (50, 80, 220),
    "yellow": (235, 210, 50),
    "white": (245, 245, 245),
    "black": (15, 15, 15),
    "purple": (150, 40, 180),
    "cyan": (60, 220, 220),
}
SHAPES = ("circle", "square", "triangle", "cross")
PLACES = ("on the left", "on the right", "at the top", "at the bottom")
ATTRIBUTES = ("count", "colour", "shape", "place")
MATCHING, MISMATCHING = 4.5, 1.5
"""Correspondence of a prompt that fits the picture, and of one that does not; people differ by up to .4."""


@dataclass(frozen=True, order=True)
class Scene:
    """What a picture shows: so many shapes of one kind and colour along one edge."""

    count: str
    colour: str
    shape: str
    place: str

    @property
    def prompt(self) -> str:
        """Six words, such as "two red circles on the left"."""
        ending = "s" if self.count != "one" else ""
        shape = "crosse" if self.shape == "cross" and ending else self.shape
        return f"{self.count} {self.colour} {shape}{ending} {self.place}"

    def differences(self, other: Scene) -> tuple[str, ...]:
        """Attributes in which two scenes differ."""
        return tuple(name for name in ATTRIBUTES if getattr(self, name) != getattr(other, name))


def all_scenes() -> list[Scene]:
    """All 384 of them."""
    return [Scene(*words) for words in itertools.product(COUNTS, COLOURS, SHAPES, PLACES)]


def render(scene: Scene, noise: float, generator: np.random.Generator) -> NDArray[np.uint8]:
    """Draw a scene: uint8 (80, 80, 3)."""
    picture = Image.new("RGB", (SIDE, SIDE), (int(generator.integers(70, 130)),) * 3)
    draw = ImageDraw.Draw(picture)
    cell = SIDE / CELLS
    for slot in generator.permutation(3)[: COUNTS[scene.count]]:
        along = (slot + 1.5) * cell + generator.uniform(-2, 2)
        across = 0.5 * cell + generator.uniform(-1, 2)
        if scene.place in ("on the right", "at the bottom"):
            across = SIDE - across
        beside = scene.place in ("on the left", "on the right")
        shade = np.clip(np.add(COLOURS[scene.colour], generator.integers(-12, 13, 3)), 0, 255)
        _draw_shape(
            draw,
            scene.shape,
            (across, along) if beside else (along, across),
            generator.uniform(6, 7.5),
            tuple(int(value) for value in shade),
        )
    pixels = np.asarray(picture) + generator.normal(0, noise, (SIDE, SIDE, 3))
    return np.clip(pixels, 0, 255).astype(np.uint8)


def _draw_shape(
    draw: ImageDraw.ImageDraw, shape: str, centre: tuple[float, float], radius: float, colour: Any
) -> None:
    x, y = centre
    box = (x - radius, y - radius, x + radius, y + radius)
    if shape == "circle":
        draw.ellipse(box, fill=colour)
    elif shape == "square":
        draw.rectangle(box, fill=colour)
    elif shape == "triangle":
        draw.polygon([(x, y - radius), (x + radius, y + radius), (x - radius, y + radius)], fill=colour)
    else:
        arm = radius / 3
        draw.rectangle((x - radius, y - arm, x + radius, y + arm), fill=colour)
        draw.rectangle((x - arm, y - radius, x + arm, y + radius), fill=colour)


@dataclass(frozen=True)
class Pair:
    """Two scenes that differ in one attribute: each one's prompt is wrong for the other one's picture."""

    first: Scene
    second: Scene

    @property
    def attribute(self) -> str:
        """What they differ in."""
        (name,) = self.first.differences(self.second)
        return name


def draw_pairs(scenes: Sequence[Scene], count: int, generator: np.random.Generator) -> list[Pair]:
    """Draw pairs, as many of each attribute."""
    by_attribute: dict[str, list[Pair]] = {name: [] for name in ATTRIBUTES}
    for first, second in itertools.permutations(scenes, 2):
        if len(first.differences(second)) == 1:
            pair = Pair(first, second)
            by_attribute[pair.attribute].append(pair)
    return [
        pairs[index]
        for pairs in by_attribute.values()
        for index in generator.integers(0, len(pairs), count // len(ATTRIBUTES))
    ]


def rate(folder: Path, parts: dict[str, Sequence[Pair]], generator: np.random.Generator) -> Ratings:
    """Render both scenes of each pair, and rate each picture twice: with its own prompt, and the other one's.

    So neither a picture nor a prompt alone says anything of the correspondence: each occurs as often with a
    high one as with a low one. Quality falls with the noise, and has nothing to do with the prompt.

    Args:
        folder: where the pictures go, as PNG; each stands there under two names.
        parts: pairs of each part of the split. Groups are the pairs, subsets what their scenes differ in.
        generator: source of chance.
    """
    rows: list[dict[str, Any]] = []
    for part, pairs in parts.items():
        for number, pair in enumerate(pairs):
            for own, other in ((pair.first, pair.second), (pair.second, pair.first)):
                noise = generator.uniform(0, NOISIEST)
                name = f"{part}-{number}-{'a' if own is pair.first else 'b'}"
                path, copy = folder / f"{name}-own.png", folder / f"{name}-other.png"
                Image.fromarray(render(own, noise, generator)).save(path)
                shutil.copy(path, copy)
                for image, scene, fits in ((path, own, MATCHING), (copy, other, MISMATCHING)):
                    rows.append(
                        {
                            "image": image,
                            "prompt": scene.prompt,
                            "quality": 5 - 4 * noise / NOISIEST,
                            "correspondence": fits + generator.uniform(-0.4, 0.4),
                            "group": f"{part}-{number}",
                            "subset": pair.attribute,
                            "split": part,
                        }
                    )

    def column(name: str) -> tuple[Any, ...]:
        return tuple(row[name] for row in rows)

    return Ratings(
        card=DatasetCard("rendered", 1, 5),
        images=column("image"),
        scores={name: np.array(column(name)) for name in ("quality", "correspondence")},
        groups=column("group"),
        subsets=column("subset"),
        split=column("split"),
        prompts=column("prompt"),
    )
