"""Runs over partitions without a cluster: fresh, resumed, over others' results, two at once."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow.dataset
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import foveal
from foveal.assessor import Assessor
from foveal.errors import ClusterError, OutputError, SourceError
from foveal.imaging.limits import Limits
from foveal.pipeline.cluster import Beginning, Executor, Outcome, Planned, run_partitions
from foveal.pipeline.lock import LOCK, Pace, RunLock
from foveal.pipeline.manifest import MANIFEST, Run
from foveal.pipeline.part_files import Part, decode_part, encode_part, part_name
from foveal.pipeline.partition_worker import Fetching, PartitionWorker
from foveal.pipeline.partitions import Partition, partitions
from foveal.pipeline.receipts import Receipt, receipt_of
from foveal.pipeline.rows import Row
from foveal.pipeline.storage import LocalStore, Store

RUN = Run("1.0", "m@1", "f" * 64, partition_size=3, max_pixels=10)
NAMES = [f"{number}.jpg" for number in range(10)]
FRESH, RESUME, OVERWRITE = Beginning.FRESH, Beginning.RESUME, Beginning.OVERWRITE
FAST = Pace(renewed=0.02, patience=0.4)


class Killed(BaseException):
    """The end of a driver, which no handler of exceptions delays."""


class HereExecutor(Executor):
    """Works in this process; rows are made up from the names.

    Args:
        store: where partitions go.
        names: images.
        run: what the partitions belong to.
        dies_after: partitions that are written before everything ends.
    """

    def __init__(
        self, store: Store, names: list[str] = NAMES, run: Run = RUN, dies_after: int | None = None
    ) -> None:
        self.store, self.run, self.dies_after = store, run, dies_after
        self.found = list(partitions(((name, None) for name in names), "", run.partition_size))
        self.written: list[str] = []
        self.locked, self.ended = store, False

    def __exit__(self, *error: object) -> None:
        assert self.locked.read(LOCK) is not None, "others may begin while somebody still works"
        self.ended = True

    def plan(self) -> Iterator[Planned]:
        planned = [Planned(0, place, one.id, len(one.items)) for place, one in enumerate(self.found)]
        yield from random.Random(0).sample(planned, len(planned))

    def score(self) -> Iterator[Receipt]:
        for one in reversed(self.found):
            if self.dies_after is not None and len(self.written) >= self.dies_after:
                raise Killed
            yield self.judge(one)

    def judge(self, partition: Partition) -> Receipt:
        content = self.store.read(part_name(partition.id))
        try:
            return receipt_of(decode_part(content or b""), content or b"", kept=True)
        except ValueError:
            self.written.append(partition.id)
        part = Part(partition.id, self.run.to_json(), tuple(row(name) for name, _ in partition.items))
        content = encode_part(part)
        self.store.write(part_name(partition.id), content)
        return receipt_of(part, content, kept=False)


def row(name: str) -> Row:
    digest = int(hashlib.sha256(name.encode()).hexdigest()[:8], 16)
    if digest % 5 == 0:
        return Row(name, None, None, None, RUN.model, error="there is no such file")
    quality = 1 + 4 * digest / 2**32
    return Row(name, quality, quality, quality, RUN.model)


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(str(tmp_path / "out"))


def contents(store: LocalStore) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in Path(store.address).iterdir()}


def work(store: LocalStore, beginning: Beginning = FRESH, **options: object) -> HereExecutor:
    executor = HereExecutor(store, **options)  # type: ignore[arg-type]
    run_partitions(executor, store, executor.run, beginning, pace=FAST)
    return executor


def kill(store: LocalStore, beginning: Beginning, dies_after: int) -> None:
    with pytest.raises(Killed):
        work(store, beginning, dies_after=dies_after)


def test_a_run_leaves_partitions_and_a_manifest_that_describes_them(store: LocalStore) -> None:
    executor = HereExecutor(store)
    outcome = run_partitions(executor, store, RUN, FRESH, pace=FAST)
    failures = sum(row(name).quality is None for name in NAMES)
    assert outcome == Outcome(partitions=4, kept=0, rows=10, failures=failures)
    found = contents(store)
    manifest = json.loads(found.pop(MANIFEST))
    assert manifest["run"] == json.loads(RUN.to_json())
    assert (manifest["rows"], manifest["failures"]) == (10, failures)
    # In the order of the images, whatever the order of the work.
    assert [entry["file"] for entry in manifest["partitions"]] == [part_name(p.id) for p in executor.found]
    for entry in manifest["partitions"]:
        content = found.pop(entry["file"])
        assert entry["bytes"] == len(content)
        assert entry["sha256"] == hashlib.sha256(content).hexdigest()
        rows = decode_part(content).rows
        assert entry["rows"] == len(rows)
        assert entry["failures"] == sum(row.quality is None for row in rows)
    assert found == {}


def test_readers_of_parquet_folders_take_it_as_it_is(store: LocalStore) -> None:
    work(store)
    sources = pyarrow.dataset.dataset(store.address).to_table(columns=["source"])["source"].to_pylist()
    assert sorted(sources) == sorted(NAMES)


@settings(max_examples=25, deadline=None)
@given(deaths=st.lists(st.integers(0, 4), max_size=4), seed=st.integers(0, 100))
def test_killed_again_and_again_it_ends_as_an_undisturbed_run(
    tmp_path_factory: pytest.TempPathFactory, deaths: list[int], seed: int
) -> None:
    """Drivers die after some partitions, files of dead writers lie about, and some partitions are torn."""
    folder, chance = tmp_path_factory.mktemp("runs"), random.Random(seed)
    whole, store = LocalStore(str(folder / "whole")), LocalStore(str(folder / "out"))
    work(whole)
    for dies_after in deaths:
        executor = HereExecutor(store, dies_after=dies_after)
        try:
            run_partitions(executor, store, RUN, RESUME, pace=FAST)
        except Killed:
            assert len(executor.written) == dies_after
        Path(store.address, f"_unfinished-{chance.random()}").write_bytes(b"half")
        for path in Path(store.address).glob("part-*"):
            if chance.random() < 0.3:
                path.write_bytes(path.read_bytes()[: chance.randrange(path.stat().st_size)])
    work(store, RESUME)
    assert contents(store) == contents(whole)


def test_finished_partitions_are_not_judged_again(store: LocalStore) -> None:
    kill(store, FRESH, 2)
    before = contents(store)
    assert len(before) == 2
    executor = work(store, RESUME)
    assert len(executor.written) == 2
    after = contents(store)
    assert {name: after[name] for name in before} == before
    assert work(store, RESUME).written == []
    assert contents(store) == after


def test_a_damaged_partition_is_judged_again_also_after_the_end(store: LocalStore) -> None:
    work(store)
    whole = contents(store)
    name = sorted(name for name in whole if name.startswith("part-"))[1]
    altered = bytearray(whole[name])
    altered[len(altered) // 2] ^= 4
    Path(store.address, name).write_bytes(altered)
    assert [part_name(one) for one in work(store, RESUME).written] == [name]
    assert contents(store) == whole


def test_a_damaged_manifest_is_written_again(store: LocalStore) -> None:
    work(store)
    whole = contents(store)
    store.write(MANIFEST, b'{"format": "foveal-man')
    assert work(store, RESUME).written == []
    assert contents(store) == whole


def test_results_are_safe_unless_resumed_or_overwritten(store: LocalStore) -> None:
    kill(store, FRESH, 1)
    before = contents(store)
    with pytest.raises(OutputError, match=r"results are there already; use --resume .* or --overwrite"):
        work(store)
    assert contents(store) == before
    assert len(work(store, OVERWRITE, names=NAMES[:2]).written) == 1
    assert len(contents(store)) == 2


def test_overwriting_touches_results_only(store: LocalStore) -> None:
    work(store)
    store.write("notes.txt", b"mine")
    store.write("part-of-mine.parquet", b"mine")
    work(store, OVERWRITE)
    assert store.read("notes.txt") == store.read("part-of-mine.parquet") == b"mine"


def test_nothing_is_deleted_when_the_images_cannot_be_listed(store: LocalStore) -> None:
    work(store)
    before = contents(store)
    with pytest.raises(SourceError, match="there are no images"):
        work(store, OVERWRITE, names=[])
    assert contents(store) == before


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"model": "n@2"}, r"was written with model m@1, not with n@2"),
        ({"fingerprint": "e" * 64}, "fingerprint ffff"),
        ({"partition_size": 5}, "partition_size 3, not with 5"),
        ({"max_pixels": 9}, "max_pixels 10, not with 9"),
        ({"prompt": "a fox"}, "prompt None, not with a fox"),
        ({"foveal": "2.0"}, "foveal 1.0, not with 2.0"),
    ],
)
@pytest.mark.parametrize("finished", [True, False])
def test_a_run_with_other_settings_refuses_to_go_on(
    store: LocalStore, change: dict[str, object], said: str, finished: bool
) -> None:
    if finished:
        work(store)
    else:
        kill(store, FRESH, 2)
    before = contents(store)
    with pytest.raises(OutputError, match=said):
        work(store, RESUME, run=replace(RUN, **change))  # type: ignore[arg-type]
    assert contents(store) == before


@pytest.mark.parametrize("names", [NAMES[1:], [*NAMES, "new.jpg"], ["other.jpg"], list(reversed(NAMES))])
def test_a_run_on_other_images_refuses_to_go_on(store: LocalStore, names: list[str]) -> None:
    work(store)
    before = contents(store)
    with pytest.raises(OutputError, match="the input is another or has changed"):
        work(store, RESUME, names=names)
    assert contents(store) == before


def test_images_behind_the_last_whole_partition_can_be_added(store: LocalStore) -> None:
    work(store, names=NAMES[:6])
    assert len(work(store, RESUME).written) == 2
    assert len(contents(store)) == 5


def test_partitions_of_the_same_images_are_one(store: LocalStore) -> None:
    executor = work(store, names=[*NAMES[:3], *NAMES[:3], "x.jpg"])
    assert len(executor.found) == 3
    manifest = json.loads(store.read(MANIFEST) or b"")
    assert [entry["rows"] for entry in manifest["partitions"]] == [3, 1]


def test_two_runs_on_one_folder(store: LocalStore) -> None:
    with RunLock(store, FAST):
        for beginning in Beginning:
            with pytest.raises(OutputError, match="another run is writing it"):
                work(store, beginning)
    assert contents(store) == {}
    work(store)


def test_a_run_that_loses_its_lock_stops_and_writes_no_manifest(store: LocalStore) -> None:
    executor = HereExecutor(store)
    judge = executor.judge

    def robbed(partition: Partition) -> Receipt:
        receipt = judge(partition)
        store.write(LOCK, b'{"token": "another"}')
        import time

        time.sleep(0.2)
        return receipt

    executor.judge = robbed  # type: ignore[method-assign]
    with pytest.raises(OutputError, match="has lost its lock"):
        run_partitions(executor, store, RUN, FRESH, pace=FAST)
    assert store.read(MANIFEST) is None
    assert len(executor.written) == 1


def test_a_fault_of_a_worker_stops_the_run_and_keeps_what_is_done(store: LocalStore) -> None:
    executor = HereExecutor(store)
    judge = executor.judge

    def full(partition: Partition) -> Receipt:
        if executor.written:
            return Receipt(partition.id, fault="out: part cannot be written (No space left on device)")
        return judge(partition)

    executor.judge = full  # type: ignore[method-assign]
    with pytest.raises(OutputError, match=r"No space left on device\); finished partitions are kept"):
        run_partitions(executor, store, RUN, FRESH, pace=FAST)
    assert set(contents(store)) == {part_name(executor.written[0])}


def test_workers_that_end_early_or_judge_other_images(store: LocalStore) -> None:
    executor = HereExecutor(store)
    executor.score = lambda: iter(())  # type: ignore[method-assign]
    with pytest.raises(ClusterError, match="4 of 4 partitions were not judged"):
        run_partitions(executor, store, RUN, FRESH, pace=FAST)
    executor = HereExecutor(store)
    changed = Partition("", (("changed.jpg", None),))
    executor.score = lambda: iter([executor.judge(changed)])  # type: ignore[method-assign]
    with pytest.raises(SourceError, match="the images changed while they were judged"):
        run_partitions(executor, store, RUN, FRESH, pace=FAST)
    assert store.read(MANIFEST) is None


def test_what_workers_write_elsewhere_is_missed(store: LocalStore, tmp_path: Path) -> None:
    executor = HereExecutor(LocalStore(str(tmp_path / "elsewhere")))
    executor.locked = store
    with pytest.raises(OutputError, match="4 partitions that were written are not there"):
        run_partitions(executor, store, RUN, FRESH, pace=FAST)
    assert store.read(MANIFEST) is None


def test_partitions_that_appear_meanwhile_are_noticed(store: LocalStore) -> None:
    executor = HereExecutor(store)
    judge = executor.judge

    def crowded(partition: Partition) -> Receipt:
        store.write(part_name("0" * 32), b"theirs")
        return judge(partition)

    executor.judge = crowded  # type: ignore[method-assign]
    with pytest.raises(OutputError, match="1 partitions of another run have appeared"):
        run_partitions(executor, store, RUN, FRESH, pace=FAST)
    assert store.read(MANIFEST) is None
    assert executor.ended


def test_a_partition_that_is_judged_twice_counts_once(store: LocalStore) -> None:
    executor = HereExecutor(store)
    once = executor.score
    executor.score = lambda: (receipt for one in once() for receipt in (one, one))  # type: ignore[method-assign]
    seen = []

    class Watch:
        def planned(self, partitions: int, images: int) -> None:
            seen.append((partitions, images))

        def received(self, receipt: Receipt) -> None:
            seen.append(receipt.partition)

    assert run_partitions(executor, store, RUN, FRESH, watcher=Watch(), pace=FAST).rows == 10
    assert seen == [(4, 10), *(one.id for one in reversed(executor.found))]


@settings(max_examples=30, deadline=None)
@given(names=st.lists(st.sampled_from(NAMES), max_size=60), aspects=st.booleans())
def test_receipts_survive_the_way_to_the_driver(names: list[str], aspects: bool) -> None:
    rows = tuple(row(name) for name in names)
    if aspects:
        rows = tuple(replace(one, aspects={"beauty": one.quality}) for one in rows)
    receipt = receipt_of(Part("id", "{}", rows), b"content", kept=True)
    expected = ("beauty",) if aspects else ()
    assert Receipt.from_json(receipt.to_json(expected), expected) == receipt
    fault = Receipt("id", fault="no")
    assert Receipt.from_json(fault.to_json(()), ()) == fault


def test_a_receipt_tells_of_the_best_the_worst_and_the_first_that_failed() -> None:
    rows = [Row(f"{n}", 1 + n / 100, 1.0, 1.0, "m@1") for n in range(200)]
    rows[50:80] = [Row(f"{n}", None, None, None, "m@1", error="no") for n in range(50, 80)]
    notable = receipt_of(Part("id", "{}", tuple(rows)), b"", kept=False).notable
    assert [int(row.source) for row in notable] == [*range(10), *range(50, 60), *range(190, 200)]


@pytest.fixture
def worker(store: LocalStore, tiny_model_path: Path) -> PartitionWorker:
    """A real worker with the tiny model."""
    return PartitionWorker(Load(tiny_model_path), store, RUN, Fetching({}, Limits()))


class Load:
    """Gives the assessor, in any process."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __call__(self) -> Assessor:
        return foveal.load(self.path, threads=1)


