"""Score images on a Ray cluster: Ray Data lists them, judges them and survives the death of workers.

Listing and judging are two steps. The first makes one block of each partition and leaves it in the cluster's
object store, so that the list is in no single process, and the driver learns only the ids. The second sends
each block to one of the workers, which keep their assessor. Ray sends it again when its worker dies; the file
of a partition is the same whoever writes it.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import foveal
from foveal.errors import ClusterError, FovealError, MissingExtraError, OutputError, SourceError
from foveal.imaging.limits import Limits
from foveal.pipeline.addresses import Options, absolute
from foveal.pipeline.cluster import Beginning, Executor, Outcome, Planned, Watcher, run_partitions
from foveal.pipeline.inputs import Shard, find_shards
from foveal.pipeline.lock import stands
from foveal.pipeline.manifest import Run
from foveal.pipeline.partitions import Partition, partitions
from foveal.pipeline.receipts import Receipt
from foveal.pipeline.storage import open_store

if TYPE_CHECKING:
    from foveal.artifact.file import Artifact
    from foveal.assessor import Assessor
    from foveal.pipeline.partition_worker import PartitionWorker

PARTITION_SIZE = 1000
"""Images in a partition by default: what a worker repeats at the most when it is killed."""
APART, GIVEN_UP = 2, 10
"""Workers that a partition may end before it is judged in a process apart, and before the run stops."""

_FACTS_AT_ONCE = 1024
_FACTS = ("shard", "place", "partition", "images", "fault")


@dataclass(frozen=True, slots=True)
class Fleet:
    """What the work is done with.

    Attributes:
        workers: processes; None for as many as the cluster has CPUs for.
        threads: images that each judges at once; it reserves so many CPUs.
        engine: what runs the model: ``auto``, ``openvino`` or ``onnxruntime``.
        device: ``auto``, ``cpu`` or ``cuda``, which reserves a GPU for each worker.
        fetchers: images that each fetches at once.
    """

    workers: int | None = None
    threads: int = 1
    engine: str = "auto"
    device: str = "auto"
    fetchers: int = 8


def score_dataset(
    inputs: str | os.PathLike[str] | Sequence[str],
    out: str | os.PathLike[str],
    *,
    model: str | os.PathLike[str] | None = None,
    address: str | None = None,
    fleet: Fleet | None = None,
    partition_size: int = PARTITION_SIZE,
    prompt: str | None = None,
    resume: bool = False,
    overwrite: bool = False,
    limits: Limits | None = None,
    storage_options: Options | None = None,
    watcher: Watcher | None = None,
) -> Outcome:
    """Score images into a folder of Parquet partitions.

    Each partition is a file of the rows that ``foveal score --out x.parquet`` writes, and the scores are the
    same. Whatever is killed, running again with ``resume`` gives the files of an undisturbed run.

    Args:
        inputs: images, folders, patterns, lists (``.txt``), or tables (``.csv``, ``.tsv``, ``.jsonl``,
            ``.parquet``) with a column ``image``, ``path`` or ``url`` and perhaps ``prompt``; paths that all
            workers can read, or URLs that fsspec can.
        out: folder or URL to write to.
        model: a shipped assessor or a model file, by default the shipped one; only this process reads it.
        address: of the cluster; None for that of ``RAY_ADDRESS``, one on this machine, or a new one.
        fleet: how many workers, and how they work.
        partition_size: images in a partition.
        prompt: text that all images were made from, for models that read it; empty to judge without.
        resume: keep the partitions that are there and sound.
        overwrite: delete those that are there.
        limits: sizes of images that are accepted.
        storage_options: what file systems are opened with, by protocol; credentials are better left to the
            environment of the workers.
        watcher: sees the run go on.

    Raises:
        ValueError: partition_size is below 1, or both resume and overwrite are asked for.
        SourceError, ImageNotFoundError: there are no images, or they cannot be listed.
        OutputError: results cannot be written, or may not be: of another run, of other images, in use.
        PromptError: the model needs prompts, or reads none.
        ArtifactError, DeviceError: the model cannot be used.
        StorageError: nothing here speaks the protocol of a URL.
        ClusterError: the cluster cannot be reached, or its workers die again and again.
        MissingExtraError: Ray or fsspec is not installed.
    """
    if partition_size < 1:
        raise ValueError(f"partition_size is {partition_size}, expected 1 or more")
    if resume and overwrite:
        raise ValueError("either resume or overwrite, not both")
    fleet, options = fleet or Fleet(), storage_options or {}
    named = [os.fspath(inputs)] if isinstance(inputs, str | os.PathLike) else [*map(os.fspath, inputs)]
    out = absolute(os.fspath(out))  # workers run in folders of their own
    ray = _require_ray()
    artifact, fingerprint = _model(model)
    limits = limits or Limits()
    run = Run(
        foveal=foveal.__version__,
        model=artifact.card.model,
        fingerprint=fingerprint,
        partition_size=partition_size,
        max_pixels=limits.max_pixels,
        prompt=prompt,
    )
    task = _Task(artifact, run, out, fleet, limits, options)
    shards = find_shards(named, partition_size, options)
    task.check_prompts(shards)
    beginning = Beginning.RESUME if resume else Beginning.OVERWRITE if overwrite else Beginning.FRESH
    executor = _RayExecutor(ray, address, task, shards)
    return run_partitions(executor, open_store(out, options), run, beginning, watcher=watcher)


@dataclass(frozen=True, slots=True)
class _Task:
    """What every worker needs to know."""

    artifact: Artifact
    run: Run
    out: str
    fleet: Fleet
    limits: Limits
    options: Options

    @property
    def aspects(self) -> tuple[str, ...]:
        return tuple(sorted(self.artifact.card.aspects))

    def check_prompts(self, shards: Sequence[Shard]) -> None:
        """Raise now what would fail for every image: prompts are missing, or cannot be read."""
        come_along = self.artifact.card.prompt is not None and any(shard.has_prompts for shard in shards)
        one_for_all = self.run.prompt
        here = replace(self, fleet=Fleet())  # the driver may have no GPU
        here.assessor().check_prompts(() if come_along and one_for_all is None else one_for_all)

    def worker(self) -> PartitionWorker:
        """Make ready to judge; in the worker's process."""
        from foveal.pipeline.partition_worker import Fetching, PartitionWorker

        if foveal.__version__ != self.run.foveal:
            raise ClusterError(
                f"a worker has foveal {foveal.__version__}, the driver {self.run.foveal}; install the same "
                "on every machine"
            )
        store = open_store(self.out, self.options)
        if not stands(store):
            raise OutputError(
                f"{self.out}: a worker does not find the driver's files there; give a URL, or a folder that "
                "all machines share"
            )
        fetching = Fetching(self.options, self.limits, self.fleet.fetchers)
        return PartitionWorker(self.assessor, store, self.run, fetching)

    def assessor(self) -> Assessor:
        """Load the model into this process."""
        from foveal.assessor import Assessor
        from foveal.runtime import make_engine

        fleet = self.fleet
        engine = make_engine(self.artifact, engine=fleet.engine, device=fleet.device, threads=fleet.threads)
        return Assessor(self.artifact, engine, limits=self.limits)


