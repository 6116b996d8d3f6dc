"""Everything that is said of one or more assessors on one table of ratings, as text, Markdown and files."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from textwrap import fill

from foveal.errors import MissingExtraError
from foveal.evaluation.coverage import coverage_table
from foveal.evaluation.parts import parts_of
from foveal.evaluation.protocol import Predict, SplitsReport, fixed, over_splits
from foveal.evaluation.report import Report, report
from foveal.evaluation.scatter import require_matplotlib, scatter_svg, subset_colours
from foveal.evaluation.scores import Scores, scores_table
from foveal.evaluation.tables import Table
from foveal.evaluation.versus import Versus, against_first
from foveal.ratings.splits import seeded_splits
from foveal.ratings.table import Ratings

RESAMPLES = 2000
_LEGEND = (
    "SRCC, KRCC (tau-b) and PLCC are of the scores as they are; PLCC and RMSE marked -4 and -5 are after the "
    "logistic mapping with 4 and 5 parameters. RMSE is on the 1-5 scale. Scores are taken as higher is "
    "better: a negative figure is a wrong direction."
)


@dataclass(frozen=True, eq=False)
class Assessed:
    """One assessor in a study.

    Attributes:
        scores: what it says.
        report: its figures on all parts.
        splits: its figures over splits; None without splits.
    """

    scores: Scores
    report: Report
    splits: SplitsReport | None


@dataclass(frozen=True, eq=False)
class Study:
    """One or more assessors on one table.

    Attributes:
        title: the set and part.
        ratings: the images.
        assessed: the assessors, the first being the one that others are compared with.
        coverage: of the intervals of those that have some.
        versus: differences to the first assessor; None if it is alone.
        seed: of bootstrap and splits.
    """

    title: str
    ratings: Ratings
    assessed: tuple[Assessed, ...]
    coverage: Table
    versus: Versus | None
    seed: int

    def to_text(self) -> str:
        """For a terminal: the tables under their headings."""
        blocks = [f"{self.title}\n"]
        blocks += [f"{heading}\n{table.to_text()}" for heading, table in self._sections()]
        return "\n".join([*blocks, f"{fill(_LEGEND, 100)}\n"])

    def to_markdown(self, plots: Mapping[str, str] | None = None) -> str:
        """A document of its own.

        Args:
            plots: alternative text of each picture, by the picture's file name.
        """
        card = self.ratings.card
        blocks = [f"# {_escaped(self.title)}\n", f"{_LEGEND}\n"]
        for heading, table in [*self._sections(), *self._single_splits()]:
            blocks.append(f"## {_escaped(heading)}\n\n{table.to_markdown()}")
        for name, alternative in (plots or {}).items():
            blocks.append(f"![{_escaped(alternative)}]({name})\n")
        direction = "higher" if card.higher_is_better else "lower"
        source = [
            f"Ratings: {card.name}, scale {card.low:g} to {card.high:g}, {direction} is better.",
            f"Licence: {card.licence}.",
            *([f"{card.citation}."] if card.citation else []),
            *([card.note] if card.note else []),
            f"Intervals: {RESAMPLES:,} resamples, BCa; seed {self.seed}.",
        ]
        return "\n".join([*blocks, "## Source\n", _escaped(" ".join(source)), ""])

    def files(self) -> dict[str, str]:
        """Everything to keep, by file name: report.md, report.csv, scores.csv, scatter.svg and so on.

        Several assessors are numbered: 1-scores.csv, 2-scores.csv. A plot of each subset is there if there
        are two or more.

        Raises:
            MissingExtraError: matplotlib is not installed.
        """
        require_matplotlib()
        plots: dict[str, str] = {}
        alternatives: dict[str, str] = {}
        tables = {"report.csv": self._figures()}
        for number, one in enumerate(self.assessed, 1):
            prefix = f"{number}-" if len(self.assessed) > 1 else ""
            tables[f"{prefix}scores.csv"] = scores_table(one.scores, self.ratings)
            for part, name in self._plotted(prefix).items():
                plots[name] = self._plot(one.scores, part)
                alternatives[name] = f"Predicted against rated quality: {one.scores.label}, {part}"
        if self.versus is not None:
            tables["comparison.csv"] = self.versus.data()
        over = [(one.scores.label, one.splits.data()) for one in self.assessed if one.splits is not None]
        if over:
            tables["splits.csv"] = _stacked(over)
        return {
            "report.md": self.to_markdown(alternatives),
            **{name: table.to_csv() for name, table in tables.items()},
            **plots,
        }

    def _sections(self) -> list[tuple[str, Table]]:
        sections = [(one.scores.label, one.report.shown()) for one in self.assessed]
        if self.coverage.rows:
            sections.append(("Intervals: share of ratings inside", self.coverage))
        if self.versus is not None:
            heading = f"Against {self.versus.first} (positive: better; paired bootstrap, two-sided p)"
            sections.append((heading, self.versus.shown()))
        for one in self.assessed:
            if one.splits is not None:
                count = len(one.splits.results)
                heading = f"{one.scores.label}: test parts of {count} seeded grouped splits of these images"
                sections.append((heading, one.splits.summary()))
        return sections

    def _single_splits(self) -> list[tuple[str, Table]]:
        return [
            (f"{one.scores.label}: each split", one.splits.table())
            for one in self.assessed
            if one.splits is not None
        ]

    def _figures(self) -> Table:
        """Figures and coverage of all assessors, for programs."""
        figures = _stacked([(one.scores.label, one.report.data()) for one in self.assessed])
        covered = {row[:2]: row[3:] for row in self.coverage.rows}
        rows = [(*row, *covered.get(row[:2], ("", ""))) for row in figures.rows]
        return Table((*figures.headings, "coverage", "mean_width"), tuple(rows))

    def _plotted(self, prefix: str) -> dict[str, str]:
        """File name of the plot of each part that gets one: all, and every subset."""
        subsets = [part for part in parts_of(self.ratings) if part != "all"]
        names = {"all": f"{prefix}scatter.svg"}
        for part in subsets if len(subsets) > 1 else ():
            slug = re.sub(r"[^A-Za-z0-9_-]+", "-", part).strip("-") or "subset"
            name, number = f"{prefix}scatter-{slug}.svg", 2
            # On some disks small and capital letters are the same.
            while name.lower() in {other.lower() for other in names.values()}:
                name, number = f"{prefix}scatter-{slug}-{number}.svg", number + 1
            names[part] = name
        return names

    def _plot(self, scores: Scores, part: str) -> str:
        rows = parts_of(self.ratings)[part]
        return scatter_svg(
            scores.quality[rows],
            self.ratings.quality()[rows],
            title=f"{scores.label} on {self.ratings.card.name}, {part}",
            subsets=[self.ratings.subsets[row] for row in rows],
            colours=subset_colours(self.ratings.subsets),
        )


def require_extras(*, plots: bool) -> None:
    """Refuse at once what could not be computed or drawn later.

    Args:
        plots: whether :meth:`Study.files` will be called.

    Raises:
        MissingExtraError: SciPy, or for plots matplotlib, is not installed.
    """
    try:
        import scipy.stats  # noqa: F401
    except ImportError:
        raise MissingExtraError("An evaluation", "evaluation") from None
    if plots:
        require_matplotlib()


def evaluate(
    ratings: Ratings,
    scores: Sequence[Scores],
    *,
    title: str,
    leave_out: Collection[str] = (),
    splits: int = 0,
    seed: int = 0,
) -> Study:
    """Say everything that can be said of ready scores.

    Args:
        ratings: n images to report on.
        scores: of these images, one or more assessors with different labels. The first is what the others
            are compared with.
        title: heading of the report.
        leave_out: names of images that are not clean; without any there is no clean part.
        splits: number of seeded grouped splits of these images, whose test parts are reported; 0 for none.
        seed: of the bootstrap and of the first split.

    Returns:
        The study.

    Raises:
        ValueError: no scores, equal labels, a single split, or columns unfit for a figure; the message names
            the assessor.
        RatingsError: a name to leave out is not in the table, or there are too few groups to split.
        MissingExtraError: SciPy is not installed.
    """
    labels = [one.label for one in scores]
    if not labels:
        raise ValueError("there are no scores to evaluate")
    if len(set(labels)) < len(labels):
        raise ValueError(f"two assessors have the same label: {', '.join(labels)}")
    parts = seeded_splits(ratings, count=splits, seed=seed) if splits else ()
    assessed = []
    for one in scores:
        try:
            figures = report(ratings, one.quality, leave_out=leave_out, resamples=RESAMPLES, seed=seed)
            over = over_splits(ratings, parts, fixed(_known(one, ratings))) if parts else None
        except ValueError as error:
            raise ValueError(f"{one.label}: {error}") from error
        assessed.append(Assessed(one, figures, over))
    alone = len(labels) == 1
    return Study(
        title=title,
        ratings=ratings,
        assessed=tuple(assessed),
        coverage=coverage_table(ratings, scores, leave_out),
        versus=None if alone else against_first(ratings, scores, leave_out, resamples=RESAMPLES, seed=seed),
        seed=seed,
    )


def _known(scores: Scores, ratings: Ratings) -> Predict:
    """Look scores up that are already made."""
    return lambda part: scores.quality[ratings.indices(part.names)]


def _stacked(tables: Sequence[tuple[str, Table]]) -> Table:
    """Tables of several assessors as one, with a column for the assessor."""
    headings = ("assessor", *tables[0][1].headings)
    return Table(headings, tuple((label, *row) for label, table in tables for row in table.rows))


def _escaped(text: str) -> str:
    """Text that Markdown shows as it is."""
    return re.sub(r"([\\`*_\[\]<>|$#])", r"\\\1", text)