def test_a_worker_gives_the_rows_of_the_local_engine(
    worker: PartitionWorker, store: LocalStore, photo_folder: Path, tiny_model_path: Path
) -> None:
    from foveal.pipeline.rows import to_row

    names = ["photos/a.jpg", "photos/broken.jpg", "photos/gone.jpg", "photos/inner/d.jpg", "photos/notes.txt"]
    assessor = Load(tiny_model_path)()
    local = [
        to_row(result, "tiny@0.0.1")
        for result in assessor.stream([str(photo_folder.parent / name) for name in names], on_error="yield")
    ]
    partition = Partition(str(photo_folder.parent), tuple((name, None) for name in names))
    receipt = worker(partition)
    assert receipt.entry is not None
    assert (receipt.entry.rows, receipt.entry.failures, receipt.kept) == (5, 3, False)
    rows = decode_part(store.read(receipt.entry.file) or b"").rows
    assert list(rows) == [replace(one, source=name) for one, name in zip(local, names, strict=True)]
    assert worker(partition) == replace(receipt, kept=True)


def test_prompts_are_passed_over_by_a_model_that_reads_none(
    worker: PartitionWorker, store: LocalStore, photo_folder: Path
) -> None:
    rows = []
    for prompt in (None, "a fox", ""):
        receipt = worker(Partition(str(photo_folder), (("a.jpg", prompt),)))
        assert receipt.entry is not None
        rows.append(decode_part(store.read(receipt.entry.file) or b"").rows)
    assert rows[0] == rows[1] == rows[2]
    assert rows[0][0].error is None


