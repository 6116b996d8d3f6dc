"""A cluster of two workers: the local engine's rows to the last bit, whoever is killed meanwhile."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import psutil
import pyarrow.dataset
import pyarrow.parquet
import pytest
from PIL import Image

import foveal
from foveal.artifact.file import read_artifact, write_artifact
from foveal.assessor import Assessor
from foveal.cli.run import run
from foveal.errors import ClusterError, ImageNotFoundError, OutputError, PromptError, SourceError
from foveal.imaging.limits import Limits
from foveal.pipeline.cluster import Beginning, Outcome, run_partitions
from foveal.pipeline.inputs import find_shards
from foveal.pipeline.lock import LOCK, RunLock
from foveal.pipeline.manifest import MANIFEST, Run
from foveal.pipeline.processes import machine
from foveal.pipeline.ray import Fleet, _RayExecutor, _Task, score_dataset
from foveal.pipeline.receipts import Receipt
from foveal.pipeline.run import score_many
from foveal.pipeline.sinks import open_sink
from foveal.pipeline.storage import open_store
from prompt_models import make_artifact

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

TWO = Fleet(workers=2)
IMAGES, SIZE = 48, 3


@pytest.fixture(scope="module")
def cluster() -> Iterator[ModuleType]:
    """Ray on this machine with two CPUs and a small object store."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_raylet_start_wait_time_s", "300")  # before Ray is imported
    ray = pytest.importorskip("ray")
    # Workers import from where this process does, this file included.
    here = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    ray.init(
        num_cpus=2,
        object_store_memory=80 * 2**20,
        include_dashboard=False,
        logging_level=logging.ERROR,
        log_to_driver=False,
        runtime_env={"env_vars": here},
    )
    yield ray
    ray.shutdown()


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of small images, one of them broken."""
    folder = tmp_path_factory.mktemp("many") / "photos"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(IMAGES):
        Image.fromarray(rng.integers(0, 256, (96, 96, 3), np.uint8)).save(folder / f"{number:03d}.png")
    (folder / "007.png").write_bytes(b"broken")
    return folder


@pytest.fixture(scope="module")
def undisturbed(
    cluster: ModuleType, many: Path, tiny_model_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, bytes]:
    """Files of a run that nobody disturbed."""
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    outcome = score_dataset(many, out, model=tiny_model_path, fleet=TWO, partition_size=SIZE)
    assert outcome == Outcome(partitions=IMAGES // SIZE, kept=0, rows=IMAGES, failures=1)
    return contents(out)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def rows_of(folder: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = pyarrow.dataset.dataset(folder).to_table().to_pylist()
    return sorted(found, key=lambda row: str(row["source"]))


def local_rows(paths: list[str], model: Path, out: Path, **options: Any) -> list[dict[str, Any]]:
    """What the local engine writes."""
    assessor = foveal.load(model)
    aspects = tuple(sorted(assessor.card.aspects))
    with open_sink(out, model=assessor.card.model, aspects=aspects) as sink:
        for _ in score_many(assessor, paths, sink, **options):
            pass
    found: list[dict[str, Any]] = pyarrow.parquet.read_table(out).to_pylist()
    return sorted(found, key=lambda row: str(row["source"]))


@dataclass
class Watch:
    """Calls something after each partition."""

    then: Callable[[int], None]
    count: int = 0

    def planned(self, partitions: int, images: int) -> None:
        pass

    def received(self, receipt: Receipt) -> None:
        self.count += 1
        self.then(self.count)


def test_rows_equal_those_of_the_local_engine_bit_for_bit(
    cluster: ModuleType,
    photo_folder: Path,
    tiny_model_path: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(photo_folder.parent)
    paths = ["photos", "gone.jpg"]
    score_dataset(paths, "out", model=tiny_model_path, fleet=TWO, partition_size=2)
    found = [str(path.relative_to(tmp_path)) for path in photo_folder.rglob("*") if path.suffix != ".txt"]
    images = [path for path in found if not Path(path).is_dir()]
    expected = local_rows([*images, "gone.jpg"], tiny_model_path, tmp_path / "x.parquet")
    assert rows_of(Path("out")) == expected
    assert [row["source"] for row in expected if row["error"]] == ["gone.jpg", "photos/broken.jpg"]
    parts = pyarrow.dataset.dataset("out").schema
    assert parts.equals(pyarrow.parquet.read_schema("x.parquet"), check_metadata=True)


def test_prompts_of_a_table_are_read(cluster: ModuleType, photo_folder: Path, tmp_path: Path) -> None:
    model = tmp_path / "prompted.foveal.safetensors"
    write_artifact(model, make_artifact())
    prompts = {"a.jpg": "red fox", "b.png": "", "c.webp": "castle by night in snow", "broken.jpg": "fox"}
    lines = [json.dumps({"image": name, "prompt": prompt}) for name, prompt in prompts.items()]
    (photo_folder / "t.jsonl").write_text("\n".join(lines))
    score_dataset(photo_folder / "t.jsonl", tmp_path / "out", model=model, fleet=TWO, partition_size=2)
    (tmp_path / "t.csv").write_text(
        "image,prompt\n" + "".join(f"photos/{name},{prompt}\n" for name, prompt in prompts.items())
    )
    from foveal.pipeline.prompts import PromptTable

    paths = [str(photo_folder / name) for name in prompts]
    texts = PromptTable(tmp_path / "t.csv").find(paths)
    expected = local_rows(paths, model, tmp_path / "x.parquet", prompts=texts)
    for row in expected:
        row["source"] = Path(row["source"]).name
    assert rows_of(tmp_path / "out") == sorted(expected, key=lambda row: str(row["source"]))
    with pytest.raises(PromptError):
        score_dataset(photo_folder, tmp_path / "none", model=model, fleet=TWO)


def test_killed_workers_lose_and_repeat_nothing(
    cluster: ModuleType, many: Path, tiny_model_path: Path, tmp_path: Path, undisturbed: dict[str, bytes]
) -> None:
    killed: list[int] = []

    def kill_one(count: int) -> None:
        if count in (1, 4):
            victim = max(workers(), key=lambda process: process.cpu_times().user)
            killed.append(victim.pid)
            victim.kill()

    watch = Watch(kill_one)
    outcome = score_dataset(
        many, tmp_path / "out", model=tiny_model_path, fleet=TWO, partition_size=SIZE, watcher=watch
    )
    assert len(set(killed)) == 2
    # A worker may have written its partition and died before it could say so.
    assert outcome.rows == IMAGES
    assert outcome.kept <= len(killed)
    assert contents(tmp_path / "out") == undisturbed


def workers() -> list[psutil.Process]:
    """Processes of this cluster that judge."""
    family = psutil.Process().children(recursive=True)
    found = [process for process in family if "MapWorker" in " ".join(process.cmdline())]
    assert found
    return found


DRIVER = """
import sys
from foveal.pipeline.processes import machine
from foveal.pipeline.ray import Fleet, score_dataset
many, out, model, address, size = sys.argv[1:]
score_dataset(many, out, model=model, address=address, fleet=Fleet(workers=2), partition_size=int(size))
"""


def test_a_killed_driver_is_taken_up_where_it_stopped(
    cluster: ModuleType, many: Path, tiny_model_path: Path, tmp_path: Path, undisturbed: dict[str, bytes]
) -> None:
    out = tmp_path / "out"
    address = cluster.get_runtime_context().gcs_address
    command = [sys.executable, "-c", DRIVER, *map(str, (many, out, tiny_model_path, address, SIZE))]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as driver:
        until = time.monotonic() + 600
        while len(list(out.glob("part-*"))) < 2:
            assert driver.poll() is None, driver.stderr and driver.stderr.read().decode()
            assert time.monotonic() < until
            time.sleep(0.001)
        driver.kill()
    assert driver.returncode == -signal.SIGKILL
    assert not (out / MANIFEST).exists()
    done = len(list(out.glob("part-*")))
    # A sound one is kept, a damaged one is not.
    one = sorted(out.glob("part-*"))[0]
    one.write_bytes(one.read_bytes()[:-100])
    with pytest.raises(OutputError, match="results are there already"):
        score_dataset(many, out, model=tiny_model_path, fleet=TWO, partition_size=SIZE)
    outcome = score_dataset(many, out, model=tiny_model_path, fleet=TWO, partition_size=SIZE, resume=True)
    assert outcome.kept >= done - 1
    assert contents(out) == undisturbed
    again = score_dataset(many, out, model=tiny_model_path, fleet=TWO, partition_size=SIZE, resume=True)
    assert again.kept == again.partitions
    assert contents(out) == undisturbed


@dataclass(frozen=True)
class DeadlyTask(_Task):
    """A task with an image that kills whoever judges it."""

    def assessor(self) -> Assessor:
        assessor = super().assessor()
        prepare = assessor._prepare

        def deadly(image: Any, name: str | None) -> Any:
            if str(image).endswith("011.png"):
                os.kill(os.getpid(), signal.SIGKILL)
            return prepare(image, name)

        assessor._prepare = deadly  # type: ignore[method-assign]
        return assessor


def test_an_image_that_kills_its_workers_becomes_a_row(
    cluster: ModuleType, many: Path, tiny_model_path: Path, tmp_path: Path
) -> None:
    artifact = read_artifact(tiny_model_path)
    run_ = Run(foveal.__version__, artifact.card.model, "f", SIZE, 10**6)
    store = open_store(str(tmp_path / "out"))
    task = DeadlyTask(artifact, run_, store.address, TWO, Limits(), {})
    outcome = run_partitions(
        _RayExecutor(cluster, None, task, find_shards([str(many)], SIZE)), store, run_, Beginning.FRESH
    )
    assert (outcome.rows, outcome.failures) == (IMAGES, 2)
    errors = {Path(row["source"]).name: row["error"] for row in rows_of(tmp_path / "out") if row["error"]}
    assert errors.keys() == {"007.png", "011.png"}
    assert "ended the process that judged it" in errors["011.png"]


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args: Any) -> None:
        pass


def test_images_over_http(
    cluster: ModuleType, photo_folder: Path, tiny_model_path: Path, tmp_path: Path
) -> None:
    names = ["a.jpg", "b.png", "broken.jpg", "gone.jpg"]
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(photo_folder))) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        urls = [f"http://127.0.0.1:{http.server_port}/{name}" for name in names]
        (tmp_path / "urls.txt").write_text("\n".join(urls))
        outcome = score_dataset(
            tmp_path / "urls.txt", tmp_path / "out", model=tiny_model_path, fleet=TWO, partition_size=3
        )
        http.shutdown()
    assert (outcome.partitions, outcome.rows, outcome.failures) == (2, 4, 2)
    judge = foveal.load(tiny_model_path)
    by_name = {row["source"].rsplit("/", 1)[1]: row for row in rows_of(tmp_path / "out")}
    for name in names[:2]:
        assert by_name[name]["quality"] == judge(photo_folder / name).quality
    assert "there is no such file" in by_name["gone.jpg"]["error"]


@pytest.fixture(scope="module")
def s3() -> Iterator[dict[str, str]]:
    """A stand-in for S3 with a bucket, and the environment that leads to it."""
    server = pytest.importorskip("moto.server")
    import boto3

    stand_in = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    stand_in.start()
    host, port = stand_in.get_host_and_port()
    environment = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    client = boto3.client(
        "s3",
        endpoint_url=environment["AWS_ENDPOINT_URL"],
        aws_access_key_id="test",
        aws_secret_access_key="test",  # noqa: S106
        region_name="us-east-1",
    )
    client.create_bucket(Bucket="bucket")
    yield environment
    stand_in.stop()


def options_of(environment: dict[str, str]) -> dict[str, dict[str, Any]]:
    return {
        "s3": {
            "endpoint_url": environment["AWS_ENDPOINT_URL"],
            "key": environment["AWS_ACCESS_KEY_ID"],
            "secret": environment["AWS_SECRET_ACCESS_KEY"],
        }
    }


def test_from_s3_to_s3_with_a_worker_killed_and_a_partition_damaged(
    cluster: ModuleType, s3: dict[str, str], photo_folder: Path, tiny_model_path: Path, tmp_path: Path
) -> None:
    import fsspec

    options = options_of(s3)
    bucket = fsspec.filesystem("s3", **options["s3"], use_listings_cache=False)
    bucket.put(str(photo_folder), "bucket/photos", recursive=True)
    bucket.pipe_file("bucket/photos/empty.jpg", b"")
    arguments = {
        "model": tiny_model_path,
        "fleet": TWO,
        "partition_size": 2,
        "storage_options": options,
    }

    def kill_one(count: int) -> None:
        if count == 1:
            workers()[0].kill()

    outcome = score_dataset("s3://bucket/photos/", "s3://bucket/out", watcher=Watch(kill_one), **arguments)
    assert (outcome.partitions, outcome.rows, outcome.failures) == (3, 6, 2)
    names = {path.rsplit("/", 1)[1] for path in bucket.ls("bucket/out", detail=False)}
    parts = sorted(name for name in names if name != MANIFEST)
    assert len(parts) == 3
    assert names == {*parts, MANIFEST}
    before = {name: bucket.cat_file(f"bucket/out/{name}") for name in names}
    # A reader with its own file system, and the local engine's scores.
    table = pyarrow.dataset.dataset("bucket/out", filesystem=bucket).to_table()
    judge = foveal.load(tiny_model_path)
    for row in table.to_pylist():
        name = row["source"].removeprefix("s3://bucket/photos/")
        if row["error"] is None:
            assert row["quality"] == judge(photo_folder / name).quality
        else:
            assert name in ("broken.jpg", "empty.jpg")
    bucket.pipe_file(f"bucket/out/{parts[1]}", before[parts[1]][:-9])
    dead = {"token": "dead", "machine": machine(), "process": 1 << 22}
    bucket.pipe_file(f"bucket/out/{LOCK}", json.dumps(dead).encode())
    outcome = score_dataset("s3://bucket/photos/", "s3://bucket/out", resume=True, **arguments)
    assert outcome.kept == 2
    assert {path.rsplit("/", 1)[1] for path in bucket.ls("bucket/out", detail=False)} == names
    assert {name: bucket.cat_file(f"bucket/out/{name}") for name in names} == before
    with pytest.raises(OutputError, match="results are there already"):
        score_dataset("s3://bucket/photos/", "s3://bucket/out", **arguments)
    with (
        RunLock(open_store("s3://bucket/out", options)),
        pytest.raises(OutputError, match="another run is writing it"),
    ):
        score_dataset("s3://bucket/photos/", "s3://bucket/out", resume=True, **arguments)
    bucket.pipe_file("bucket/photos/0new.png", (photo_folder / "b.png").read_bytes())
    with pytest.raises(OutputError, match="the input is another or has changed"):
        score_dataset("s3://bucket/photos/", "s3://bucket/out", resume=True, **arguments)
    assert score_dataset("s3://bucket/photos/", "s3://bucket/out", overwrite=True, **arguments).rows == 7


def test_the_command_starts_a_cluster_of_its_own_and_reads_the_environment(
    s3: dict[str, str], photo_folder: Path, tiny_model_path: Path
) -> None:
    import fsspec

    bucket = fsspec.filesystem("s3", **options_of(s3)["s3"], use_listings_cache=False)
    bucket.put(str(photo_folder / "a.jpg"), "bucket/one/a.jpg")
    command = ["score", "s3://bucket/one", "--engine", "ray", "--ray-address", "local", "--workers", "1"]
    finished = subprocess.run(
        [sys.executable, "-m", "foveal", *command, "--out", "s3://bucket/o", "--model", str(tiny_model_path)],
        env={**os.environ, **s3},
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout == ""
    assert finished.stderr == "foveal: 1 scored, 0 failed, in 1 partitions: s3://bucket/o\n"


@pytest.fixture
def score(
    cluster: ModuleType, tiny_model_path: Path, photo_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., int]:
    """Run ``foveal score --engine ray`` in the folder that holds ``photos``."""
    monkeypatch.chdir(photo_folder.parent)
    settings = ["--engine", "ray", "--model", str(tiny_model_path), "--workers", "2", "--partition-size", "2"]
    return lambda *args: run(["score", *settings, *args])


def test_the_command_says_what_happened(
    score: Callable[..., int], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert score("photos", "--out", "out") == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    failed, summary = shown.err.splitlines()
    assert failed.startswith("foveal: photos/broken.jpg: ")
    assert summary == "foveal: 4 scored, 1 failed, in 3 partitions: out"
    assert score("photos", "--out", "out", "--resume", "--keep-going") == 0
    assert "in 3 partitions, 3 of them from before: out" in capsys.readouterr().err
    for refused, said in (
        (["photos"], "results are there already"),
        (["photos", "--resume", "--max-pixels", "9"], "max_pixels"),
    ):
        assert score(*refused, "--out", "out") == 2
        assert said in capsys.readouterr().err
    assert score("gone", "--out", "other") == 1
    assert score("photos", "--out", "gone/out") == 2


def test_what_cannot_be_listed_or_run(
    cluster: ModuleType, tiny_model_path: Path, tmp_path: Path, photo_folder: Path
) -> None:
    arguments = {"model": tiny_model_path, "partition_size": 2}
    (tmp_path / "empty.txt").write_text("\n")
    with pytest.raises(SourceError, match="there are no images"):
        score_dataset(tmp_path / "empty.txt", tmp_path / "out", fleet=TWO, **arguments)
    (tmp_path / "bad.jsonl").write_text('{"image": "a.jpg"}\n' * 5 + "nonsense\n")
    with pytest.raises(SourceError, match="line 6 is malformed"):
        score_dataset(tmp_path / "bad.jsonl", tmp_path / "out", fleet=TWO, **arguments)
    with pytest.raises(ImageNotFoundError):
        score_dataset(tmp_path / "*.jpg", tmp_path / "out", fleet=TWO, **arguments)
    with pytest.raises(ClusterError, match="no machine of the cluster has 64 CPUs"):
        score_dataset(photo_folder, tmp_path / "out", fleet=Fleet(threads=64), **arguments)
    assert [path.name for path in (tmp_path / "out").iterdir()] == []