def _model(name_or_path: str | os.PathLike[str] | None) -> tuple[Artifact, str]:
    """A model, and the SHA-256 of its file."""
    from foveal.artifact.file import read_artifact
    from foveal.weights import find_model

    path = find_model(name_or_path or foveal.DEFAULT_MODEL)
    return read_artifact(path), hashlib.sha256(Path(path).read_bytes()).hexdigest()


class _RayExecutor(Executor):
    """Lists and judges partitions with Ray Data.

    Args:
        ray: the package.
        address: of the cluster; see :func:`score_dataset`.
        task: what the workers need to know.
        shards: what is to be listed.
    """

    def __init__(self, ray: ModuleType, address: str | None, task: _Task, shards: Sequence[Shard]) -> None:
        self._ray = ray
        self._address = address
        self._open = ExitStack()
        self._task = task
        self._shards = shards
        self._blocks: Any = None
        self._count = 0

    def __enter__(self) -> _RayExecutor:
        with ExitStack() as stack:
            stack.enter_context(_connected(self._ray, self._address))
            stack.enter_context(_quiet())
            self._open = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._blocks = None
        self._open.close()

    def plan(self) -> Iterator[Planned]:
        """List all partitions; each is a block of the cluster's object store then."""
        if not self._shards:
            return
        data = self._ray.data
        shards = data.from_items(
            [{"shard": number} for number in range(len(self._shards))], override_num_blocks=len(self._shards)
        )
        work = {
            "shards": self._ray.put(list(self._shards)),
            "size": self._task.run.partition_size,
            "options": self._task.options,
        }
        with _errors(self._ray):
            self._blocks = shards.map_batches(
                _list, fn_kwargs=work, batch_size=None, batch_format="pyarrow"
            ).materialize()
            facts = self._blocks.map_batches(_facts, batch_size=_FACTS_AT_ONCE, batch_format="pyarrow")
            for batch in facts.iter_batches(batch_size=None, batch_format="pyarrow"):
                for fact in batch.to_pylist():
                    if fault := fact.pop("fault"):
                        raise SourceError(fault)
                    self._count += 1
                    yield Planned(**fact)

    def score(self) -> Iterator[Receipt]:
        """Judge all blocks on a pool of workers."""
        ray, fleet = self._ray, self._task.fleet
        # Ray Data starts workers again, and sends them their partitions again, as often as it takes.
        attempts = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(_Attempts).remote()
        receipts = self._blocks.map_batches(
            _Scorer,
            fn_constructor_kwargs={"task": ray.put(self._task), "attempts": attempts},
            batch_size=None,
            batch_format="pyarrow",
            compute=ray.data.ActorPoolStrategy(size=self._workers()),
            num_cpus=fleet.threads,
            num_gpus=1 if fleet.device == "cuda" else None,
        )
        with _errors(ray):
            for batch in receipts.iter_batches(batch_size=None, batch_format="pyarrow"):
                for content in batch.column("receipt").to_pylist():
                    yield Receipt.from_json(content, self._task.aspects)

    def _workers(self) -> int:
        threads = self._task.fleet.threads
        sizes = [node["Resources"].get("CPU", 0) for node in self._ray.nodes() if node["Alive"]]
        largest = max(sizes, default=0)
        if threads > largest:
            raise ClusterError(
                f"no machine of the cluster has {threads} CPUs for a worker, the largest {largest:g}"
            )
        there = int(self._ray.cluster_resources().get("CPU", 0)) // threads
        return min(self._task.fleet.workers or max(1, there), self._count)