def test_a_worker_refuses_to_replace_the_partition_of_another_run(
    worker: PartitionWorker, store: LocalStore
) -> None:
    partition = Partition("", (("a.jpg", None),))
    foreign = encode_part(Part(partition.id, replace(RUN, model="n@2").to_json(), (row("a.jpg"),)))
    store.write(part_name(partition.id), foreign)
    fault = worker(partition).fault
    assert fault is not None
    assert "was written with model n@2" in fault
    assert store.read(part_name(partition.id)) == foreign


def test_an_image_without_a_name_is_a_row_with_an_error(worker: PartitionWorker, store: LocalStore) -> None:
    receipt = worker(Partition("/", (("", None),)))
    assert receipt.entry is not None
    (row,) = decode_part(store.read(receipt.entry.file) or b"").rows
    assert row.source == ""
    assert row.error is not None
    assert "names no image" in row.error


@pytest.mark.slow
def test_an_image_that_ends_the_process_becomes_a_row(
    worker: PartitionWorker, store: LocalStore, photo_folder: Path, tmp_path: Path
) -> None:
    """Judged apart: same rows as otherwise, and a failure for the one that kills."""
    names = ["a.jpg", "b.png", "broken.jpg", "inner/d.jpg"]
    partition = Partition(str(photo_folder), tuple((name, None) for name in names))
    worker(partition)
    together = decode_part(store.read(part_name(partition.id)) or b"").rows
    store.delete(part_name(partition.id))
    worker._make = LoadDeadly(worker._make, "b.png")
    receipt = worker(partition, apart=True)
    rows = decode_part(store.read(part_name(partition.id)) or b"").rows
    assert (rows[0], rows[2], rows[3]) == (together[0], together[2], together[3])
    assert rows[1].source == "b.png"
    assert rows[1].error is not None
    assert "ended the process" in rows[1].error
    assert receipt.entry is not None
    assert receipt.entry.failures == 2


class LoadDeadly:
    """Gives an assessor that one image kills."""

    def __init__(self, make: Callable[[], Assessor], victim: str) -> None:
        self.make, self.victim = make, victim

    def __call__(self) -> Assessor:
        import os
        import signal
        from typing import Any

        assessor = self.make()
        prepare = assessor._prepare

        def deadly(image: Any, name: str | None) -> Any:
            if str(image).endswith(self.victim):
                os.kill(os.getpid(), signal.SIGKILL)
            return prepare(image, name)

        assessor._prepare = deadly  # type: ignore[method-assign]
        return assessor
