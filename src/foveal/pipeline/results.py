"""Rows of an earlier run, read back: a table of results, or the partitions of a run on a cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from foveal.errors import OutputError, SourceError
from foveal.pipeline.addresses import is_url, suffix, without_file_protocol
from foveal.pipeline.formats import CsvFormat, JsonlFormat, RowFormat
from foveal.pipeline.manifest import partition_files
from foveal.pipeline.parquet import read_parquet
from foveal.pipeline.part_files import decode_part
from foveal.pipeline.rows import OtherColumnsError, Row
from foveal.pipeline.storage import open_store

_TEXT: dict[str, Callable[[Sequence[str]], RowFormat]] = {".csv": CsvFormat, ".jsonl": JsonlFormat}


def read_results(address: str, *, model: str, aspects: Sequence[str] = ()) -> Iterator[Row]:
    """Rows of a table, or of all partitions in a folder: in the order of the manifest, if the run has ended.

    Args:
        address: path of a CSV, JSON lines or Parquet file; path or URL of a folder of partitions.
        model: assessor that must have written it, ``name@version``.
        aspects: what that gives beside quality, in the order of its columns.

    Raises:
        SourceError: there is no such table or folder, it is damaged, or another model wrote it.
        MissingExtraError: it is Parquet, and pyarrow is not installed.
    """
    address = without_file_protocol(address)
    try:
        for row in _rows(address, aspects):
            if row.model != model:
                raise SourceError(f"{address}: written by {row.model}, not by {model}; name it with --model")
            yield row
    except OtherColumnsError as error:
        raise SourceError(
            f"{address}: its columns are not those of {model}; name the model that wrote it with --model"
        ) from error
    except OSError as error:
        raise SourceError(f"{address}: cannot be read ({error.strerror or error})") from error
    except (OutputError, ValueError) as error:
        raise SourceError(f"{address}: no results of foveal score, or damaged ({error})") from error


def _rows(address: str, aspects: Sequence[str]) -> Iterator[Row]:
    if is_url(address) or Path(address).is_dir():
        return _of_partitions(address, aspects)
    if suffix(address) in _TEXT:
        return _of_text(Path(address), _TEXT[suffix(address)](aspects))
    return read_parquet(Path(address), aspects)


def _of_partitions(address: str, aspects: Sequence[str]) -> Iterator[Row]:
    store = open_store(address)
    found = partition_files(store)
    if not found:
        raise ValueError("there are no partitions")
    for name in found:
        try:
            yield from decode_part(store.read(name) or b"", aspects).rows
        except OtherColumnsError:
            raise
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error


def _of_text(path: Path, form: RowFormat) -> Iterator[Row]:
    """All whole rows; a last one that was cut is passed over, as by ``--resume``."""
    with path.open("rb") as file:
        records = form.records(file)
        if form.header and (first := next(records, b"")) != form.header:
            _raise_other(first, form)
        for record in records:
            yield form.decode(record)


def _raise_other(header: bytes, form: RowFormat) -> None:
    if header.startswith(form.family):
        raise OtherColumnsError("other aspects")
    raise ValueError("its first line is another")
