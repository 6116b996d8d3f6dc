"""The explainer: a score, what is seen, the verdict that follows from it, and what would change it."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from foveal.assessor import Assessor
from foveal.attributes import Reading, measure
from foveal.errors import CorruptArtifactError, ImageError, UnknownModelError
from foveal.explanation.card import ExplainerCard
from foveal.explanation.decoder import Decoder
from foveal.explanation.describer import Describer
from foveal.explanation.disagreement import differ, disagreements
from foveal.explanation.explanation import Explanation, Seen, Told, Verdict, WhatIf
from foveal.explanation.eyes import Eyes
from foveal.explanation.file import NAME, SUFFIX, ExplainerModel, read_explainer_file
from foveal.explanation.judge import Judge, Probabilities
from foveal.explanation.wordings import WORDINGS
from foveal.explanation.words import Statement, edited, statements
from foveal.imaging.decode import Decoded, decode
from foveal.imaging.limits import Limits
from foveal.imaging.views import Pixels

MOVED = 0.01
"""Changes of the verdict up to this size, on 1-5, move nothing."""

_PLACE = re.compile(r" \(([^)]*)\)")


class Explainer:
    """Explains images. An explanation depends on the image alone. Safe to use from several threads.

    Two stages, with nothing between them but text: the describer sees the image and says what it sees; the
    judge reads what was said. :func:`load_explainer` makes one from a file.

    Args:
        model: eyes, describer and judge.
        assessor: gives score and interval; reads no prompts.
        limits: sizes of images that are accepted.

    Raises:
        DeviceError: OpenVINO does not load here.
        ArtifactError: the model cannot be used.
    """

    def __init__(self, model: ExplainerModel, assessor: Assessor, *, limits: Limits | None = None) -> None:
        settings, self._card = model.settings, model.card
        self._assessor = assessor
        self._limits = limits or Limits()
        self._levels = dict(settings.levels)
        self._eyes = Eyes(model.eyes, model.card.model)
        try:
            describing = Decoder(model.describer, settings.describer)
            self._describer = Describer(describing, settings.vocabulary, settings.conversation)
            self._judge = Judge(Decoder(model.judge, settings.judge), settings)
        except ValueError as error:
            raise CorruptArtifactError(f"{model.card.model}: {error}") from error
        self._width = describing.width

    @property
    def card(self) -> ExplainerCard:
        """What this explainer is, and how well it does."""
        return self._card

    def __call__(self, image: Any, *, name: str | None = None) -> Explanation:
        """Explain one image.

        Args:
            image: whatever an assessor takes (path, bytes, binary file object, PIL image or array), or one
                that is decoded already.
            name: what to call it; by default its file's name.

        Raises:
            ImageError: the image cannot be judged; each reason has a class of its own in
                :mod:`foveal.errors`.
            FovealError: a model gives no finite number.
        """
        decoded = image if isinstance(image, Decoded) else self._decode(image, name)
        assessment = self._assessor(decoded.pixels, name=name or decoded.name)
        tokens, quality_map = self._eyes.look(decoded.pixels)
        if tokens.shape[1] != self._width:
            found = f"its eyes give {tokens.shape[1]} features a token, its describer reads {self._width}"
            raise CorruptArtifactError(f"{self._card.model}: {found}")
        description = self._describer.describe(tokens)
        seen, verdict = self._judged(description.text, decoded.pixels)
        changes = [change for one in seen for change in one.what_if]
        return Explanation(
            assessment=assessment,
            description=description.text,
            seen=seen,
            verdict=verdict,
            up=_most(changes, 1),
            down=_most(changes, -1),
            quality_map=quality_map,
            disagreements=disagreements(assessment.interval, verdict, seen),
            model=self._card.model,
            warnings=(
                *dict.fromkeys((*decoded.warnings, *assessment.warnings)),
                *(() if description.finished else ("the description was cut off at its greatest length",)),
                *(() if seen else ("the description tells of nothing that is known",)),
            ),
        )

    def _decode(self, image: Any, name: str | None) -> Decoded:
        try:
            return decode(image, limits=self._limits)
        except ImageError as error:
            if not name or error.source == name:
                raise
            raise type(error)(name, error.reason, error.advice) from error

    def _judged(self, text: str, pixels: Pixels) -> tuple[tuple[Seen, ...], Verdict]:
        """Attributes and verdict of a description; only the meters look at the pixels."""
        told = statements(text)
        wanted = [(one, degree) for one in told for degree in other_degrees(one)]
        texts = [text, *(edited(text, one.attribute, degree) for one, degree in wanted)]
        rows = self._judge.judge(texts)
        verdict = self._verdict(rows[0])
        changes: dict[str, list[WhatIf]] = {one.attribute: [] for one in told}
        for (one, degree), row in zip(wanted, rows[1:], strict=True):
            changes[one.attribute].append(self._what_if(one.attribute, degree, row, verdict))
        readings = measure(pixels) if told else {}
        return tuple(_seen(text, one, readings, changes[one.attribute]) for one in told), verdict

    def _verdict(self, row: Probabilities) -> Verdict:
        words, worth = list(self._levels), np.array(list(self._levels.values()))
        level = words[int(row.argmax())]
        chances = {word: float(chance) for word, chance in zip(words, row, strict=True)}
        return Verdict(level, self._levels[level], float(row @ worth), chances)

    def _what_if(self, attribute: str, degree: int, row: Probabilities, verdict: Verdict) -> WhatIf:
        then = self._verdict(row)
        phrase = WORDINGS[attribute].written[degree][0]
        return WhatIf(attribute, degree, phrase, then.quality, then.quality - verdict.quality, then.level)


def load_explainer(
    path: str | os.PathLike[str] | None = None,
    *,
    assessor: Assessor | None = None,
    limits: Limits | None = None,
) -> Explainer:
    """Make an explainer ready to use. Nothing is fetched: it comes with the package or lies on your disk.

    Args:
        path: an explainer's file; by default the shipped one.
        assessor: gives score and interval; by default the shipped one.
        limits: sizes of images that are accepted; by default those of :class:`foveal.imaging.limits.Limits`.

    Raises:
        UnknownModelError: there is no such file, or none is shipped.
        ArtifactError: the file is not a usable explainer; see its subclasses.
        DeviceError: OpenVINO does not load here.
    """
    import foveal

    model = read_explainer_file(shipped() if path is None else path)
    return Explainer(model, assessor or foveal.load(limits=limits), limits=limits)


def shipped() -> Path:
    """File of the shipped explainer.

    Raises:
        UnknownModelError: this installation has none.
    """
    from foveal import weights

    path = Path(weights.__file__).parent / f"{NAME}{SUFFIX}"
    if not path.is_file():
        raise UnknownModelError(f"{path.name}: this installation has no explainer; give the file of one")
    return path


def other_degrees(statement: Statement) -> tuple[int, ...]:
    """What could be said of an attribute instead: its worst and best degree, or all where merit depends."""
    wording = WORDINGS[statement.attribute]
    every = range(wording.degrees) if wording.merit == 0 else (0, wording.degrees - 1)
    return tuple(degree for degree in every if degree != statement.degree)


def _most(changes: Sequence[WhatIf], direction: int) -> WhatIf | None:
    """The change that moves the verdict most in a direction; of equals the first."""
    best = max(changes, key=lambda one: direction * one.change, default=None)
    return best if best is not None and direction * best.change > MOVED else None


def _seen(text: str, one: Statement, readings: Mapping[str, Reading], changes: Sequence[WhatIf]) -> Seen:
    place = _PLACE.match(text, one.end)
    said = Told(one.degree, text[one.start : one.end].lower(), place and place.group(1))
    seen = Seen(one.attribute, one.polarity, said, None, differs=False, what_if=tuple(changes))
    reading = readings.get(one.attribute)
    if reading is None:
        return seen
    measured = Told(reading.degree, reading.phrase, reading.place, reading.value)
    return replace(seen, measured=measured, differs=differ(one.degree, reading.degree))