class _Attempts:
    """Counts how often a partition has been begun without being finished: its workers have died."""

    def __init__(self) -> None:
        self._begun: Counter[str] = Counter()

    def begin(self, partition: str) -> int:
        self._begun[partition] += 1
        return self._begun[partition]

    def end(self, partition: str) -> None:
        del self._begun[partition]


class _Scorer:
    """A worker: loads the model when it is first asked, and keeps it."""

    def __init__(self, task: Any, attempts: Any) -> None:
        self._reference = task
        self._attempts = attempts
        self._worker: PartitionWorker | None = None

    def __call__(self, batch: Any) -> Iterator[Any]:
        import pyarrow as pa

        for content in batch.column("content").to_pylist():
            receipt, aspects = self._judged(Partition.from_json(content))
            yield pa.table({"receipt": pa.array([receipt.to_json(aspects)], pa.binary())})

    def _judged(self, partition: Partition) -> tuple[Receipt, Sequence[str]]:
        import ray

        attempt = ray.get(self._attempts.begin.remote(partition.id))
        if attempt > GIVEN_UP:
            return Receipt(partition.id, fault=_given_up(partition)), ()
        try:
            if self._worker is None:
                self._worker = ray.get(self._reference).worker()
        except FovealError as error:  # says what to do, which Ray's error around it would hide
            return Receipt(partition.id, fault=str(error)), ()
        receipt = self._worker(partition, apart=attempt > APART)
        self._attempts.end.remote(partition.id)
        return receipt, self._worker.aspects


