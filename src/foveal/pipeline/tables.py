"""A table on disk that grows row by row and can be taken up again after any crash."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from foveal.errors import OutputError
from foveal.pipeline.discover import identity
from foveal.pipeline.files import RecordFile
from foveal.pipeline.formats import RowFormat
from foveal.pipeline.rows import OtherColumnsError, Row


def other_columns(path: Path, model: str) -> OutputError:
    """What to say of a table whose columns are those of an assessor with other aspects."""
    return OutputError(
        f"{path}: its columns are not those of {model}; "
        "resume with the model that wrote it, or choose another file or --overwrite"
    )


class Table:
    """Rows in one file.

    Opening it reads back the rows that are there, cuts off a half-written last one, and refuses a file that
    is not a table of results or that another model wrote; ``fresh`` throws away whatever is there.
    """

    def __init__(self, path: Path, form: RowFormat, *, model: str, fresh: bool = False) -> None:
        self._path = path
        self._form = form
        self._done: set[str] = set()
        self._kept = 0
        if path.exists() and not fresh:
            self._read_back(model)
        self._file = RecordFile(path, self._kept)
        if not self._kept and form.header:
            self._file.append(form.header)

    def __contains__(self, source: str) -> bool:
        return identity(source) in self._done

    def append(self, row: Row) -> None:
        """Write one row."""
        self._file.append(self._form.encode(row))
        self._done.add(identity(row.source))

    def rows(self) -> Iterator[Row]:
        """All rows in the file so far, in order."""
        try:
            yield from (row for row, _ in self._stored())
        except OSError as error:
            raise OutputError(f"{self._path}: cannot read ({error.strerror})") from error

    def close(self) -> None:
        """Bring everything to the disk."""
        self._file.close()

    def _read_back(self, model: str) -> None:
        try:
            self._refuse_foreign(model)
            for row, end in self._stored():
                if row.model != model:
                    raise OutputError(
                        f"{self._path}: written by {row.model}, not by {model}; "
                        "resume with that model, or choose another file or --overwrite"
                    )
                self._done.add(identity(row.source))
                self._kept = end
        except OtherColumnsError as error:
            raise other_columns(self._path, model) from error
        except OSError as error:
            raise OutputError(f"{self._path}: cannot read ({error.strerror})") from error

    def _refuse_foreign(self, model: str) -> None:
        """Look at the first bytes, so that resuming never cuts a file that something else wrote."""
        with self._path.open("rb") as file:
            start = file.read(len(self._form.opening))
        if not self._form.opening.startswith(start):
            if start.startswith(self._form.family):
                raise other_columns(self._path, model)
            raise OutputError(
                f"{self._path}: not a table of Foveal's results; choose another file or --overwrite"
            )
        if self._form.header and start == self._form.header:
            self._kept = len(start)

    def _stored(self) -> Iterator[tuple[Row, int]]:
        """Give every whole row with the offset of its end."""
        end = 0
        with self._path.open("rb") as file:
            try:
                for record in self._form.records(file):
                    if record != self._form.header:
                        yield self._form.decode(record), end + len(record)
                    end += len(record)
            except OtherColumnsError:
                raise
            except ValueError as error:
                raise OutputError(
                    f"{self._path}: damaged at byte {end} ({error}); mend it or use --overwrite"
                ) from error
