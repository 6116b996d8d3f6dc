"""Assessors of a benchmark: what scores images as it is, and what is trained on each split first."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path

from foveal.evaluation.benchmark.rated_sets import RatedSet
from foveal.evaluation.pairs import Floats
from foveal.ratings.table import Ratings

Progress = Callable[[str, int, int], None]
"""Told of each step: what is being done, steps done, steps in all."""
Judge = Callable[[Ratings, Progress], Floats]
"""Images -> float64 [n], a score of each, higher is better. Their ratings are not for it."""


class Ready(ABC):
    """An assessor that is trained already, or needs no training.

    Attributes:
        training_data: what it has seen, in the words of its card; empty if nothing is stated.
    """

    training_data: str = ""

    @abstractmethod
    def identity(self, rated: RatedSet) -> Mapping[str, object] | None:
        """All that its scores on a set depend on, but for the images; None if it has none of this set."""

    @abstractmethod
    def judge(self, rated: RatedSet) -> Judge:
        """What scores images of a set."""


class Trainable(ABC):
    """A recipe: one assessor for each training part.

    Attributes:
        training_data: what it has seen before it is trained here, such as that of the weights it starts from.
    """

    training_data: str = ""

    @abstractmethod
    def identity(self) -> Mapping[str, object]:
        """All that a training depends on, but for the ratings."""

    @abstractmethod
    def train(self, learnt: Ratings, folder: Path, progress: Progress) -> Judge:
        """Train.

        Args:
            learnt: training and validation part by its ``split``; there is no test image in it.
            folder: for checkpoints and the model. Called again with the same folder after an interruption,
                it goes on there.
            progress: told of each step.
        """


Entrant = Ready | Trainable