def _given_up(partition: Partition) -> str:
    first, last = partition.items[0][0], partition.items[-1][0]
    return (
        f"partition {partition.id} ({first} to {last}) has ended {GIVEN_UP} workers, out of memory perhaps: "
        "give workers more memory, or take out what ends them"
    )


def _list(batch: Any, *, shards: Any, size: int, options: Options) -> Iterator[Any]:
    """One row a partition of the shards in the batch."""
    import ray

    known = ray.get(shards)
    for shard in batch.column("shard").to_pylist():
        try:
            for place, partition in enumerate(_partitions(known[shard], size, options)):
                yield _row(Planned(shard, place, partition.id, len(partition.items)), partition.to_json())
        except FovealError as error:
            yield _row(Planned(shard, -1, "", 0), b"", str(error))


def _partitions(shard: Shard, size: int, options: Options) -> Iterable[Partition]:
    return partitions(shard.items(options), shard.base, size)


def _row(planned: Planned, content: bytes, fault: str = "") -> Any:
    import pyarrow as pa

    values = (planned.shard, planned.place, planned.partition, planned.images, fault, content)
    kinds = (pa.int64(), pa.int64(), pa.string(), pa.int64(), pa.string(), pa.binary())
    columns = [pa.array([value], kind) for value, kind in zip(values, kinds, strict=True)]
    return pa.table(columns, names=[*_FACTS, "content"])


def _facts(batch: Any) -> Any:
    return batch.select(list(_FACTS))


@contextmanager
def _connected(ray: ModuleType, address: str | None) -> Iterator[None]:
    """Connect to a cluster; one that is connected already stays so."""
    if ray.is_initialized():
        yield
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is told to anybody
    try:
        ray.init(address=address, include_dashboard=False, logging_level=logging.ERROR, log_to_driver=False)
    except Exception as error:  # plain ones among them
        where = f"the cluster at {address}" if address else "Ray"
        raise ClusterError(f"{where} cannot be reached or started ({error})") from error
    try:
        yield
    finally:
        ray.shutdown()


@contextmanager
def _quiet() -> Iterator[None]:
    """Ray Data without bars and notes, one block a partition; everything is as before afterwards."""
    from ray.data import DataContext

    settings: Mapping[str, Any] = {
        "enable_progress_bars": False,
        "print_on_execution_start": False,
        "target_max_block_size": 1,
    }
    context, logger = DataContext.get_current(), logging.getLogger("ray.data")
    before, level = {name: getattr(context, name) for name in settings}, logger.level
    try:
        for name, value in settings.items():
            setattr(context, name, value)
        logger.setLevel(logging.CRITICAL)
        yield
    finally:
        logger.setLevel(level)
        for name, value in before.items():
            setattr(context, name, value)


@contextmanager
def _errors(ray: ModuleType) -> Iterator[None]:
    """Turn Ray's errors into ours."""
    try:
        yield
    except ray.exceptions.RayError as error:
        raise ClusterError(f"the workers failed ({_brief(error)}); finished partitions are kept") from error


def _brief(error: Exception) -> str:
    """The last line that says anything: Ray puts whole stack traces into its messages."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:300] if lines else type(error).__name__


def _require_ray() -> ModuleType:
    try:
        import fsspec  # noqa: F401 - so that workers do not find out
        import pyarrow  # noqa: F401
        import ray
        import ray.data
    except ImportError as error:
        raise MissingExtraError("--engine ray", "cluster") from error
    module: ModuleType = ray
    return module
