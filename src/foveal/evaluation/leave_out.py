"""Lists of images that are not clean: near copies of training images, or any names."""

from __future__ import annotations

from pathlib import Path

from foveal.errors import RatingsError
from foveal.evaluation.scores import IMAGE_HEADINGS
from foveal.ratings.biq2021 import read_near_copies
from foveal.ratings.files import READERS, column, read_columns
from foveal.ratings.table import duplicates, listing

_NEIGHBOURS = {"test_image", "similarity"}


def read_leave_out(path: str | Path, *, near_above: float = 0.9) -> tuple[str, ...]:
    """Read names of images to leave out of the clean part.

    Args:
        path: one of three: a table with the columns ``test_image`` and ``similarity``, such as BIQ2021's
            ``test-neighbours.csv``; another table with a column ``image`` or ``source``; or plain text, a
            name a line, empty lines ignored.
        near_above: of the first kind, images of greater similarity are meant.

    Returns:
        Names in the file's order, at least one.

    Raises:
        RatingsError: the file is missing, malformed or empty, or names an image twice.
    """
    path = Path(path)
    names = _in_table(path, near_above) if path.suffix.lower() in READERS else _lines(path)
    twice = duplicates(names)
    if twice:
        raise RatingsError(f"{path}: {listing(twice, 'name')} more than once; keep one of each")
    if not names:
        raise RatingsError(f"{path}: names no image; do without it if all images are clean")
    return tuple(names)


def _in_table(path: Path, near_above: float) -> list[str]:
    cells = read_columns(path)
    if set(cells) >= _NEIGHBOURS:
        return list(read_near_copies(path, near_above))
    heading = next((name for name in IMAGE_HEADINGS if name in cells), None)
    if heading is None:
        raise RatingsError(
            f"{path}: there is no column {' or '.join(map(repr, IMAGE_HEADINGS))}; there are "
            f"{', '.join(cells)}. A list without headings is read from a .txt file"
        )
    return [name for name in column(cells, heading, path) if name]


def _lines(path: Path) -> list[str]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise RatingsError(f"{path}: there is no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise RatingsError(f"{path}: cannot be read: {error}") from error
    return [line.strip() for line in text.splitlines() if line.strip()]
