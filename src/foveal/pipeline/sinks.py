"""Where results go: CSV, JSON lines or Parquet, safe against crashes and against two writers at once."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from foveal.assessment import Assessment, Failure
from foveal.errors import OutputError
from foveal.pipeline.files import Lock, lock_output
from foveal.pipeline.formats import CsvFormat, JsonlFormat, RowFormat
from foveal.pipeline.parquet import (
    printable,
    printable_row,
    read_parquet,
    require_pyarrow,
    write_parquet,
)
from foveal.pipeline.rows import OtherColumnsError, Row, to_row
from foveal.pipeline.tables import Table, other_columns

_APPENDABLE: dict[str, Callable[[Sequence[str]], RowFormat]] = {".csv": CsvFormat, ".jsonl": JsonlFormat}


class Sink(ABC):
    """A table of results on disk; a context manager that completes the file unless an exception passes.

    ``source in sink`` tells whether an image has its row already, be it a score or an error.
    """

    def __init__(self, path: Path, lock: Lock, table: Table, model: str, aspects: tuple[str, ...]) -> None:
        self.path = path
        self._lock = lock
        self._table = table
        self._model = model
        self._aspects = aspects

    def __contains__(self, source: str) -> bool:
        return source in self._table

    def append(self, result: Assessment | Failure) -> None:
        """Write the row of one result; it outlives any death of this process.

        Raises:
            OutputError: it cannot be written.
            ValueError: it has an aspect that has no column.
        """
        self._table.append(self._row(result))

    def _row(self, result: Assessment | Failure) -> Row:
        return to_row(result, self._model, self._aspects)

    def rows(self) -> Iterator[Row]:
        """All rows written so far, also by the runs that this one resumes."""
        return self._table.rows()

    @abstractmethod
    def _complete(self) -> None:
        """Bring the file into its final form; all rows are written."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self._table.close()
            if kind is None:
                self._complete()
        finally:
            self._lock.release()


def open_sink(
    path: str | Path,
    *,
    model: str,
    aspects: Sequence[str] = (),
    resume: bool = False,
    overwrite: bool = False,
) -> Sink:
    """Open a table of results.

    Args:
        path: ends in ``.csv``, ``.jsonl`` or ``.parquet``.
        model: assessor whose rows they will be, ``name@version``.
        aspects: what it gives beside quality; each has a column, in this order.
        resume: keep the rows that are there and add to them; also fine if there are none yet.
        overwrite: throw away what is there.

    Raises:
        OutputError: the ending is not known, there is such a file or folder already, it is not a table of
            results or one of another model, another process is writing it, or it cannot be written.
        ValueError: an aspect has the name of another column.
        MissingExtraError: Parquet is wanted but pyarrow is not installed.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in (*_APPENDABLE, ".parquet"):
        raise OutputError(f"{path}: unknown kind of output; choose a name with .csv, .jsonl or .parquet")
    if resume and overwrite:
        raise OutputError(f"{path}: either resume or overwrite it, not both")
    if path.is_dir():
        raise OutputError(f"{path}: is a folder; give the name of a file (--engine ray writes folders)")
    if not path.parent.is_dir():
        raise OutputError(f"{path}: there is no folder {path.parent}; create it first")
    if suffix == ".parquet":
        require_pyarrow()
    lock = lock_output(path)
    try:
        if not (resume or overwrite):
            _refuse_existing(path)
        if suffix == ".parquet":
            table = _open_journal(path, model, tuple(aspects), overwrite)
            return _ParquetSink(path, lock, table, model, tuple(aspects))
        table = Table(path, _APPENDABLE[suffix](aspects), model=model, fresh=overwrite)
        return _TextSink(path, lock, table, model, tuple(aspects))
    except BaseException:
        lock.release()
        raise


class _TextSink(Sink):
    """CSV or JSON lines: complete after every row."""

    def _complete(self) -> None:
        pass


class _ParquetSink(Sink):
    """Parquet: rows go to a journal beside it, the file is written at the end."""

    def __contains__(self, source: str) -> bool:
        return super().__contains__(printable(source))

    def append(self, result: Assessment | Failure) -> None:
        self._table.append(printable_row(self._row(result)))

    def _complete(self) -> None:
        write_parquet(self.path, self.rows(), self._aspects)
        _journal_of(self.path).unlink(missing_ok=True)


def _open_journal(path: Path, model: str, aspects: tuple[str, ...], fresh: bool) -> Table:
    """Open the journal; where the last run came to its end, make it again from the Parquet file."""
    journal, form = _journal_of(path), JsonlFormat(aspects)
    if path.exists() and not journal.exists() and not fresh:
        try:
            _rebuild(journal, form, read_parquet(path, aspects), model)
        except OtherColumnsError as error:
            raise other_columns(path, model) from error
    return Table(journal, form, model=model, fresh=fresh)


def _rebuild(journal: Path, form: RowFormat, rows: Iterable[Row], model: str) -> None:
    """Make a journal of rows, whole or not at all."""
    partial = journal.with_name(journal.name + ".partial")
    try:
        table = Table(partial, form, model=model, fresh=True)
        for row in rows:
            table.append(row)
        table.close()
        Table(partial, form, model=model).close()  # reading it back checks whose rows they are
        partial.replace(journal)
    finally:
        partial.unlink(missing_ok=True)


def _journal_of(path: Path) -> Path:
    return path.with_name(path.name + ".journal.jsonl")


def _refuse_existing(path: Path) -> None:
    for file in (path, _journal_of(path)):
        if file.exists():
            raise OutputError(f"{file}: exists already; use --resume to go on or --overwrite to start again")
